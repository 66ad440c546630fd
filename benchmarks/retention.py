"""What a project with many materialisations weighs, and how long `likeness clean` takes over its old runs.

    .venv/bin/python -m benchmarks.retention --project PROJECT --materialisations 10000

The project is copied, and the runs of the copy are written again and again into its databases, each older than the one
before and with md5s of its own, as if the project had been retrained for years; nothing is trained. PROJECT needs one
finished run.

    before, after   megabytes of Dagster's and MLflow's records, numbers of runs and materialisations
    plan            seconds of `clean --dry-run`
    clean           seconds of `clean --runs-older-than 30`
    listed_seconds  seconds of listing every version of every asset, before and after
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.config.settings import Settings

DAY = 86_400.0
RECORDS = ("dagster", "mlflow")


@contextmanager
def copied(project: Path) -> Iterator[Settings]:
    """A copy of the project's records, without its data: a folder that is gone with the block."""
    with tempfile.TemporaryDirectory(prefix="retention-") as name:
        root = Path(name)
        original = Settings(root=project)
        for part in (".dvc", "characters", "artifacts"):
            if (project / part).is_dir():
                shutil.copytree(project / part, root / part, ignore=_but_pointers)
        for part in RECORDS:
            shutil.copytree(original.home / part, root / ".likeness" / part)
        yield Settings(root=root)


def _but_pointers(folder: Any, names: list[str]) -> list[str]:
    return [name for name in names if "artifacts" in folder and name[-4:] != ".dvc" and not Path(folder, name).is_dir()]


def multiply(settings: Settings, wanted: int) -> int:
    """Write the runs again until there are so many materialisations; how many there are."""
    home = settings.dagster_home / "history"
    mlflow = Path(settings.tracking_uri.removeprefix("sqlite:///"))
    with (
        closing(sqlite3.connect(home / "runs" / "index.db")) as events,
        closing(sqlite3.connect(home / "runs.db")) as runs,
        closing(sqlite3.connect(mlflow)) as tracked,
    ):
        held = _materialisations(events)
        templates = [run for (run,) in events.execute(f"SELECT DISTINCT run_id FROM event_logs WHERE {MADE}") if run]
        for number in range(wanted):
            template = templates[number % len(templates)]
            held += _again(template, number, settings, events, runs, tracked)
            if held >= wanted:
                break
        for database in (events, runs, tracked):
            database.commit()
    return held


MADE = "dagster_event_type = 'ASSET_MATERIALIZATION'"
YEARS = 3 * 365 * DAY


def _materialisations(events: sqlite3.Connection) -> int:
    return int(events.execute(f"SELECT count(*) FROM event_logs WHERE {MADE}").fetchone()[0])


def _again(
    template: str,
    number: int,
    settings: Settings,
    events: sqlite3.Connection,
    runs: sqlite3.Connection,
    tracked: sqlite3.Connection,
) -> int:
    """One run of Dagster's, with its events, its own database and its runs of MLflow's; materialisations in it."""
    run, ago = str(uuid.uuid4()), 60 * DAY + number % 10_000 / 10_000 * YEARS
    names = {template: run}
    for (md5,) in events.execute(
        "SELECT DISTINCT value FROM asset_event_tags t JOIN event_logs e ON e.id = t.event_id "
        "WHERE e.run_id = ? AND t.key = 'dagster/data_version'", (template,),
    ):  # fmt: skip
        names[md5] = f"{uuid.uuid4().hex}.dir"
    for (mine,) in tracked.execute(
        "SELECT run_uuid FROM tags WHERE key = 'dagster.run_id' AND value = ?", (template,)
    ).fetchall():
        names[mine] = uuid.uuid4().hex
        _track_again(tracked, mine, names, ago)
    kept = {}
    for row in _rows(events, "event_logs", "run_id", template):
        old = row.pop("id")
        kept[old] = _insert(events, "event_logs", _renamed(row, names, ago))
    for row in _rows(events, "asset_event_tags", "event_id", *kept):
        row.pop("id")
        _insert(events, "asset_event_tags", _renamed({**row, "event_id": kept[row["event_id"]]}, names, ago))
    for row in _rows(events, "asset_check_executions", "run_id", template):
        row.pop("id")
        _insert(events, "asset_check_executions", _renamed(row, names, ago))
    for table in ("runs", "run_tags"):
        for row in _rows(runs, table, "run_id", template):
            row.pop("id")
            _insert(runs, table, _renamed(row, names, ago))
    own = settings.dagster_home / "history" / "runs" / f"{template}.db"
    shutil.copyfile(own, own.with_name(f"{run}.db"))
    with closing(sqlite3.connect(own.with_name(f"{run}.db"))) as shard:
        shard.execute("UPDATE event_logs SET run_id = ?, event = replace(event, ?, ?)", (run, template, run))
        shard.commit()
    return int(events.execute(f"SELECT count(*) FROM event_logs WHERE run_id = ? AND {MADE}", (run,)).fetchone()[0])


