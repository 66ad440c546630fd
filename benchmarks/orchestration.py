"""What the platform costs: time in Dagster, DVC, MLflow and Great Expectations against time in the stages.

    python -m benchmarks.orchestration [--quick] [--profile P] [--project DIR] [--json]   (make bench-orchestration)

Each profile runs once in a project of its own, in a temporary folder, as `likeness run` with clocks around the
libraries (benchmarks/clock.py). Then nothing changes and it runs again, with more and more materialisations in
Dagster's store. `--project` trains nothing: it reads what the last run of every asset of an existing project cost,
from Dagster's own records. Writes `orchestration.json` into DIR:

    machine     processor, cores, load before the start, versions
    runs        for each profile: seconds of the whole command and by part; overhead: all but the stages, as a share
    no_change   seconds of the whole command and by part, for each number of materialisations (median of repetitions);
                one_asset: the same when one cheap asset is made anew
    project     for each asset: seconds in the stage, around it, and in Dagster
    targets     what the project set itself, and whether it is reached
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.clock import PARTS, STAGES
from benchmarks.output import AsJson, notes, require_embedded, screen_of, write
from orchestration.config.settings import REPOSITORY, Settings

COUNTS, QUICK_COUNTS, REPETITIONS = (10, 100, 1000), (10, 100), 3
MOST_OVERHEAD, MOST_NO_CHANGE = 0.10, 15.0
CHEAP = "imitator"


@contextmanager
def project() -> Iterator[Path]:
    """A project with this repository's inputs and nothing made yet."""
    with tempfile.TemporaryDirectory(prefix="likeness-bench-") as folder:
        root = Path(folder)
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
        (root / "data").mkdir()
        for source in ("embedded", "photos"):
            (root / "data" / source).symlink_to(REPOSITORY / "data" / source)
        shutil.copytree(REPOSITORY / "characters" / "embedded", root / "characters" / "embedded")
        yield root


def command(root: Path, profile: str, *options: str) -> dict[str, Any]:
    """Seconds of one whole `likeness run`, and by part."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIKENESS_")}
    environment |= {"LIKENESS_ROOT": str(root), "LIKENESS_PROFILE": profile}
    out = root / "seconds.json"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.clock", str(out), "run", "--json", *options],
        cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    whole = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"likeness run ended with status {done.returncode}; it said why above")
    parts: dict[str, float] = json.loads(out.read_text())
    # Python's own start and end, which no clock inside it sees.
    parts["start"] += whole - sum(parts.values())
    return {"seconds": whole, "parts": parts, "overhead": 1 - parts[STAGES] / whole}


def fill(root: Path, profile: str, wanted: int) -> int:
    """Record the newest version of every asset again and again, until the store holds so many; how many it holds."""
    import dagster as dg

    from orchestration.storage.instance import open_instance

    settings = Settings(root=root, profile=profile)
    with open_instance(settings) as instance:
        newest, held = [], 0
        for key in instance.all_asset_keys():
            records = instance.fetch_materializations(dg.AssetRecordsFilter(key), limit=wanted).records
            held += len(records)
            newest += [record.asset_materialization for record in records[:1] if record.asset_materialization]
        while held < wanted:
            for event in newest[: wanted - held]:
                instance.report_runless_asset_event(event)
            held += len(newest[: wanted - held])
    return held


def no_change(root: Path, profile: str, counts: tuple[int, ...], repetitions: int) -> list[dict[str, Any]]:
    """A run in which nothing changed, and one in which one asset is made anew, for each size of the store."""
    rows = []
    for count in counts:
        held = fill(root, profile, count)
        again = median([command(root, profile) for _ in range(repetitions)])
        one = command(root, profile, "--only", CHEAP, "--force")
        rows.append({"materialisations": held, **again, "one_asset": one})
        notes.print(f"{held} materialisations: {again['seconds']:.1f} s, {one['seconds']:.1f} s with one asset made")
    return rows


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run in the middle by its seconds, which keeps its parts together, with the range of all."""
    seconds = [run["seconds"] for run in runs]
    middle = min(runs, key=lambda run: abs(run["seconds"] - statistics.median(seconds)))
    return middle | {"low": min(seconds), "high": max(seconds)}


def recorded(root: Path) -> list[dict[str, Any]]:
    """What the last run of each asset of a project cost, from its materialisation and its run's start and end."""
    import dagster as dg

    from orchestration.config.catalog import STAGES as CATALOG
    from orchestration.storage.instance import open_instance
    from orchestration.storage.versions import REUSED

    rows = []
    with open_instance(Settings(root=root)) as instance:
        for stage in CATALOG:
            records = instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(stage.name)), limit=20).records
            made = [(one.run_id, one.asset_materialization) for one in records]
            made = [(run_id, event) for run_id, event in made if event and REUSED not in event.metadata]
            run_id, event = made[0] if made else ("", None)
            if event is None or "seconds" not in event.metadata:
                continue
            run = instance.get_run_record_by_id(run_id)
            inside, around = (float(event.metadata[key].value) for key in ("seconds", "seconds_around_the_stage"))  # type: ignore[arg-type]
            whole = run.end_time - run.start_time if run and run.end_time and run.start_time else inside + around
            dagster = max(whole - inside - around, 0.0)
            rows.append({"asset": stage.name, "stage": inside, "around": around, "dagster": dagster})
    return rows


