"""Which failures are tried again: a remote that is down, a killed process, a GPU that is full for a moment.

Dagster's retry policy answers every exception alike. Bad data and bugs stay what they are, so they end a step at once;
what can recover is left to the policy, which also answers a step whose whole process was killed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG

RETRY_POLICY = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""About 10, 20 and 40 seconds; what takes longer to recover waits for the next change or the weekly time."""

# By name: the libraries that raise them are heavy, or may not be installed.
NAMES = {
    "ConnectionError",
    "TimeoutError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "EndpointConnectionError",
    "ConnectionClosedError",
    "ClientConnectorError",
    "ServerDisconnectedError",
    "IncompleteRead",
    "gaierror",
    "BrokenProcessPool",
    "DeviceProcessKilled",
    "RemoteDown",
    "TrackingUnreachable",
    "OutOfMemoryError",
}
ERRNOS = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.EIO,
    errno.ENOLCK,
    errno.ESTALE,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.ETIMEDOUT,
}
BUSY_DATABASE = ("database is locked", "connection refused", "server closed the connection", "could not connect")


def can_recover(error: BaseException) -> bool:
    """Whether the error, or one that it came from, may be gone in a minute."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if _is_transient(current):
            return True
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return False


def _is_transient(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & NAMES or (isinstance(error, OSError) and error.errno in ERRNOS):
        return True
    return "OperationalError" in names and any(words in str(error).lower() for words in BUSY_DATABASE)


@contextmanager
def only_what_can_recover(say: Callable[[str], object]) -> Iterator[None]:
    """The body of a step under RETRY_POLICY: raises dagster.Failure that allows no retry for what cannot recover."""
    try:
        yield
    except dg.RetryRequested:
        raise
    except dg.Failure as failure:
        failure.allow_retries = False
        raise
    except Exception as error:
        if can_recover(error):
            say(f"{one_line(error)}: this may pass, so it is tried again")
            raise
        raise dg.Failure(one_line(error), allow_retries=False) from error


def retry_was_missed(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run whose worker died is noted to be tried again, and Dagster never will.

    Dagster records a failure first, then the run's status and its note. Its daemon reads every failure once: where it
    does so between the two, it sees a run that has not failed, and passes over it for ever.
    """
    from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG
    from dagster._daemon.auto_run_reexecution.event_log_consumer import _create_cursor_key

    failure = dg.DagsterEventType.RUN_FAILURE
    key = _create_cursor_key(failure)
    read_up_to = instance.daemon_cursor_storage.get_cursor_values({key}).get(key)
    if read_up_to is None:
        return False
    unread = instance.event_log_storage.get_logs_for_all_runs_by_log_id(int(read_up_to), failure)
    # After the position: Dagster notes a retry, then moves on.
    run = instance.get_run_by_id(run_id)
    noted = run is not None and run.tags.get(WILL_RETRY_TAG) == "true" and AUTO_RETRY_RUN_ID_TAG not in run.tags
    return noted and run_id not in {event.run_id for event in unread.values()}


def one_line(error: BaseException) -> str:
    """ "ValueError: loss is not finite": the innermost error that was raised on purpose."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())


def why_it_failed(event: dg.DagsterEvent) -> str:
    """The innermost error of a failed step, on one line."""
    error = event.step_failure_data.error
    if failure := event.step_failure_data.user_failure_data:
        return failure.description or "it said no more"
    if error is None:
        return event.message or "it said no more"
    while error.cause:
        error = error.cause
    message = error.message.removeprefix(f"{error.cls_name}:").strip()
    return " ".join((f"{error.cls_name}: {message}" if error.cls_name else message).split())
