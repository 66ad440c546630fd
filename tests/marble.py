"""The worked example as a studio would have it: a folder with a schema and pairs that its own script exported."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "characters" / "marble"
TABLE = Path("pairs") / "pairs.csv"


def export(characters: Path, count: int, size: int) -> Path:
    """The folder characters/marble with `count` exported pairs."""
    folder = characters / "marble"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("pairs", "__pycache__"))
    command = [sys.executable, "export_pairs.py", "--count", str(count), "--size", str(size), "--out", "pairs"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def changed_table(folder: Path, row: int, **values: object) -> None:
    """Write other values into one row of the table."""
    frame = pd.read_csv(folder / TABLE, dtype=str)
    for name, value in values.items():
        frame.loc[row, name] = str(value)
    frame.to_csv(folder / TABLE, index=False)
