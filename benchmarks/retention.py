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
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.config.settings import Settings

DAY = 86_400.0
YEARS = 3 * 365 * DAY
RECORDS = ("dagster", "mlflow")
MADE = "dagster_event_type = 'ASSET_MATERIALIZATION'"
VERSION_TAG, DAGSTER_RUN = "dagster/data_version", "dagster.run_id"
MLFLOW_TABLES = ("runs", "metrics", "latest_metrics", "params", "tags")
TIMES = ("timestamp", "create_timestamp", "update_timestamp", "event_timestamp")


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


@dataclass
class Databases:
    """Dagster's and MLflow's, opened."""

    events: sqlite3.Connection
    runs: sqlite3.Connection
    tracked: sqlite3.Connection

    @classmethod
    @contextmanager
    def of(cls, settings: Settings) -> Iterator[Databases]:
        home = settings.dagster_home / "history"
        mlflow = Path(settings.tracking_uri.removeprefix("sqlite:///"))
        files = (home / "runs" / "index.db", home / "runs.db", mlflow)
        with ExitStack() as opened:
            yield cls(*(opened.enter_context(closing(sqlite3.connect(file))) for file in files))

    def materialisations(self, run: str = "") -> int:
        """How many there are, or of one run."""
        query, values = (" AND run_id = ?", (run,)) if run else ("", ())
        return int(self.events.execute(f"SELECT count(*) FROM event_logs WHERE {MADE}{query}", values).fetchone()[0])


@dataclass
class Template:
    """A run of Dagster's with all that was written of it, read once."""

    run: str
    shard: Path
    made: int
    """Materialisations."""
    md5s: list[str]
    tracked: list[str]
    """Its runs of MLflow's."""
    rows: dict[str, list[dict[str, Any]]]

    @classmethod
    def read(cls, run: str, settings: Settings, databases: Databases) -> Template:
        events = _rows(databases.events, "event_logs", "run_id", run)
        tags = _rows(databases.events, "asset_event_tags", "event_id", *(row["id"] for row in events))
        tracked = [
            row["run_uuid"] for row in _rows(databases.tracked, "tags", "value", run) if row["key"] == DAGSTER_RUN
        ]
        rows = {"event_logs": events, "asset_event_tags": tags}
        rows["asset_check_executions"] = _rows(databases.events, "asset_check_executions", "run_id", run)
        rows |= {table: _rows(databases.runs, table, "run_id", run) for table in ("runs", "run_tags")}
        rows |= {f"mlflow.{table}": _rows(databases.tracked, table, "run_uuid", *tracked) for table in MLFLOW_TABLES}
        md5s = [str(row["value"]) for row in tags if row["key"] == VERSION_TAG]
        shard = settings.dagster_home / "history" / "runs" / f"{run}.db"
        return cls(run, shard, databases.materialisations(run), md5s, tracked, rows)

    def write_again(self, ago: float, databases: Databases) -> None:
        """The same under new names, so many seconds earlier."""
        names = {self.run: str(uuid.uuid4())}
        names |= {md5: f"{uuid.uuid4().hex}.dir" for md5 in self.md5s}
        names |= {run: uuid.uuid4().hex for run in self.tracked}
        events: dict[int, int] = {}
        for table, rows in self.rows.items():
            database = databases.tracked if table.startswith("mlflow.") else databases.events
            database = databases.runs if table in ("runs", "run_tags") else database
            for row in rows:
                new = _renamed(row, names, ago, 1000 if database is databases.tracked else 1)
                if "event_id" in new:
                    new["event_id"] = events[new["event_id"]]
                number = _insert(database, table.removeprefix("mlflow."), new)
                if table == "event_logs":
                    events[row["id"]] = number
        copy = self.shard.with_name(f"{names[self.run]}.db")
        shutil.copyfile(self.shard, copy)
        with closing(sqlite3.connect(copy)) as shard:
            shard.execute("PRAGMA synchronous = OFF")
            shard.execute("UPDATE event_logs SET run_id = ?", (names[self.run],))
            shard.commit()


def multiply(settings: Settings, wanted: int) -> None:
    """Write the runs again until there are so many materialisations."""
    with Databases.of(settings) as databases:
        held, number = databases.materialisations(), 0
        runs = databases.events.execute(f"SELECT DISTINCT run_id FROM event_logs WHERE {MADE} AND run_id != ''")
        templates = [Template.read(run, settings, databases) for (run,) in runs.fetchall()]
        while held < wanted:
            template = templates[number % len(templates)]
            template.write_again(60 * DAY + number % 10_000 / 10_000 * YEARS, databases)
            held, number = held + template.made, number + 1
        for database in (databases.events, databases.runs, databases.tracked):
            database.commit()


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


def _renamed(row: dict[str, Any], names: dict[str, str], ago: float, unit: int) -> dict[str, Any]:
    """A row under the new names, so many seconds older; `unit` of its numbers in a second."""
    new = {name: names_in(value, names) for name, value in row.items() if name != "id"}
    for name, value in new.items():
        if name in ("start_time", "end_time") and value:
            new[name] = type(value)(value - ago * unit)
        elif name in TIMES and isinstance(value, str):
            new[name] = _earlier(value, ago)
    return new


def names_in(value: Any, names: dict[str, str]) -> Any:
    """A value with every old name in it replaced."""
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(old, new)
    return value


def _earlier(text: str, ago: float) -> str:
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
    with Databases.of(settings) as databases:
        made, mlflow = (
            databases.materialisations(),
            databases.tracked.execute("SELECT count(*) FROM runs").fetchone()[0],
        )
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
