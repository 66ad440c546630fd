"""What a studio does inside its own engine: draw random parameters, save pictures and a table.

    python export_pairs.py --count 2000 --out pairs

writes OUT/pairs.csv (or .parquet with --table parquet, pictures inside) with one column for each parameter, in the
engine's names and units, and OUT/pictures/.
"""

import argparse
import csv
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sculptor

SPREAD = 0.3  # of the half range: what a bell curve about the middle is wide


def parameters(count: int, seed: int) -> list[dict[str, Any]]:
    """Random busts; half of them spread evenly over the whole range, half like people, near the middle."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(count):
        row: dict[str, Any] = {"picture": f"{number:05d}.png"}
        for name, (low, high, *_) in sculptor.PARAMETERS.items():
            share = rng.uniform(-1, 1) if number % 2 else float(np.clip(rng.normal(0, SPREAD), -1, 1))
            row[name] = round((low + high) / 2 + share * (high - low) / 2, 2)
        row |= {name: values[rng.integers(len(values))] for name, values in sculptor.GROUPS.items()}
        rows.append(row)
    return rows


def encoded(row: dict[str, Any], size: int) -> bytes:
    """The picture of one row as PNG."""
    image = sculptor.draw([row], size)[0]
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def main() -> None:
    """Write the table and its pictures beside schema.yaml."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=2000, help="how many pairs")
    options.add_argument("--size", type=int, default=256, help="side of a picture in pixels")
    options.add_argument("--out", type=Path, default=Path("pairs"))
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--table", choices=["csv", "parquet"], default="csv")
    given = options.parse_args()
    rows = parameters(given.count, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        pictures = list(pool.map(partial(encoded, size=given.size), rows, chunksize=8))
    if given.table == "parquet":
        table = pa.Table.from_pylist([{**row, "picture": data} for row, data in zip(rows, pictures, strict=True)])
        pq.write_table(table, given.out / "pairs.parquet")
    else:
        folder = given.out / "pictures"
        folder.mkdir(exist_ok=True)
        for row, data in zip(rows, pictures, strict=True):
            (folder / row["picture"]).write_bytes(data)
        with (given.out / "pairs.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    print(f"{len(rows)} pairs in {given.out}")


if __name__ == "__main__":
    main()
