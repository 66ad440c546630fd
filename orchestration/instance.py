"""The Dagster instance: its storage in the home folder, one heavy step at a time on each device."""

from __future__ import annotations

import fcntl
import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import yaml

from orchestration import database, executors
from orchestration.settings import Settings

DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    default_limit: 1
    granularity: op
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 60
"""
POSTGRES_YAML = """\
storage:
  postgres:
    postgres_url: {url}
"""
OURS = "# Written by likeness, which brings it up to date until you change it (run launchers, retention). sha256 "
RUN_TAG = "likeness/run"


class AlreadyRunning(Exception):
    """Another `likeness run` is at work on this project."""


class InstanceError(Exception):
    """dagster.yaml does not say what the settings say, and is not ours to change."""


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The persistent instance, made where there is none. Raises InstanceError or DatabaseError."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    write_config(settings.dagster_home / "dagster.yaml", settings)
    if settings.database:
        database.require(settings.database)
    instance = dg.DagsterInstance.from_config(str(settings.dagster_home))
    executors.limit_pool(settings, instance)
    return instance


def write_config(path: Path, settings: Settings) -> None:
    """Write dagster.yaml, or bring it up to date where nobody but us wrote it.

    Raises InstanceError where somebody did and the settings name PostgreSQL, but the file no storage.
    """
    storage = POSTGRES_YAML.format(url=database.engine_url(settings.database)) if settings.database else ""
    content = path.read_text() if path.exists() else ""
    if content and content != _signed(content.partition("\n")[2]):
        if storage and "storage" not in (yaml.safe_load(content) or {}):
            raise InstanceError(f"LIKENESS_DATABASE is set, but {path} is your own: remove it, or add to it\n{storage}")
    elif content != _signed(DAGSTER_YAML + storage):
        partial = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}.partial")
        partial.write_text(_signed(DAGSTER_YAML + storage))
        partial.replace(path)


def _signed(content: str) -> str:
    return f"{OURS}{hashlib.sha256(content.encode()).hexdigest()}\n{content}"


@contextmanager
def only_runner(settings: Settings, instance: dg.DagsterInstance) -> Iterator[None]:
    """One `likeness run` at a time; what an interrupted one left behind is closed first.

    A process that was killed cannot give its slot of the device pool back, and the next run would wait for it for ever.
    Raises AlreadyRunning.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning("another `likeness run` is at work here: wait for it, or stop it") from error
        _close_dead_runs(instance)
        yield


def _close_dead_runs(instance: dg.DagsterInstance) -> None:
    unfinished = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    for run in instance.get_runs(dg.RunsFilter(statuses=unfinished, tags={RUN_TAG: "true"})):
        instance.report_run_failed(run, "its process ended before it did")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


if __name__ == "__main__":
    # For servers that start before any other command has: python -m orchestration.instance
    with open_instance(Settings()) as opened:
        print(opened.root_directory)
