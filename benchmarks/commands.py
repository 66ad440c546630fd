"""Processor seconds that a `likeness` command takes from nothing: a new process, its imports, its work, its end.

    python -m benchmarks.commands [--project DIR] [--beside CHECKOUT] [--repeat N] [--json]   (make bench-commands)

Needs a project whose models were made (`likeness run`). User and system time of the process and of those it starts are
counted, which other programs lengthen less than they do the time on the clock. Nothing is changed in the project but
what the commands themselves keep. With `--beside`, the same commands of another checkout, the commit before say, take
turns with this one's on the same project. Writes `commands.json` into DIR:

    machine      cores, load before the start, version of Python
    project      where it lies
    commands     for each command: seconds (median), low, high; `beside` and `ratio`: the other checkout's, and ours
                 divided by them
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.output import AsJson, exit_with_error, notes, screen_of, write
from orchestration.config.settings import REPOSITORY

REPETITIONS = 3
PHOTO_ENDINGS = (".jpg", ".png")


@dataclass(frozen=True)
class Cost:
    """What the repetitions of one command took."""

    seconds: float
    """Of the processor, user and system; the median."""
    low: float
    high: float


def commands(project: Path, out: Path) -> dict[str, list[str]]:
    """What is measured, in this order: `render` and `export` read what `create` wrote. Raises typer.Exit."""
    photos = sorted(path for path in (project / "data" / "photos").glob("*/*") if path.suffix in PHOTO_ENDINGS)
    if not photos:
        exit_with_error(f"{project / 'data' / 'photos'} has no photo: run `likeness inputs`")
    character = str(out / photos[0].stem / "character.json")
    return {
        "--help": ["--help"],
        "run, nothing changed": ["run", "--json"],
        "models": ["models"],
        "scorecard": ["scorecard"],
        "checks": ["checks"],
        "lineage production": ["lineage", "production"],
        "doctor": ["doctor"],
        "create, one photo": ["create", str(photos[0]), "--out", str(out)],
        "render": ["render", character, "--out", str(out / "render.png")],
        "export, glb": ["export", character, "--out", str(out / "character.glb")],
    }


def call(checkout: Path, project: Path, command: Sequence[str]) -> float:
    """Processor seconds of one call by a checkout's code. Raises typer.Exit where it fails."""
    environment = {**os.environ, "LIKENESS_ROOT": str(project), "PYTHONPATH": str(checkout)}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.cli", *command],
            cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        # `doctor` and `checks` end with 1 where something is amiss, which is no matter here.
        if process.returncode and command[0] not in ("doctor", "checks"):
            said.seek(0)
            exit_with_error(
                f"likeness {' '.join(command)} ended with status {process.returncode}: {said.read()[-2000:]}"
            )
    return used.ru_utime + used.ru_stime


def cost_of(seconds: Sequence[float]) -> Cost:
    """The repetitions of a command in one figure."""
    return Cost(statistics.median(seconds), min(seconds), max(seconds))


def measured(project: Path, beside: Path | None, repetitions: int, chosen: Sequence[str] = ()) -> dict[str, Any]:
    """Everything, as one document; `chosen`: beginnings of the names of commands, none for all."""
    checkouts = [REPOSITORY, *([beside] if beside else [])]
    document: dict[str, Any] = {"machine": machine(), "project": str(project), "commands": {}}
    with tempfile.TemporaryDirectory(prefix="likeness-bench-") as folder:
        for name, command in commands(project, Path(folder)).items():
            if chosen and not name.startswith(tuple(chosen)):
                continue
            for checkout in checkouts:  # what is kept for the next time is kept by now, compiled modules too
                call(checkout, project, command)
            turns = [[call(checkout, project, command) for checkout in checkouts] for _ in range(repetitions)]
            ours, *others = (cost_of(calls) for calls in zip(*turns, strict=True))
            row = asdict(ours)
            if others:
                row |= {"beside": asdict(others[0]), "ratio": ours.seconds / others[0].seconds}
            document["commands"][name] = row
            notes.print(f"{name}: {ours.seconds:.2f} s")
    return document


def machine() -> dict[str, Any]:
    """What it was measured on."""
    load = round(os.getloadavg()[0], 2)
    return {"cores": len(os.sched_getaffinity(0)), "load_before": load, "python": platform.python_version()}


def show(document: dict[str, Any], console: Console) -> None:
    """The document as a table."""
    shown = Table(title="Processor seconds of a command", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("likeness", "seconds", "lowest – highest", "beside", "ratio"):
        shown.add_column(name, justify="left" if name == "likeness" else "right")
    for name, row in document["commands"].items():
        cells = [name, f"{row['seconds']:.2f}", f"{row['low']:.2f} – {row['high']:.2f}"]
        if "beside" in row:
            cells += [f"{row['beside']['seconds']:.2f}", f"{row['ratio']:.2f}"]
        shown.add_row(*cells)
    console.print(shown)


def main(
    project: Annotated[Path, typer.Option("--project", help="Whose models were made.")] = REPOSITORY,
    beside: Annotated[
        Path | None, typer.Option("--beside", help="Another checkout, whose commands take turns with these.")
    ] = None,
    repetitions: Annotated[int, typer.Option("--repeat", min=1, help="Times that each is called.")] = REPETITIONS,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Commands that begin so; may be given again.")
    ] = None,
    as_json: AsJson = False,
    out: Annotated[Path, typer.Option("--out", help="Where commands.json goes.")] = Path("out/bench"),
) -> None:
    """Measure; see the head of this file for what is written."""
    document = measured(project.resolve(), beside and beside.resolve(), repetitions, only or ())
    write(document, out / "commands.json", as_json, lambda: show(document, screen_of(100)))


if __name__ == "__main__":
    typer.run(main)
