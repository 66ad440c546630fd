"""Pictures that earlier versions wrote into Dagster's record are taken out once, in SQLite and in PostgreSQL."""

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orchestration.config.settings import Settings
from orchestration.storage import inline_pictures
from orchestration.storage.instance import InstanceError, open_instance
from tests.orchestration.conftest import make_project
from tests.orchestration.postgres_server import PASSWORD, postgres_server

DATA = "data:image/webp;base64,UklGRg=="
INLINE = {"pictures": dg.MetadataValue.md(f"### photos\n\n![photos]({DATA})\n\n![faces by step]({DATA})")}
LINKED = f"### photos\n\nphotos: see the MLflow run\n\n![faces by step]({DATA})"
"""Charts of figures stay."""
CHECK = dg.AssetCheckKey(dg.AssetKey("faces"), "rows")


def write_as_earlier_versions(instance: dg.DagsterInstance) -> None:
    """Pictures in every kind of record: of a source, of a run, of a check."""

    @dg.asset(check_specs=[dg.AssetCheckSpec("rows", asset="faces")])
    def faces() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata=INLINE, check_results=[dg.AssetCheckResult(passed=True, metadata=INLINE)])

    dg.materialize([faces], instance=instance)
    instance.report_runless_asset_event(dg.AssetObservation("photos", metadata=INLINE))
    instance.daemon_cursor_storage.set_cursor_values(dict.fromkeys(inline_pictures.DONE, ""))


def recorded(instance: dg.DagsterInstance) -> list[str]:
    """What stands in these records, as Dagster reads it, and in the summary of the asset."""
    (made,) = instance.fetch_materializations(dg.AssetKey("faces"), limit=9).records
    (seen,) = instance.fetch_observations(dg.AssetKey("photos"), limit=9).records
    (checked,) = instance.event_log_storage.get_asset_check_execution_history(CHECK, 9)
    newest = instance.get_latest_materialization_event(dg.AssetKey("faces"))
    events = (made.asset_materialization, seen.asset_observation, checked.evaluation, newest)
    texts = [event.metadata for event in (*events[:3], newest and newest.asset_materialization) if event]
    return [str(metadata["pictures"].value) for metadata in texts]


@pytest.fixture
def in_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    with postgres_server() as server:
        monkeypatch.setenv("LIKENESS_DATABASE", server.create("pictures"))
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        yield make_project(tmp_path)


def test_they_are_in_no_file_of_dagsters_any_more_and_charts_are(settings: Settings) -> None:
    with open_instance(settings) as instance:
        write_as_earlier_versions(instance)
        assert "![photos]" in recorded(instance)[0]
    with open_instance(settings) as instance:
        assert recorded(instance) == [LINKED] * 4
    files = [path for path in settings.dagster_home.rglob("*") if path.is_file()]
    names = {name for path in files for name in re.findall(rb"!\[([^\]]*)\]\(data:image/", path.read_bytes())}
    assert names == {b"faces by step"}


def test_a_database_that_is_locked_is_told_and_the_next_command_finishes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    monkeypatch.setattr(inline_pictures, "SECONDS", 0.1)
    with open_instance(settings) as instance:
        write_as_earlier_versions(instance)
    index = settings.dagster_home / "history" / "runs" / "index.db"
    with sqlite3.connect(index) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InstanceError, match=r"database is locked\): stop what is at work"):
            open_instance(settings)
    with open_instance(settings) as instance:
        assert recorded(instance) == [LINKED] * 4


@pytest.mark.integration
def test_the_same_in_postgresql(in_postgresql: Settings) -> None:
    with open_instance(in_postgresql) as instance:
        write_as_earlier_versions(instance)
    with open_instance(in_postgresql) as instance:
        assert recorded(instance) == [LINKED] * 4
