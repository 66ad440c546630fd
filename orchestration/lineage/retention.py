"""Runs that `likeness clean` may remove: old, finished, and nothing that is kept was made by them.

What is kept is what `prune` keeps: every version that a registered model came from, and the newest of each asset.
Records of Dagster and of MLflow have one age, since `forget` finds pictures in MLflow by what Dagster says of the run:
where one went before the other, a picture could be left that nobody finds.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from orchestration.config.files import delete
from orchestration.config.settings import Settings
from orchestration.lineage import OnStep, silent
from orchestration.lineage.resolve import LineageTarget
from orchestration.storage import old_rows
from orchestration.storage.instance import UNFINISHED
from orchestration.storage.mlflow_files import SQLITE, path_of, resolve_location
from orchestration.storage.run_pictures import RunPictures
from orchestration.storage.tracking import DAGSTER_RUN, EXPERIMENT, Tracking
from orchestration.storage.version_index import VersionIndex

if TYPE_CHECKING:
    from mlflow.entities import Run

DAY = 86_400.0
PAGE, BATCH = 1000, 200
FINISHED = tuple(status for status in dg.DagsterRunStatus if status not in UNFINISHED)


@dataclass
class OldRuns:
    """What goes of both records."""

    dagster: list[str] = field(default_factory=list)
    """Runs by id."""
    mlflow: dict[str, Path | None] = field(default_factory=dict)
    """The folder of each run's files, by the run's id; None where it is out of reach."""
    logs: list[Path] = field(default_factory=list)
    """What Dagster's runs printed, and in SQLite the database of each one's events."""

    @property
    def mlflow_bytes(self) -> int:
        """Of the files of MLflow's runs."""
        return sum(_size(folder) for folder in self.mlflow.values() if folder)

    @property
    def log_bytes(self) -> int:
        """Of what Dagster's runs wrote."""
        return sum(map(_size, self.logs))


def find(
    settings: Settings,
    instance: dg.DagsterInstance,
    version_index: VersionIndex,
    models: Collection[LineageTarget],
    needed: Collection[str],
    days: float,
) -> OldRuns:
    """Runs that ended so many days ago, and made none of the versions that are needed (md5)."""
    before = time.time() - days * DAY
    made = version_index.made_by_run()
    keeping = {run for run, md5s in made.items() if not md5s.isdisjoint(needed)}
    dagster = [run for run in _ended(instance, before) if run not in keeping]
    gone, kept_mlflow = set(dagster), _mlflow_runs(version_index, models, needed)
    mlflow = {
        run.info.run_id: _folder_of(run, settings)
        for run in _tracked(settings, before)
        if run.info.run_id not in kept_mlflow and _follows(run, gone, instance)
    }
    return OldRuns(dagster, mlflow, [*_logs(settings, gone)])


def remove(settings: Settings, instance: dg.DagsterInstance, runs: OldRuns, progress: OnStep = silent) -> int:
    """Remove them, MLflow's first: interrupted, the same command finishes. Bytes freed.

    Raises LikenessError, OSError.
    """
    if not (runs.mlflow or runs.dagster):
        return 0
    freed, tracking = runs.mlflow_bytes + runs.log_bytes, Tracking.of(settings)
    for number, (run, folder) in enumerate(runs.mlflow.items()):
        progress("clean: runs in MLflow", number, len(runs.mlflow))
        if folder:
            delete(folder)
        else:
            RunPictures(tracking, run).delete(lambda path: True)
        old_rows.erase_tracked(settings, run)
    for path in runs.logs:  # before the records by which they are found
        delete(path)
    for start in range(0, len(runs.dagster), BATCH):
        progress("clean: runs in Dagster", start, len(runs.dagster))
        old_rows.erase_runs(instance, runs.dagster[start : start + BATCH])
    progress("clean: room in the databases", 0, 0)
    return freed + sum(map(old_rows.compact, _databases(settings)))


def _databases(settings: Settings) -> list[Path]:
    """SQLite files in which rows were deleted."""
    home = settings.dagster_home / "history"
    files = [home / "runs.db", home / "runs" / "index.db", Path(settings.tracking_uri.removeprefix(SQLITE))]
    return [file for file in files if file.is_file()]


def _ended(instance: dg.DagsterInstance, before: float) -> Iterator[str]:
    """Dagster's runs that were over before that time."""
    cursor = None
    old = dg.RunsFilter(statuses=list(FINISHED), created_before=datetime.fromtimestamp(before, UTC))
    while records := instance.get_run_records(old, limit=PAGE, cursor=cursor):
        for record in records:
            if (record.end_time or record.create_timestamp.timestamp()) < before:
                yield record.dagster_run.run_id
        cursor = records[-1].dagster_run.run_id


def _mlflow_runs(version_index: VersionIndex, models: Collection[LineageTarget], needed: Collection[str]) -> set[str]:
    """The runs of registered versions, and those that needed versions name: a version that was taken over names the run
    that made it, which is another than its own.
    """
    registered = {str((model.model or {}).get("mlflow_run")) for model in models}
    refs = [ref for ref in version_index.refs() if ref.md5 in needed]
    named = (version.metadata.get("mlflow_run_id") for version in version_index.versions(refs))
    return registered | {str(run) for run in named if run}


def _tracked(settings: Settings, before: float) -> Iterator[Run]:
    """MLflow's runs of the pipeline that ended before that time."""
    client = Tracking.of(settings).client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    token = None
    while experiment:
        page: Any = client.search_runs(
            [experiment.experiment_id],
            f"attributes.end_time < {int(before * 1000)}",
            max_results=PAGE,
            page_token=token,
        )
        yield from page
        if not (token := page.token):
            return


def _follows(run: Run, gone: Collection[str], instance: dg.DagsterInstance) -> bool:
    """Whether the run of Dagster's that worked on it goes too, or is no more."""
    dagster_run = run.data.tags.get(DAGSTER_RUN, "")
    return dagster_run in gone or not (dagster_run and instance.has_run(dagster_run))


def _folder_of(run: Run, settings: Settings) -> Path | None:
    """Where all files of a run are, on this machine; None also where the folder is not the run's alone."""
    folder = path_of(resolve_location(str(run.info.artifact_uri), settings.tracking_uri))
    return folder.parent if folder and folder.parent.name == run.info.run_id else None


def _logs(settings: Settings, runs: Collection[str]) -> Iterator[Path]:
    home = settings.dagster_home
    for path in (*(home / "storage").glob("*"), *(home / "history" / "runs").glob("*.db*")):
        if path.name.partition(".")[0] in runs:
            yield path


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())
