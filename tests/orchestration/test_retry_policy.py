"""What is tried again, and what is not."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from orchestration.config.settings import Settings
from orchestration.pipeline import assets, retry_policy
from orchestration.pipeline.definitions import build
from orchestration.pipeline.run_launcher import WatchedRunLauncher
from orchestration.pipeline.runner import QUIET
from orchestration.storage.instance import (
    AlreadyRunning,
    dagster_yaml,
    is_ours,
    missing_sections,
    only_runner,
    open_instance,
)
from orchestration.storage.store import RemoteDown, StoreError
from tests.orchestration.conftest import stage

pytestmark = pytest.mark.slow


class EndpointConnectionError(Exception):
    """Called like botocore's, which is not an OSError."""


def chained(outer: Exception, inner: Exception) -> Exception:
    try:
        raise outer from inner
    except Exception as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("no server"),
        TimeoutError("slow"),
        OSError(errno.ENETUNREACH, "no network"),
        EndpointConnectionError("no S3"),
        chained(StoreError("neither in the cache nor in the remote"), ConnectionResetError("reset")),
        type("OperationalError", (Exception,), {})("(sqlite3.OperationalError) database is locked"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert retry_policy.is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad data"),
        FileNotFoundError(errno.ENOENT, "gone"),
        OSError(errno.ENOSPC, "disk full"),
        PermissionError(errno.EACCES, "not yours"),
        StoreError("neither in the cache nor in the remote"),
        chained(RemoteDown("the remote cannot be used"), OSError(errno.ENOSPC, "disk full")),
        type("OperationalError", (Exception,), {})("no such table: runs"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_bugs_bad_data_and_a_full_disk_are_not(error: Exception) -> None:
    assert not retry_policy.is_transient(error)


@pytest.mark.parametrize(("error", "runs"), [(ConnectionError("no server"), 3), (ValueError("bad data"), 1)])
def test_a_step_runs_again_only_for_what_can_recover(
    settings: Settings,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    runs: int,
) -> None:
    monkeypatch.setattr(assets, "RETRY_POLICY", dg.RetryPolicy(max_retries=2))
    broken = stage("portraits", ("embedded", "character"))

    def fail(out: Path, context: object) -> None:
        raise error

    broken.module.act = fail
    job = build(settings, (broken,)).resolve_implicit_global_asset_job_def()
    # The first attempt only records the sources, and asks to be tried again.
    given: Any = {"instance": instance, "run_config": QUIET, "asset_selection": [dg.AssetKey(broken.name)]}
    job.execute_in_process(**given, raise_on_error=False)
    broken.module.runs = 0
    result = job.execute_in_process(**given, raise_on_error=False)
    assert not result.success
    assert broken.module.runs == runs
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert retry_policy.why_it_failed(failure) == f"{type(error).__name__}: {error}"


def test_a_dagster_yaml_as_it_was_written_is_brought_up_to_date(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    config = settings.dagster_home / "dagster.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(FIRST_VERSION)
    with open_instance(settings) as instance:
        assert instance.run_retries_enabled and instance.run_monitoring_enabled and instance.freshness_enabled
        assert isinstance(instance.run_launcher, WatchedRunLauncher)
        assert not instance.run_retries_retry_on_asset_or_op_failure
    assert config.read_text() == dagster_yaml(Settings())
    assert missing_sections(settings) == []


def test_a_dagster_yaml_of_somebodys_own_is_left_alone_and_says_what_it_lacks(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    config = settings.dagster_home / "dagster.yaml"
    config.parent.mkdir(parents=True)
    own = dagster_yaml(Settings()).replace("max_retries: 2", "max_retries: 5")
    assert is_ours(dagster_yaml(Settings())) and not is_ours(own)
    config.write_text(own)
    with open_instance(settings) as instance:
        assert instance.run_retries_max_retries == 5
    assert config.read_text() == own
    config.write_text(yaml.safe_dump({"telemetry": {"enabled": False}}))
    assert {"concurrency", "run_retries", "run_launcher"} <= set(missing_sections(settings))


def test_a_run_without_code_server_lives_as_long_as_its_process_and_is_closed_after_it(
    settings: Settings, tmp_path: Path
) -> None:
    from dagster._core.events import DagsterEvent, DagsterEventType, EngineEventData
    from dagster._core.storage.tags import GRPC_INFO_TAG

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        (settings.dagster_home / "dagster.yaml").unlink(missing_ok=True)
        with open_instance(settings) as instance:
            job = build(settings, (stage("portraits", ("embedded",)),)).resolve_implicit_global_asset_job_def()
            nobody = f'{{"host": "localhost", "socket": "{tmp_path}/gone"}}'
            run = instance.create_run_for_job(job, tags={GRPC_INFO_TAG: nobody})
            instance.report_engine_event("started", run, EngineEventData.in_process(worker.pid))
            run = instance.get_run_by_id(run.run_id)
            assert run is not None
            instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_START.value, run.job_name), run.run_id)
            assert instance.run_launcher.check_run_worker_health(run).status.value == "RUNNING"
            with pytest.raises(AlreadyRunning, match="Dagster makes"), only_runner(settings, instance):
                pass
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
            assert instance.run_launcher.check_run_worker_health(run).status.value == "FAILED"
            with only_runner(settings, instance):
                closed = instance.get_run_by_id(run.run_id)
                assert closed is not None and closed.status == dg.DagsterRunStatus.CANCELED


FIRST_VERSION = """\
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
