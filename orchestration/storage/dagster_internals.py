"""What likeness uses of Dagster beside its public API, with the reason for each: an upgrade of Dagster is judged here.

tests/orchestration/test_dagster_internals.py says what each of them must answer.
"""

# ruff: noqa: F401
from __future__ import annotations

from typing import Any

import dagster as dg

# A check's result says which materialisation it is about; the public AssetCheckResult cannot be reported without a run.
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

# The type of an asset graph, which public calls return.
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

# What is stale is shown on Dagster's pages, but no public call answers it.
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus

# The job of all assets is made by Dagster; `dg.reconstructable` takes only jobs that a function of ours returns.
from dagster._core.definitions.reconstruct import ReconstructableRepository

# A backfill that has ended retries nothing; the public API has no list of the states in which it has.
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES

# dagster-ray's executor waits for ever for a job server; its handler of steps is wrapped by one that does not.
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)

# What a run launcher answers to Dagster's run monitoring.
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus

# The resolver of what is stale keeps what it read in one of these.
from dagster._core.loader import LoadingContext

# The queue of runs, which a class of ours adds a tag to: no other place knows the request that a run came by.
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

# Events can be asked for by id, but ids not by tag; and a deleted run leaves what its checks found.
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)

# Dagster deletes one run at a time, in transactions of their own: ten thousand take an hour.
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

# Tags in which the daemon and the launcher note what a run was launched with, and what became of it.
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    GRPC_INFO_TAG,
    ROOT_RUN_ID_TAG,
    TICK_ID_TAG,
    WILL_RETRY_TAG,
)

# How far the daemon has read of the failed runs, and whether it was heard of lately.
from dagster._daemon.auto_run_reexecution.event_log_consumer import _create_cursor_key
from dagster._daemon.controller import all_daemons_live

# The type of an event's error, which public calls return.
from dagster._utils.error import SerializableErrorInfo

DAEMON_MODULE = "dagster._daemon"
"""`python -m` of it is `dagster-daemon` by this very interpreter, whose scripts may be on no path."""


def all_assets_job(module: str) -> Any:
    """The job of all assets of the `defs` in a module, in the form that every step's process makes again."""
    return ReconstructableRepository.for_module(module, "defs").get_reconstructable_job("__ASSET_JOB")


def failures_cursor() -> str:
    """The key under which the daemon keeps how far it has read of the failures of runs."""
    return _create_cursor_key(dg.DagsterEventType.RUN_FAILURE)


def is_known_to_code_server(run_id: str, where: dict[str, Any], timeout: int) -> bool | None:
    """Whether the code server at `where` (host, port, socket, use_ssl) works on this run; None when it does not answer.

    timeout: seconds.
    """
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._grpc.client import DagsterGrpcClient
    from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

    try:
        answer = DagsterGrpcClient(**where).can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout)
    except DagsterUserCodeUnreachableError:
        return None
    return dg.deserialize_value(answer, CanCancelExecutionResult).can_cancel


def code_is_loaded(socket: str, timeout: int) -> bool:
    """False when the process that has loaded the code is gone: the code server, which only passes on what it is asked,
    lives on without it and never starts another. Code that cannot be loaded is an answer too, which Dagster shows.

    timeout: seconds.
    """
    import grpc
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._grpc.client import DagsterGrpcClient, dagster_api_pb2

    try:
        DagsterGrpcClient(socket=socket)._query("ListRepositories", dagster_api_pb2.ListRepositoriesRequest, timeout)
    except DagsterUserCodeUnreachableError as error:
        # Too busy to answer is not gone.
        return getattr(error.__cause__, "code", lambda: None)() == grpc.StatusCode.DEADLINE_EXCEEDED
    return True
