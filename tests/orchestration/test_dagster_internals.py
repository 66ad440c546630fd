"""What must hold of the parts of Dagster that its public API does not show: an upgrade that breaks one is seen here."""

import importlib.util
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import inspect

from orchestration.storage import dagster_internals as internals

MODULE = __name__


@dg.asset(code_version="1")
def first() -> int:
    return 1


@dg.asset(deps=[first], check_specs=[dg.AssetCheckSpec("good", asset="second")])
def second() -> Any:
    yield dg.AssetCheckResult(passed=True, check_name="good", asset_key="second")
    yield dg.Output(2)


defs = dg.Definitions([first, second])


@pytest.fixture
def instance(tmp_path: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.local_temp(str(tmp_path))


class Loading(internals.LoadingContext):
    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance, self._loaders = instance, {}

    @property
    def instance(self) -> dg.DagsterInstance:
        return self._instance

    @property
    def loaders(self) -> Any:
        return self._loaders


def test_the_resolver_tells_what_is_missing_and_what_is_fresh(instance: dg.DagsterInstance) -> None:
    graph = defs.resolve_asset_graph()
    assert isinstance(graph, internals.BaseAssetGraph)

    def status(key: str) -> internals.StaleStatus:
        resolver = internals.CachingStaleStatusResolver(instance, graph, Loading(instance))
        return resolver.get_status(dg.AssetKey(key), None)

    assert status("first") == internals.StaleStatus.MISSING
    dg.materialize([first], instance=instance)
    assert status("first") == internals.StaleStatus.FRESH


def test_the_job_of_all_assets_is_made_again_from_its_module(instance: dg.DagsterInstance) -> None:
    job = internals.all_assets_job(MODULE)
    assert set(job.get_definition().asset_layer.executable_asset_keys) == {dg.AssetKey("first"), dg.AssetKey("second")}


def test_a_check_can_be_recorded_about_a_materialisation(instance: dg.DagsterInstance) -> None:
    dg.materialize([first, second], instance=instance)
    (made,) = instance.fetch_materializations(dg.AssetKey("second"), limit=1).records
    about = internals.AssetCheckEvaluationTargetMaterializationData(
        storage_id=made.storage_id, run_id=made.run_id, timestamp=made.timestamp
    )
    key = dg.AssetCheckKey(dg.AssetKey("second"), "good")
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key, check_name=key.name, passed=False, metadata={}, target_materialization_data=about
        )
    )
    newest, *_ = instance.event_log_storage.get_asset_check_execution_history(key, 5)
    assert isinstance(newest.evaluation, dg.AssetCheckEvaluation) and not newest.evaluation.passed
    assert newest.evaluation.target_materialization_data == about


def test_events_can_be_found_by_tag(instance: dg.DagsterInstance) -> None:
    dg.materialize([first], instance=instance)
    storage = instance.event_log_storage
    assert isinstance(storage, internals.SqlEventLogStorage)
    with storage.index_connection() as connection:
        tables = inspect(connection)
        for table, columns in (
            (internals.AssetEventTagsTable, {"event_id", "asset_key", "key", "value"}),
            (internals.SqlEventLogStorageTable, {"id", "event", "partition", "timestamp", "dagster_event_type"}),
        ):
            assert columns <= {column["name"] for column in tables.get_columns(table.name)}


def test_steps_of_a_cluster_are_watched_by_a_handler_that_can_be_wrapped() -> None:
    made = internals.StepDelegatingExecutor.__init__.__code__.co_varnames
    assert "step_handler" in made
    assert {"launch_step", "check_step_health", "terminate_step"} <= internals.StepHandler.__abstractmethods__
    assert internals.CheckStepHealthResult.healthy().is_healthy
    assert internals.CheckStepHealthResult.unhealthy("it is gone").unhealthy_reason == "it is gone"


def test_the_daemon_keeps_how_far_it_has_read_of_failures(instance: dg.DagsterInstance) -> None:
    """The same key as the daemon that retries runs: the cursor that it wrote is found."""
    from dagster._daemon.auto_run_reexecution.event_log_consumer import _persist_cursors

    _persist_cursors(instance, {dg.DagsterEventType.RUN_FAILURE: 7})
    assert instance.daemon_cursor_storage.get_cursor_values({internals.failures_cursor()}) == {
        internals.failures_cursor(): "7"
    }


def test_an_instance_without_a_daemon_has_none_alive(instance: dg.DagsterInstance) -> None:
    assert not internals.all_daemons_live(instance, heartbeat_tolerance_seconds=120)


def test_the_daemon_can_be_started_by_its_module() -> None:
    assert importlib.util.find_spec(f"{internals.DAEMON_MODULE}.__main__")


def test_run_monitoring_is_answered_by_a_status_and_words() -> None:
    answer = internals.CheckRunHealthResult(internals.WorkerStatus.FAILED, "its process is gone")
    assert (answer.status.value, answer.msg) == ("FAILED", "its process is gone")
    assert internals.WorkerStatus.RUNNING.value == "RUNNING"


def test_tags_are_those_that_runs_have_in_the_database() -> None:
    tags = (internals.AUTO_RETRY_RUN_ID_TAG, internals.BACKFILL_ID_TAG, internals.WILL_RETRY_TAG)
    assert tags == ("dagster/auto_retry_run_id", "dagster/backfill", "dagster/will_retry")
    assert internals.GRPC_INFO_TAG == ".dagster/grpc_info"


def test_a_backfill_that_was_cancelled_has_ended_and_one_that_is_cancelled_has_not() -> None:
    ended = {status.value for status in internals.BULK_ACTION_TERMINAL_STATUSES}
    assert "CANCELED" in ended and "CANCELING" not in ended and "REQUESTED" not in ended


def test_a_code_server_that_is_gone_knows_no_run_and_has_no_code(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.sock")
    assert internals.is_known_to_code_server("1234", {"host": "localhost", "socket": gone}, 2) is None
    assert not internals.code_is_loaded(gone, 2)
