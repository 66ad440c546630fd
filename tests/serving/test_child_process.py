"""A process that the service keeps: what it is asked it answers, and whatever becomes of it is told."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import uvloop

from serving.child_process import ChildDied, ChildProcess, Message, NotLoaded
from tests.serving import echo_process

SECONDS = 60.0
AT_ONCE = 0.5


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """What a coroutine is run by; uvicorn takes uvloop."""
    return request.param


def child(how: str = "well") -> ChildProcess:
    return ChildProcess(echo_process.__name__, how)


def test_it_answers_with_values_and_bytes_whatever_else_is_printed_and_read(run: Callable[..., Any]) -> None:
    async def test() -> None:
        process = child()
        assert await process.start(SECONDS) == Message({"loaded": "well"}, [b"\0first"])
        for request in (Message([1.5, None, "\ud800"], [b"", bytes(300_000)]), Message({"ä": {}}, [])):
            assert await process.ask(request, SECONDS) == request
        await process.stop()

    run(test())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "error", "words"),
    [("refuse", NotLoaded, "there is no model"), ("exit", ChildDied, "with status 3"), ("hang", TimeoutError, None)],
)
def test_one_that_does_not_load_says_why_and_does_not_run(
    how: str, error: type[Exception], words: str | None, run: Callable[..., Any]
) -> None:
    async def test() -> None:
        process = child(how)
        with pytest.raises(error, match=words):
            await process.start(2.0 if how == "hang" else SECONDS)
        assert process.pid is None
        with pytest.raises(ChildDied, match="did not run"):
            await process.ask(Message(1))

    run(test())
    assert not [one for one in psutil.Process().children() if echo_process.__name__ in one.cmdline()]


@pytest.mark.slow
def test_one_that_died_or_was_too_late_is_gone_and_can_be_started_again(run: Callable[..., Any]) -> None:
    async def test() -> None:
        process = child()
        for request, error, words in (("die", ChildDied, "by SIGKILL"), ("hang", TimeoutError, None)):
            await process.start(SECONDS)
            with pytest.raises(error, match=words):
                await process.ask(Message(request), AT_ONCE if request == "hang" else SECONDS)
            assert process.pid is None
        await process.start(SECONDS)
        assert await process.ask(Message("well")) == Message("well", [])
        await process.stop()

    run(test())


@pytest.mark.slow
def test_one_that_was_killed_while_it_waited_is_found_dead_when_it_is_asked(run: Callable[..., Any]) -> None:
    async def test() -> None:
        process = child()
        for moment in (0.0, AT_ONCE):
            await process.start(SECONDS)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.sleep(moment)
            with pytest.raises(ChildDied, match="by SIGKILL"):
                await process.ask(Message("well"), SECONDS)

    run(test())


@pytest.mark.slow
def test_whoever_stops_waiting_leaves_no_answer_for_the_next(run: Callable[..., Any]) -> None:
    async def test() -> None:
        process = child()
        await process.start(SECONDS)
        asking = asyncio.create_task(process.ask(Message("hang")))
        await asyncio.sleep(AT_ONCE)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert process.pid is None

    run(test())


def test_ctrl_c_and_sigterm_are_the_services_to_obey(run: Callable[..., Any]) -> None:
    async def test() -> None:
        process = child()
        await process.start(SECONDS)
        assert process.pid is not None
        for sign in (signal.SIGINT, signal.SIGTERM):
            os.kill(process.pid, sign)
        assert await process.ask(Message("well")) == Message("well", [])
        assert await process.stop() == "by SIGKILL"

    run(test())
