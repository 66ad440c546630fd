"""Dagster and MLflow in a real PostgreSQL server, by one setting."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration import database, pipeline
from orchestration.catalog import Stage
from orchestration.database import DatabaseError
from orchestration.instance import open_instance
from orchestration.pipeline import Outcome
from orchestration.progress import Progress
from orchestration.settings import REPOSITORY, Settings
from orchestration.tracking import Tracking
from tests.orchestration.conftest import make_project
from tests.orchestration.postgres_server import PASSWORD, PostgresServer, postgres_server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


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
        return pipeline.run(settings, instance, stages, Progress(lambda line: None), "embedded")


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
    project: Settings, server: PostgresServer, stages: tuple[Stage, ...]
) -> None:
    def kill(out: Path, context: Any) -> None:
        (context.checkpoints / "half").touch()
        server.kill()

    stages[1].code.act = kill  # type: ignore[attr-defined]
    with pytest.raises(Exception) as caught:
        _run(project, stages)
    told = str(caught.value) if isinstance(caught.value, DatabaseError) else database.lost(caught.value)
    assert told.startswith(f"PostgreSQL at 127.0.0.1:{server.port}/") and PASSWORD not in told
    with pytest.raises(DatabaseError, match="start the server"):
        _run(project, stages)

    server.start()
    seen = []
    stages[1].code.act = lambda out, context: seen.append((context.checkpoints / "half").exists())  # type: ignore
    assert _run(project, stages).made == [f"{each.name}{'/embedded' * each.by_character}" for each in stages[1:]]
    assert seen == [True]


def test_two_processes_that_begin_with_an_empty_database_lose_nothing(project: Settings) -> None:
    code = """
import sys
from orchestration import executors, pipeline
from orchestration.instance import open_instance
from orchestration.settings import Settings
from tests.orchestration.cluster_graph import MODULE, graph
settings, character = Settings(), sys.argv[1]
with open_instance(settings) as instance:
    pipeline.observe_sources(settings, instance, graph(), character)
    assets = ["rendered_pairs", "imitator"]
    tags = {pipeline.PARTITION_TAG: character}
    result = executors.execute(instance, assets, MODULE, run_config=pipeline.QUIET, tags=tags)
    sys.exit(None if result.success else pipeline.reason(result))
"""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "LIKENESS_ROOT": str(project.root),
        "LIKENESS_PROFILE": project.profile,
        "LIKENESS_DEVICE": "cpu",
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
