"""A project whose databases earlier versions of Dagster and MLflow wrote is upgraded, and goes on."""

import json
from pathlib import Path

import pytest

from orchestration.apps import backup, restore_backup
from orchestration.config.settings import Settings
from orchestration.storage import mlflow_client
from orchestration.storage.instance import open_instance
from serving.configuration import ServiceSettings
from tests.orchestration import earlier_databases
from tests.orchestration.earlier_databases import DAGSTER_REVISION, MLFLOW_REVISION, NEW_COLUMN, revision
from tests.orchestration.faces import PeopleProject

pytestmark = pytest.mark.slow


@pytest.fixture
def earlier(project: PeopleProject) -> PeopleProject:
    project.configure(encoder={"steps": 20})
    project.run()
    project.register("candidate")
    make_old(project.settings)
    return project


def make_old(settings: Settings) -> None:
    earlier_databases.take_back(settings)
    mlflow_client._make_tables.cache_clear()  # as in another process


def mlflow_file(settings: Settings) -> Path:
    return settings.home / "mlflow" / "mlflow.db"


def test_commands_say_what_to_do_where_only_columns_are_missing(project: PeopleProject) -> None:
    """And change nothing."""
    earlier_databases.stamp(mlflow_file(project.settings), MLFLOW_REVISION)
    mlflow_client._make_tables.cache_clear()
    for command in (["models"], ["promote", "1", "--force", "--why", "x"], ["rollback"]):
        project(*command, status=1)
        assert "likeness backup" in project.said and "`likeness upgrade`" in project.said, command
    assert revision(mlflow_file(project.settings)) == MLFLOW_REVISION


def test_it_is_upgraded_and_everything_goes_on(earlier: PeopleProject) -> None:
    settings = earlier.settings
    assert json.loads(earlier("upgrade", "--json")) == {"dagster": True, "mlflow": True}
    assert revision(mlflow_file(settings)) != MLFLOW_REVISION
    # Events that belong to no run have a file without a name, which Dagster itself forgets.
    files = [file for file in earlier_databases.dagster_files(settings) if file.name != ".db"]
    assert {revision(file) for file in files}.isdisjoint({DAGSTER_REVISION})
    table, column = NEW_COLUMN
    assert [file for file in files if column in earlier_databases.columns(file, table)]
    with open_instance(settings) as instance:
        assert PeopleProject(settings, instance).run() == []
    earlier("promote", "2", "--force", "--why", "sharper")
    assert json.loads(earlier("rollback", "--json"))["now"] == 1
    assert json.loads(earlier("lineage", "production", "--json"))["nodes"]
    earlier("upgrade")


def test_a_backup_of_before_is_restored_then_upgraded(earlier: PeopleProject, tmp_path: Path) -> None:
    backup.make(tmp_path / "backup", earlier.settings, ServiceSettings())
    done = restore_backup.restore(tmp_path / "backup", earlier.settings, ServiceSettings(), replace_it=True)
    assert done.problems == [] and revision(mlflow_file(earlier.settings)) == MLFLOW_REVISION
    earlier("upgrade")
    assert [each["version"] for each in json.loads(earlier("models", "--json"))] == [2, 1]
