"""Which failures are tried again: a remote that is down, a killed process, a GPU that is full for a moment.

Dagster's retry policy answers every exception alike. Bad data and bugs stay what they are, so they end a step at once;
what can recover is left to the policy, which also answers a step whose whole process was killed. Single calls are
tried again by orchestration/config/retries.py.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg

from orchestration.config.causes import causes, needs_somebody
from orchestration.storage.dagster_internals import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    BULK_ACTION_TERMINAL_STATUSES,
    WILL_RETRY_TAG,
    SerializableErrorInfo,
    failures_cursor,
)

RETRY_POLICY = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""About 10, 20 and 40 seconds; what takes longer to recover waits for the next change or the weekly time."""

# By name: the libraries that raise them are heavy, or may not be installed.
NAMES = {
    "ConnectionError", "TimeoutError", "ConnectTimeoutError", "ReadTimeoutError", "EndpointConnectionError",
    "ConnectionClosedError", "ClientConnectorError", "ServerDisconnectedError", "IncompleteRead", "gaierror",
    "BrokenProcessPool", "DeviceProcessKilled", "RemoteDown", "TrackingUnreachable", "OutOfMemoryError",
}  # fmt: skip
ERRNOS = {
    errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ENOLCK, errno.ESTALE, errno.ECONNREFUSED, errno.ECONNRESET,
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ETIMEDOUT,
}  # fmt: skip
INTERRUPTS = (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)
"""What Ctrl-C and SIGTERM raise."""
LOST_WITHIN = timedelta(days=7)
"""How old a run may be whose retry is still missed: what is older, the weekly time has answered."""
REFUSED = "Failed to retry run"
UNREACHABLE = ("DagsterUserCodeUnreachableError", "DagsterCodeLocationLoadError")
BUSY_DATABASE = ("database is locked", "connection refused", "server closed the connection", "could not connect")


def is_transient(error: BaseException) -> bool:
    """Whether the error, or one that it came from, may be gone in a minute. What came from a full disk is not."""
    return any(map(_is_transient_itself, causes(error))) and not needs_somebody(error)


def _is_transient_itself(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & NAMES or (isinstance(error, OSError) and error.errno in ERRNOS):
        return True
    return "OperationalError" in names and any(words in str(error).lower() for words in BUSY_DATABASE)


@contextmanager
def only_transient_is_retried(say: Callable[[str], object], attended: bool = False) -> Iterator[None]:
    """The body of a step under RETRY_POLICY: raises dagster.Failure that allows no retry for what cannot recover.

    `attended`: somebody waits for it, whose Ctrl-C ends it; a pod or a machine that is taken away leaves a step that is
    tried again.
    """
    try:
        yield
    except dg.RetryRequested:
        raise
    except dg.Failure as failure:
        failure.allow_retries = False
        raise
    except Exception as error:
        if is_transient(error):
            say(f"{one_line(error)}: this may pass, so it is tried again")
            raise
        raise dg.Failure(one_line(error), allow_retries=False) from error
    except INTERRUPTS as interrupt:
        if attended:  # Dagster's policy would answer it like any other failure
            raise dg.Failure(one_line(interrupt), allow_retries=False) from interrupt
        raise


def requeue_lost_retries(instance: dg.DagsterInstance) -> list[str]:
    """Have Dagster's daemon read once more of the failed runs whose retry it lost; their ids.

    The daemon reads of every failure once, and retries at that moment or never. It loses a retry when no code server
    answers just then, as after one was killed; and when it reads between the record of a failure and that of the run's
    status, and so sees a run that has not failed.
    """
    lost = {run.run_id for run in _without_retry(instance) if is_lost(instance, run)}
    if not lost:
        return []
    key = failures_cursor()
    read_up_to = int(instance.daemon_cursor_storage.get_cursor_values({key}).get(key) or 0)
    failures = instance.event_log_storage.get_logs_for_all_runs_by_log_id(-1, dg.DagsterEventType.RUN_FAILURE)
    passed = {
        number: entry.run_id for number, entry in failures.items() if number <= read_up_to and entry.run_id in lost
    }
    for run_id in passed.values():
        instance.add_run_tags(run_id, {WILL_RETRY_TAG: "true"})
    if passed:
        # A run that has its retry is not tried again, so that the daemon may read what lies between a second time.
        instance.daemon_cursor_storage.set_cursor_values({key: str(min(passed) - 1)})
    return sorted(set(passed.values()))


def _without_retry(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    since = datetime.now(UTC) - LOST_WITHIN
    failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since))
    # Without an origin a run was no code server's, but `likeness run`'s.
    return [run for run in failed if run.remote_job_origin and AUTO_RETRY_RUN_ID_TAG not in run.tags]


def is_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the run was to be tried again, and nothing but the daemon's bad moment spoke against it."""
    noted = run.tags.get(WILL_RETRY_TAG)
    if noted == "true":
        return not _backfill_is_over(instance, run)
    events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    refusals = [
        entry.dagster_event for entry in events if entry.dagster_event and entry.dagster_event.message == REFUSED
    ]
    return noted == "false" and any(_was_unreachable(event.engine_event_data.error) for event in refusals)


def _was_unreachable(error: SerializableErrorInfo | None) -> bool:
    while error is not None:
        if error.cls_name in UNREACHABLE:
            return True
        error = error.cause
    return False


def _backfill_is_over(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Dagster retries nothing for a backfill that has ended."""
    if BACKFILL_ID_TAG not in run.tags:
        return False
    backfill = instance.get_backfill(run.tags[BACKFILL_ID_TAG])
    return backfill is None or backfill.status in BULK_ACTION_TERMINAL_STATUSES


def one_line(error: BaseException) -> str:
    """ "ValueError: loss is not finite": the innermost error that was raised on purpose."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())


def why_it_failed(event: dg.DagsterEvent) -> str:
    """The innermost error of a failed step, on one line."""
    if failure := event.step_failure_data.user_failure_data:
        return failure.description or "it said no more"
    return innermost(event.step_failure_data.error) or event.message or "it said no more"


def innermost(error: SerializableErrorInfo | None) -> str:
    """The error that began a chain of them, on one line; "" where there is none."""
    if error is None:
        return ""
    while error.cause:
        error = error.cause
    message = error.message.removeprefix(f"{error.cls_name}:").strip()
    return " ".join((f"{error.cls_name}: {message}" if error.cls_name else message).split())