def targets(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What the project set itself; None: not measured here."""
    shares = {run["profile"]: run["overhead"] for run in document["runs"]}
    if rows := document["project"]:
        spent = sum(row["stage"] + row["around"] + row["dagster"] for row in rows)
        shares["the project's runs"] = 1 - sum(row["stage"] for row in rows) / spent
    judged = {name: share for name, share in shares.items() if name != "smoke"}
    slowest = max((row["seconds"] for row in document["no_change"]), default=None)
    rows: list[dict[str, Any]] = [
        {"target": f"overhead under {MOST_OVERHEAD:.0%} ({name})", "value": share, "reached": share < MOST_OVERHEAD}
        for name, share in judged.items()
    ]
    text = f"a run in which nothing changed in under {MOST_NO_CHANGE:.0f} s"
    rows.append({"target": text, "value": slowest, "reached": None if slowest is None else slowest < MOST_NO_CHANGE})
    return rows


def measured(profiles: list[str], counts: tuple[int, ...], repetitions: int, existing: Path | None) -> dict[str, Any]:
    """Everything, as one document."""
    from benchmarks.measure import machine

    document: dict[str, Any] = {"machine": machine(), "runs": [], "no_change": [], "project": []}
    for number, profile in enumerate(profiles):
        with project() as root:
            notes.print(f"{profile}: a first run, from nothing")
            document["runs"].append({"profile": profile, **command(root, profile)})
            if number == 0:
                document["no_change"] = no_change(root, profile, counts, repetitions)
    if existing:
        document["project"] = recorded(existing)
    return document | {"targets": targets(document)}


def show(document: dict[str, Any], console: Console) -> None:
    """The tables of a document."""
    shown = Table(title="Seconds by part", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("command", "all", *PARTS, "overhead"):
        shown.add_column(name, justify="left" if name == "command" else "right")
    lines: list[tuple[str, dict[str, Any]]] = [(run["profile"], run) for run in document["runs"]]
    for row in document["no_change"]:
        lines.append((f"nothing changed, {row['materialisations']} materialisations", row))
        lines.append((f"{CHEAP} made anew, {row['materialisations']} materialisations", row["one_asset"]))
    for name, run in lines:
        parts = [f"{run['parts'][part]:.1f}" for part in PARTS]
        shown.add_row(name, f"{run['seconds']:.1f}", *parts, f"{run['overhead']:.0%}")
    if lines:
        console.print(shown)
    if document["project"]:
        console.print(_of_project(document["project"]))
    for target in document["targets"]:
        value = "not measured" if target["value"] is None else f"{target['value']:.3g}"
        console.print(f"{target['target']}: {value} {_mark(target['reached'])}")


def _of_project(rows: list[dict[str, Any]]) -> Table:
    shown = Table(title="The project's last runs, seconds", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("asset", "stage", "DVC, MLflow, checks, pictures", "Dagster", "overhead"):
        shown.add_column(name, justify="left" if name == "asset" else "right")
    sums = {key: sum(row[key] for row in rows) for key in ("stage", "around", "dagster")}
    for row in [*rows, {"asset": "all", **sums}]:
        whole = row["stage"] + row["around"] + row["dagster"]
        figures: list[float] = [row["stage"], row["around"], row["dagster"]]
        share: Callable[[float], str] = "{:.1%}".format
        shown.add_row(row["asset"], *(f"{figure:.1f}" for figure in figures), share(1 - row["stage"] / whole))
    return shown


def _mark(reached: bool | None) -> str:
    return "" if reached is None else "[green]reached[/]" if reached else "[red]missed[/]"


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Smoke alone, 10 and 100 materialisations, once.")] = False,
    profile: Annotated[
        list[str] | None, typer.Option("--profile", help="May be given again.", show_default="smoke, quickstart")
    ] = None,
    existing: Annotated[
        Path | None, typer.Option("--project", help="Only read what the last runs of this project cost.")
    ] = None,
    as_json: AsJson = False,
    out: Annotated[Path, typer.Option("--out", help="Where orchestration.json goes.")] = Path("out/bench"),
) -> None:
    """Measure what the platform costs; see the head of this file for what is written."""
    require_embedded()
    profiles = profile or ([] if existing else ["smoke"] if quick else ["smoke", "quickstart"])
    document = measured(profiles, QUICK_COUNTS if quick else COUNTS, 1 if quick else REPETITIONS, existing)
    write(document, out / "orchestration.json", as_json, lambda: show(document, screen_of(150)))


if __name__ == "__main__":
    typer.run(main)