def _track_again(tracked: sqlite3.Connection, run: str, names: dict[str, str], ago: float) -> None:
    for table in ("runs", "metrics", "latest_metrics", "params", "tags"):
        for row in _rows(tracked, table, "run_uuid", run):
            row = {name: names_in(value, names) for name, value in row.items()}
            for name in ("start_time", "end_time"):
                if row.get(name):
                    row[name] -= int(ago * 1000)
            _insert(tracked, table, row)


def _rows(database: sqlite3.Connection, table: str, column: str, *values: Any) -> list[dict[str, Any]]:
    if not values:
        return []
    places = ", ".join("?" * len(values))
    found = database.execute(f"SELECT * FROM {table} WHERE {column} IN ({places})", values)
    columns = [name for name, *_ in found.description]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def _insert(database: sqlite3.Connection, table: str, row: dict[str, Any]) -> int:
    columns, places = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
    return int(database.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", (*row.values(),)).lastrowid or 0)


def _renamed(row: dict[str, Any], names: dict[str, str], ago: float) -> dict[str, Any]:
    """A row under the new names, so many seconds older."""
    for name, value in row.items():
        row[name] = names_in(value, names)
        if name in ("start_time", "end_time") and value:
            row[name] = value - ago
        elif name in ("timestamp", "create_timestamp", "update_timestamp", "event_timestamp") and value:
            row[name] = _earlier(str(value), ago)
    return row


def names_in(value: Any, names: dict[str, str]) -> Any:
    """A value with every old name in it replaced."""
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(old, new)
    return value


def _earlier(text: str, ago: float) -> str:
    from datetime import datetime, timedelta

    return (datetime.fromisoformat(text) - timedelta(seconds=ago)).isoformat(" ", "microseconds")


def weight(settings: Settings) -> dict[str, float]:
    """Megabytes and numbers of what the records hold."""
    from orchestration.storage.instance import open_instance
    from orchestration.storage.version_index import VersionIndex

    sizes = {
        f"{part}_megabytes": sum(path.stat().st_size for path in (settings.home / part).rglob("*") if path.is_file())
        / 1e6
        for part in RECORDS
    }
    with closing(sqlite3.connect(settings.dagster_home / "history" / "runs" / "index.db")) as events:
        made = _materialisations(events)
    with closing(sqlite3.connect(settings.tracking_uri.removeprefix("sqlite:///"))) as tracked:
        mlflow = tracked.execute("SELECT count(*) FROM runs").fetchone()[0]
    with open_instance(settings) as instance:
        began = time.monotonic()
        index = VersionIndex(instance)
        for asset in {ref.asset for ref in index.refs()}:
            index.refs(asset)
        listed = time.monotonic() - began
        dagster = instance.get_runs_count()
    return {**sizes, "materialisations": made, "dagster_runs": dagster, "mlflow_runs": mlflow, "listed_seconds": listed}


def measured(project: Path, materialisations: int) -> dict[str, Any]:
    """Everything, as one document."""
    from benchmarks.measure import machine
    from orchestration.lineage import prune
    from orchestration.storage.instance import open_instance
    from orchestration.storage.store import Store

    with copied(project) as settings:
        multiply(settings, materialisations)
        document: dict[str, Any] = {"machine": machine(), "before": weight(settings)}
        with open_instance(settings) as instance:
            began = time.monotonic()
            plan = prune.plan(settings, instance, Store.of(settings), runs_days=30.0)
            document["plan"], began = time.monotonic() - began, time.monotonic()
            prune.carry_out(plan, settings, instance, Store.of(settings))
            document["clean"] = time.monotonic() - began
        document["after"] = weight(settings)
    return document


def main(
    project: Annotated[Path, typer.Option(help="A project with a finished run; it is copied.")],
    materialisations: Annotated[int, typer.Option(min=1)] = 10_000,
) -> None:
    """Measure, and print one JSON document."""
    json.dump(measured(project.resolve(), materialisations), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    typer.run(main)
