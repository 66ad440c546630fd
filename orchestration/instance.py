"""The Dagster instance: its storage in the home folder, one heavy step at a time on each device."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from orchestration.settings import Settings

DAGSTER_YAML = """\
# Written by likeness where it was missing; yours to change (PostgreSQL, run launchers, retention).
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
RUN_TAG = "likeness/run"


class AlreadyRunning(Exception):
    """Another `likeness run` is at work on this project."""


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The persistent instance, made where there is none."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(DAGSTER_YAML)
    return dg.DagsterInstance.from_config(str(home))


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
