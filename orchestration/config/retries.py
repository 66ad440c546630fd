"""Calls that are tried again: of a server or a remote that may answer in a moment.

Which failed steps and runs Dagster tries again says orchestration/pipeline/retry_policy.py.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, sleep_using_event, stop_when_event_set, wait_exponential_jitter
from tenacity.stop import stop_base

Result = TypeVar("Result")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds; each pause is about twice the one before it."""


def with_retries(
    call: Callable[[], Result], may_pass: Callable[[BaseException], bool], stop: stop_base, closed: Event | None = None
) -> Result:
    """What the call returns, tried again as long as `may_pass` says so of its error. Raises the last error.

    stop: tenacity's `stop_after_attempt` or `stop_after_delay`. closed: ends the pauses and the tries once it is set.
    """
    closed = closed or Event()
    return Retrying(
        retry=retry_if_exception(may_pass),
        stop=stop | stop_when_event_set(closed),
        wait=wait_exponential_jitter(FIRST_PAUSE, LONGEST_PAUSE),
        sleep=sleep_using_event(closed),
        reraise=True,
    )(call)
