"""How time and memory of the data stages and of their checks grow with the rows, and what a few new photos cost.

    python -m benchmarks.data [--quick] [--rows N ...] [--align-at-most N] [--json] [--out DIR]       (make bench-data)

Rows are made small: photos of 128 pixels, each with noise of its own, crops of 128. Every step runs in a process of its
own, without further workers, so that its peak is that of this step. Portraits are not rendered: the stage writes rows
that are there. Writes `data.json` into DIR:

    machine     processor, cores, load before the start, versions
    rows        for each number of rows and each step: seconds, core_seconds, which other programs do not lengthen, and
                peak_megabytes, the most memory that it ever held
                portraits              the stage, rendering left out
                aligned_faces          the stage, from nothing; null beyond `--align-at-most`: then results are made up
                new_photos             the stage again, with NEW photos more, all others known from the run before
                checks                 of the portraits and of the aligned faces
    lines       for each step the straight line through these figures: core_seconds_a_row, megabytes_a_row, what it says
                of a million rows, and by how much the seconds leave it, at the most, as a share
    targets     what the project set itself, and whether it is reached
"""

import resource
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from hashlib import md5
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.output import AsJson, notes, require_embedded, screen_of, write
from engine.processes import end_with_parent
from engine.schema import Schema
from models import images
from orchestration.config.settings import REPOSITORY
from stages import aligned_faces, portraits
from stages.context import Context
from stages.data import alignment_cache, source_files, tables
from stages.data.alignment_cache import AlignmentCache, Key, WantedRow

COUNTS, QUICK_COUNTS, ALIGN_AT_MOST = (1_000, 10_000, 100_000), (50, 100, 200), 10_000
NEW, MOST_SHARE = 100, 0.02
MOST_GROWTH, MOST_SLOWER = 1.25, 1.25
"""Largest peak by smallest, and time of a row at the largest number of rows by that at the number before it."""
MILLION = 1_000_000
SIDE, A_FOLDER = 128, 1000
EMBEDDED, CHARACTER = REPOSITORY / "data" / "embedded", REPOSITORY / "characters" / "embedded"
ALIGNMENT = aligned_faces.Config(size=SIDE)


# --- rows


@cache
def faces() -> list[np.ndarray]:
    """The example photos [H, W, 3], small."""
    files = source_files.counted(REPOSITORY / "examples" / "photos")
    return [images.shrink(images.decode_photo(file), SIDE)[0] for file in files]


def photo(number: int) -> bytes:
    """A JPEG that no other number has."""
    face = faces()[number % len(faces())]
    noise = np.random.default_rng(number).integers(-2, 3, face.shape)
    return images.encode_jpeg(np.clip(face + noise, 0, 255).astype(np.uint8))


def lay_out(folder: Path, numbers: range) -> None:
    """The photos of these numbers, each of another person."""
    for number in numbers:
        path = folder / f"{number // A_FOLDER:04d}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(number))


def portrait_rows(config: portraits.Config, people: Sequence[int]) -> list[dict[str, Any]]:
    """Rows as the stage makes them, of a picture that is there."""
    schema = _schema()
    numbers = dict.fromkeys(("yaw", "pitch", "roll", "occluded", "distance", "lens", "exposure", "mireds"), 1.0)
    numbers |= dict.fromkeys(("gain", "blur", "noise", "jpeg"), 1.0)
    known = {"parameters": schema.neutral_sliders(), "discrete": schema.neutral_discrete(), "labels": _label_map()}
    words = dict.fromkeys(("light", "expression", "occluder"), "none")
    return [
        {"id": f"{person}-0", "person": str(person), "split": portraits.split_of(person, 1)}
        | {"image": photo(person), "landmarks": np.full(136, 0.5, np.float32)} | known | numbers | words
        for person in people
    ]  # fmt: skip


@cache
def _schema() -> Schema:
    return Schema.load(CHARACTER)


@cache
def _label_map() -> bytes:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[32:96, 32:96] = 1
    return images.encode_png(labels)


# --- steps


def write_portraits(root: Path, rows: int) -> None:
    """The stage without its renderer."""
    config = portraits.Config(people=rows, shots=1, size=SIDE)
    with patch.object(portraits, "_shoot", lambda *given: portrait_rows(*given[3:])):
        portraits.run({"character": CHARACTER, "embedded": EMBEDDED}, config, _empty(root / "portraits"), Context())


