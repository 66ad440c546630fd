"""What MLflow's database said, kept for as long as nobody writes to it: to ask it takes two seconds, in which MLflow is
imported.

It is kept of SQLite alone, whose file counts its transactions. A server and PostgreSQL are asked each time, and so is a
file in the midst of a transaction, or with a write-ahead log.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from orchestration.config.files import write_whole
from orchestration.config.settings import COMPUTED
from orchestration.storage.mlflow_files import SQLITE

FILE = "mlflow_answers.json"
HEADER, MAGIC, ROLLBACK = 100, b"SQLite format 3\0", b"\1\1"
"""Of a file of SQLite: https://sqlite.org/fileformat2.html. Version 1 of reading and writing: no write-ahead log."""


def ask(uri: str, home: Path, question: str, answer: Callable[[], Any]) -> Any:
    """What `answer` gives, or what it gave to this question on the same content of this database.

    answer: gives what JSON can hold, of nothing but the database.
    """
    file, state = home / COMPUTED / FILE, _state(uri)
    kept = _read(file)
    known = kept["answers"] if state is not None and kept["state"] == state else {}
    if question in known:
        return known[question]
    found = answer()
    # Written to meanwhile, it may have been asked before or after.
    if state is not None and _state(uri) == state:
        with suppress(OSError):  # a folder that may not be written, or a full disk
            write_whole(file, json.dumps({"state": state, "answers": {**known, question: found}}))
    return found


def _state(uri: str) -> list[Any] | None:
    """What is another after any transaction on the database; None where nothing can tell."""
    if not uri.startswith(SQLITE):
        return None
    path = Path(uri.removeprefix(SQLITE))
    try:
        with path.open("rb") as file:
            header, about = file.read(HEADER), os.fstat(file.fileno())
    except OSError:
        return None
    # Read after the header: who writes makes one first, and it stays until all is written or taken back.
    is_written = any(path.with_name(path.name + ending).exists() for ending in ("-journal", "-wal"))
    if is_written or not header.startswith(MAGIC) or header[18:20] != ROLLBACK:
        return None
    # The count alone would be the same again after an older copy was put back and written to.
    count, times = header[24:28].hex(), [about.st_mtime_ns, about.st_ctime_ns]
    return [uri, _reader(), count, about.st_ino, about.st_size, *times]


def _reader() -> list[str]:
    """Who reads the database: another MLflow, or one in another workspace, may read it otherwise."""
    workspace = {
        name: value for name, value in os.environ.items() if name.startswith("MLFLOW_") and "WORKSPACE" in name
    }
    return [_version(), *(f"{name}={value}" for name, value in sorted(workspace.items()))]


@cache
def _version() -> str:
    return importlib.metadata.version("mlflow")


def _read(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        kept = json.loads(file.read_bytes())
        if isinstance(kept, dict) and isinstance(kept.get("answers"), dict):
            return {"state": None, **kept}
    return {"state": None, "answers": {}}
