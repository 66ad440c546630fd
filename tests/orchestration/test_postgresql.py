"""Dagster and MLflow in a real PostgreSQL server, by one setting."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.storage.event_log.schema import ConcurrencyLimitsTable, ConcurrencySlotsTable

from orchestration.apps import backup, restore_backup
from orchestration.apps.backup_format import BackupError
from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.pipeline import runner
from orchestration.pipeline.runner import Outcome
from orchestration.storage import mlflow_client, postgres
from orchestration.storage.instance import POOL, open_instance
from orchestration.storage.postgres import DatabaseError
from orchestration.storage.tracking import Tracking
from serving.configuration import ServiceSettings
from tests.orchestration.cluster_graph import PROFILE
from tests.orchestration.conftest import make_project
from tests.orchestration.postgres_server import PASSWORD, PostgresServer, postgres_server
from tests.orchestration.servers import free_port, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture
def project(server: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """A project whose database is new and empty; its password is in the environment alone."""
    name = f"test_{abs(hash(request.node.name)) % 10**8}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIKENESS_DATABASE", server.create(name))
        patch.setenv("PGPASSWORD", PASSWORD)
        yield make_project(tmp_path, "embedded", "other")


def _run(settings: Settings, stages: tuple[Stage, ...]) -> Outcome:
    with open_instance(settings) as instance:
        return runner.run(settings, instance, stages, Progress(lambda line: None), "embedded")


def test_runs_and_models_are_kept_in_postgresql_alone(
    project: Settings, server: PostgresServer, stages: tuple[Stage, ...]
) -> None:
    assert len(_run(project, stages).made) == len(stages)
    assert _run(project, stages).made == []
    tables = server.tables(project.database.rpartition("/")[2])
    assert {"public.runs", "public.event_logs", "mlflow.runs", "mlflow.registered_models"} <= tables
    assert {"public.alembic_version", "mlflow.alembic_version"} <= tables
    runs = Tracking.of(project).client()
    (experiment,) = [each for each in runs.search_experiments() if each.name == "likeness"]
    assert len(runs.search_runs([experiment.experiment_id])) == len(stages)
    assert not [*project.dagster_home.rglob("*.db"), *(project.home / "mlflow").rglob("*.db")]


def test_no_file_of_the_project_holds_the_password(project: Settings, stages: tuple[Stage, ...]) -> None:
    _run(project, stages)
    config = (project.dagster_home / "dagster.yaml").read_text()
    assert "127.0.0.1" in config
    files = [path for path in project.home.rglob("*") if path.is_file()]
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


def test_a_server_killed_in_a_stage_is_named_and_the_next_run_goes_on(
    project: Settings, server: PostgresServer, stages: tuple[Stage, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_client, "PATIENCE", 3.0)

    def kill(out: Path, context: Any) -> None:
        (context.checkpoints / "half").touch()
        server.kill()

    stages[1].code.act = kill  # type: ignore[attr-defined]
    with pytest.raises(Exception) as caught:
        _run(project, stages)
    told = str(caught.value) if isinstance(caught.value, DatabaseError) else postgres.lost(caught.value)
    assert told.startswith(f"PostgreSQL at 127.0.0.1:{server.port}/") and PASSWORD not in told
    with pytest.raises(DatabaseError, match="start the server"):
        _run(project, stages)

    server.start()
    seen = []
    stages[1].code.act = lambda out, context: seen.append((context.checkpoints / "half").exists())  # type: ignore
    assert _run(project, stages).made == [f"{each.name}{'/embedded' * each.by_character}" for each in stages[1:]]
    assert seen == [True]


def test_two_processes_that_begin_with_an_empty_database_lose_nothing(project: Settings) -> None:
    Path(project.profile).write_text(PROFILE)
    code = """
import sys
from orchestration.pipeline import executors, runner
from orchestration.storage.project import Project
from orchestration.storage.instance import POOL, open_instance
from orchestration.config.settings import Settings
from tests.orchestration.cluster_graph import MODULE, graph
settings, character = Settings(), sys.argv[1]
with open_instance(settings) as instance:
    runner.observe_sources(Project.of(settings, instance, graph()), graph(), character)
    assets = ["rendered_pairs", "imitator"]
    tags = {runner.PARTITION_TAG: character}
    result = executors.execute(instance, assets, MODULE, run_config=runner.QUIET, tags=tags)
    sys.exit(None if result.success else runner.reason(result))