def align(root: Path, rows: int) -> None:
    """The stage, of photos alone; what it keeps lies in `root`."""
    tables.write(_empty(root / "no_portraits") / "portraits.parquet", [], portraits.SCHEMA)
    inputs = {"embedded": EMBEDDED, "portraits": root / "no_portraits", "photos": root / "photos"}
    aligned_faces.run(inputs, ALIGNMENT, _empty(root / "aligned_faces"), Context(cache=root / "cache"))


def check(root: Path, rows: int) -> None:
    """Every check of both tables, compared with themselves. Raises RuntimeError where one could not be made."""
    from orchestration import checks
    from orchestration.checks.context import CheckContext
    from orchestration.config.catalog import STAGES
    from orchestration.config.check_rules import Rules

    for stage in (one for one in STAGES if one.name in ("portraits", "aligned_faces")):
        folder = root / stage.name
        character = (lambda: CHARACTER) if "character" in stage.code.INPUTS else None
        production: Any = _SameTable(folder)
        context = CheckContext(
            stage, None, "new", Rules(), production, {"size": SIDE}, {}, lambda: folder, character  # noqa: B023
        )  # fmt: skip
        for result in checks.run_all(context):
            if "check_runs" in str(result.description):
                raise RuntimeError(f"{result.check_name}: {result.description}")


class _SameTable:
    """Stands for the version in production."""

    name = "production"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def md5(self, asset: str) -> str:
        return "old"

    def folder(self, asset: str) -> Path:
        return self._folder


def make_up(root: Path, rows: int) -> None:
    """Fill the cache as if all photos had been aligned: with the results of a few, each crop with bytes of its own."""
    few, many = root / "few", alignment_cache.file_in(root / "cache")
    lay_out(few / "photos", range(len(faces())))
    align(few, len(faces()))
    with sqlite3.connect(alignment_cache.file_in(few / "cache")) as database:
        keys = [Key(*key) for key in database.execute("SELECT photo, rest FROM results WHERE reason IS NULL")]
    with AlignmentCache(alignment_cache.file_in(few / "cache")) as known:
        for key in keys:
            known.want(WantedRow(key.photo, "", "", ""), key)
        results = list(known.rows())
    files = source_files.counted(root / "photos")
    with AlignmentCache(many) as filled:
        filled.add(_made_up(results[number % len(results)], file, keys[0].rest) for number, file in zip(count(), files))
        filled.finish()


def _made_up(result: dict[str, Any], file: Path, rest: str) -> dict[str, Any]:
    # What follows a JPEG's end is no part of the picture.
    crop = result["image"] + file.name.encode()
    return result | {"photo": md5(file.read_bytes()).hexdigest(), "rest": rest, "lasting": True} | {
        "reason": None, "image": crop
    }  # fmt: skip


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# --- clocks


def measured(work: Callable[[Path, int], None], root: Path, rows: int) -> dict[str, float]:
    """Time and peak memory of one step, in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        found = pool.submit(_timed, work, root, rows).result()
    notes.print(
        f"{rows:,} rows, {work.__name__}: {found['seconds']:.1f} s, {found['core_seconds']:.1f} s of a core, "
        f"{found['peak_megabytes']:.0f} MB"
    )
    return found


def _timed(work: Callable[[Path, int], None], root: Path, rows: int) -> dict[str, float]:
    began, used = time.perf_counter(), time.process_time()
    work(root, rows)
    seconds = {"seconds": time.perf_counter() - began, "core_seconds": time.process_time() - used}
    return seconds | {"peak_megabytes": peak()}


def peak() -> float:
    """The most memory that this process ever held, megabytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def of_size(rows: int, align_at_most: int) -> dict[str, Any]:
    """All steps with so many rows."""
    with tempfile.TemporaryDirectory(prefix="likeness-bench-") as folder:
        root = Path(folder)
        written = measured(write_portraits, root, rows)
        lay_out(root / "photos", range(rows))
        first = measured(align, root, rows) if rows <= align_at_most else None
        if first is None:
            measured(make_up, root, rows)
        lay_out(root / "photos", range(rows, rows + NEW))
        again = measured(align, root, rows + NEW)
        checked = measured(check, root, rows)
    return {"rows": rows, "portraits": written, "aligned_faces": first, "new_photos": again, "checks": checked}


STEPS = ("portraits", "aligned_faces", "new_photos", "checks")