"""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "LIKENESS_ROOT": str(project.root),
        "LIKENESS_PROFILE": project.profile,
        "LIKENESS_EXECUTOR": "in_process",
    }
    both = [
        subprocess.Popen([sys.executable, "-c", code, name], cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE)
        for name in ("embedded", "other")
    ]
    told = [each.communicate(timeout=240)[1].decode() for each in both]
    assert [each.returncode for each in both] == [0, 0], told
    with open_instance(project) as instance:
        for name in ("rendered_pairs", "imitator"):
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == {"embedded", "other"}, name
    runs = Tracking.of(project).client()
    (experiment,) = [each for each in runs.search_experiments() if each.name == "likeness"]
    finished = [run.info.status for run in runs.search_runs([experiment.experiment_id])]
    assert finished == ["FINISHED"] * 4


def test_two_processes_that_make_the_pool_at_once_both_have_it(project: Settings) -> None:
    with open_instance(project) as instance:
        storage: Any = instance.event_log_storage
        with storage.index_transaction() as first:
            first.execute(ConcurrencySlotsTable.delete())
            first.execute(ConcurrencyLimitsTable.delete())
        with ThreadPoolExecutor(1) as threads:
            with storage.index_transaction() as first:
                first.execute(ConcurrencyLimitsTable.insert().values(concurrency_key=POOL, limit=1))
                second = threads.submit(lambda: open_instance(project).dispose())
                with pytest.raises(TimeoutError):  # it waits for the first one's row
                    second.result(5)
            second.result(30)
        assert [pool.name for pool in storage.get_pool_limits()] == [POOL]


def test_a_backup_of_it_is_restored_into_another_database(
    project: Settings,
    server: PostgresServer,
    stages: tuple[Stage, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _run(project, stages)
    runs = {run.info.run_id for run in _tracked(project)}
    backup.make(tmp_path / "backup", project, ServiceSettings())
    files = [path for path in (tmp_path / "backup").rglob("*") if path.is_file()]
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]

    name = project.database.rpartition("/")[2]
    (tmp_path / "elsewhere").mkdir()
    again = make_project(tmp_path / "elsewhere", "embedded", "other")
    shutil.rmtree(again.data)  # restored with the rest
    again = again.model_copy(update={"database": server.create(f"{name}_again")})
    restore_backup.restore(tmp_path / "backup", again, ServiceSettings())
    monkeypatch.setenv("LIKENESS_DATABASE", again.database)
    assert server.tables(name) == server.tables(f"{name}_again")
    assert {run.info.run_id for run in _tracked(again)} == runs
    assert _run(again, stages).made == []
    with pytest.raises(BackupError, match="is not empty"):
        restore_backup.restore(tmp_path / "backup", again, ServiceSettings())
    Path(again.profile).write_text(json.dumps({"encoder": {"text": "b"}}))
    assert _run(again, stages).made == ["encoder/embedded"]
    restore_backup.restore(tmp_path / "backup", again, ServiceSettings(), replace_it=True)
    assert {run.info.run_id for run in _tracked(again)} == runs


def _tracked(settings: Settings) -> list[Any]:
    client = Tracking.of(settings).client()
    return client.search_runs([each.experiment_id for each in client.search_experiments()])


@pytest.mark.parametrize(
    ("said", "told"), [("", "install PostgreSQL's client programs"), ("pg_dump (PostgreSQL) 9.6", "of version 9.6")]
)
def test_a_pg_dump_that_is_missing_or_too_old_is_an_error_that_says_what_to_install(
    project: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    program = tmp_path / "bin" / "pg_dump"
    program.parent.mkdir()
    if said:
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
    with open_instance(project):
        Tracking.of(project).client()
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.raises(DatabaseError, match=told):
        backup.make(tmp_path / "backup", project, ServiceSettings())
    assert not (tmp_path / "backup").exists()


def test_mlflows_server_of_the_cluster_serves_what_was_tracked_without_it(
    project: Settings, stages: tuple[Stage, ...], tmp_path: Path
) -> None:
    _run(project, stages)
    manifest = next(iter(yaml.safe_load_all((REPOSITORY / "deploy" / "mlflow.yaml").read_text())))
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    port = free_port()
    (script,) = container["args"]
    script = script.replace("0.0.0.0 --port 5000", f"127.0.0.1 --port {port}").replace("/mnt/likeness", str(tmp_path))
    environment = {each["name"]: each["value"] for each in container["env"]}
    environment |= {"LIKENESS_DATABASE": project.database, "PGPASSWORD": PASSWORD, "PYTHONPATH": str(REPOSITORY)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    log = tmp_path / "mlflow.log"
    with running([*container["command"], script], log, environment | {"PATH": path}, cwd=REPOSITORY):
        # The name by which the cluster's pods call it.
        found = _experiments(port, "mlflow:5000", log)
        assert "likeness" in [each["name"] for each in found["experiments"]]
        with pytest.raises(urllib.error.HTTPError, match="403"):
            _experiments(port, "somewhere.else", log)


def _experiments(port: int, host: str, log: Path) -> dict[str, Any]:
    """What the server answers to who calls it by this name; waits for it to start."""
    url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=10"
    deadline = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            raise
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