def lines(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The straight line through each step's figures."""
    found = {}
    for step in STEPS:
        known = [(row["rows"], row[step]) for row in rows if row[step]]
        if len(known) > 1:
            numbers = [number for number, _ in known]
            time_of, left = _line(numbers, [figures["core_seconds"] for _, figures in known])
            memory_of, _ = _line(numbers, [figures["peak_megabytes"] for _, figures in known])
            found[step] = {
                "core_seconds_a_row": time_of[0],
                "megabytes_a_row": memory_of[0],
                "off_the_line": left,
                "of_a_million": {
                    "core_seconds": float(np.polyval(time_of, MILLION)),
                    "peak_megabytes": float(np.polyval(memory_of, MILLION)),
                },
            }
    return found


def _line(numbers: Sequence[int], values: Sequence[float]) -> tuple[tuple[float, float], float]:
    """Slope and beginning of the line of least squares, and the largest share by which a value leaves it."""
    slope, start = np.polyfit(numbers, values, 1)
    expected = np.polyval((slope, start), numbers)
    return (float(slope), float(start)), float(np.abs(np.asarray(values) / expected - 1).max())


def targets(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What the project set itself; None: not measured here."""
    rows, found = document["rows"], []

    def add(target: str, value: float | None, most: float) -> None:
        reached = None if value is None else value <= most
        found.append({"target": f"{target}, at most {most:g}", "value": value, "reached": reached})

    for step in STEPS:
        known = [row for row in rows if row[step]]
        if len(known) > 1:
            few, many, most = known[0], known[-2], known[-1]
            growth = most[step]["peak_megabytes"] / few[step]["peak_megabytes"]
            add(f"{step}: peak with {most['rows']:,} rows by that with {few['rows']:,}", growth, MOST_GROWTH)
            slower = most[step]["core_seconds"] / most["rows"] / (many[step]["core_seconds"] / many["rows"])
            add(f"{step}: time of a row of {most['rows']:,} by that of {many['rows']:,}", slower, MOST_SLOWER)
    largest, line = rows[-1], document["lines"].get("aligned_faces")
    first = largest["aligned_faces"]["core_seconds"] if largest["aligned_faces"] else None
    if first is None and line:
        first = line["core_seconds_a_row"] * largest["rows"]
    share = largest["new_photos"]["core_seconds"] / first if first else None
    add(f"{NEW} new photos among {largest['rows']:,}, as a share of the first alignment", share, MOST_SHARE)
    return found


def show(document: dict[str, Any], console: Console) -> None:
    """The tables of a document."""
    shown = Table(title="Seconds of a core, and peak, MB", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("rows", *STEPS):
        shown.add_column(name, justify="right")
    million = {name: line["of_a_million"] for name, line in document["lines"].items()}
    for row in [*document["rows"], {"rows": MILLION, **million}]:
        name = f"{row['rows']:,}" + (" (by the lines)" if row["rows"] == MILLION else "")
        shown.add_row(name, *(_figures(row.get(step)) for step in STEPS))
    console.print(shown)
    for target in document["targets"]:
        value = "not measured" if target["value"] is None else f"{target['value']:.3g}"
        mark = {None: "", True: "[green]reached[/]", False: "[red]missed[/]"}[target["reached"]]
        console.print(f"{target['target']}: {value} {mark}")


def _figures(figures: dict[str, float] | None) -> str:
    return f"{figures['core_seconds']:,.1f} s, {figures['peak_megabytes']:,.0f}" if figures else "–"


def main(
    quick: Annotated[bool, typer.Option("--quick", help="50, 100 and 200 rows.")] = False,
    rows: Annotated[
        list[int] | None, typer.Option("--rows", min=10, help="May be given again.", show_default="1000, 10000, 100000")
    ] = None,
    align_at_most: Annotated[
        int, typer.Option("--align-at-most", help="With more rows, results of the first alignment are made up.")
    ] = ALIGN_AT_MOST,
    as_json: AsJson = False,
    out: Annotated[Path, typer.Option("--out", help="Where data.json goes.")] = Path("out/bench"),
) -> None:
    """Measure how the data stages grow; see the head of this file for what is written."""
    from benchmarks.measure import machine

    require_embedded()
    document: dict[str, Any] = {"machine": machine()}
    counts = sorted(set(rows or (QUICK_COUNTS if quick else COUNTS)))
    document["rows"] = [of_size(number, align_at_most) for number in counts]
    document["lines"] = lines(document["rows"])
    document["targets"] = targets(document)
    write(document, out / "data.json", as_json, lambda: show(document, screen_of(150)))


if __name__ == "__main__":
    typer.run(main)
