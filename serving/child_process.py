"""How the service keeps a process of its own and speaks to it: a model worker, the rendering process.

The process is `python -m MODULE ARGUMENTS…`, whose main calls `answer_requests`. It loads what it needs and says so in
its first message; then it answers each request, one after the other, until its input ends. It ends with the service,
also while it loads or works.

A message on its standard input or output is the length of what follows (4 bytes, big-endian), the JSON document
`[value, sizes]`, and one run of bytes for each of the sizes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from engine.processes import die_with_parent

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""There are as many model workers as processors."""
PATIENCE = 5.0
"""Seconds that a process may take to end once it has closed its output."""


class NotLoaded(Exception):
    """The process cannot load what it needs; the message is the reason that it gives."""


class ChildDied(Exception):
    """The process ended before it answered; the message says how: "by SIGKILL", "with status 1"."""


class Message(NamedTuple):
    """What is sent, either way: a JSON value, and bytes beside it."""

    value: Any
    blobs: Sequence[bytes] = ()

    def encode(self) -> bytes:
        """The message as it is sent."""
        head = json.dumps([self.value, [len(blob) for blob in self.blobs]]).encode()
        return b"".join((len(head).to_bytes(4, "big"), head, *self.blobs))


class ChildProcess:
    """One process, `python -m module arguments`, as the service sees it; it is asked one thing at a time."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.command = (sys.executable, "-m", module, *arguments)
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self, seconds: float) -> Message:
        """Start the process, anew where one runs; its first message, which may take so many seconds.

        Raises NotLoaded, ChildDied or TimeoutError: it does not run then.
        """
        await self.stop()
        path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": path}
        self._process = await asyncio.create_subprocess_exec(*self.command, stdin=PIPE, stdout=PIPE, env=environment)
        (is_loaded, value), blobs = await self._exchange(b"", seconds)
        if not is_loaded:
            await self.stop()
            raise NotLoaded(value)
        return Message(value, blobs)

    async def ask(self, request: Message, seconds: float | None = None) -> Message:
        """What it answers. Raises ChildDied or TimeoutError: it has to be started again then."""
        return await self._exchange(request.encode(), seconds)

    async def ended(self) -> None:
        """Wait until it ends by itself; at once where it does not run."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self, patience: float = 0.0) -> str:
        """End the process, after some seconds by force; what it was at is lost. Returns how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "it did not run"
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience)
        with suppress(ProcessLookupError):
            process.kill()
        status = await process.wait()
        return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"

    async def _exchange(self, sent: bytes, seconds: float | None) -> Message:
        if self._process is None:
            raise ChildDied("it did not run")
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None and answers is not None
        try:
            async with asyncio.timeout(seconds):
                requests.write(sent)
                await requests.drain()
                length = int.from_bytes(await answers.readexactly(4), "big")
                value, sizes = json.loads(await answers.readexactly(length))
                return Message(value, [await answers.readexactly(size) for size in sizes])
        except (TimeoutError, asyncio.CancelledError):  # a late answer would be taken for the answer to the next
            await self.stop()
            raise
        except Exception as error:  # which one an ended process brings depends on the moment and on the event loop
            raise ChildDied(await self.stop(PATIENCE)) from error


Answer = Callable[[Message], Message]


def answer_requests(load: AbstractContextManager[tuple[Message, Answer]]) -> int:
    """The process' own side, from its first moment to its last; returns the status to exit with.

    `load` gives the first message and the function that answers a request, or raises NotLoaded.
    """
    die_with_parent(signal.SIGKILL)  # while it loads or works it does not look at its input
    # Ctrl-C reaches every process of a terminal, systemd's SIGTERM every process of a service; requests under way are
    # to be answered first, so when to end is the service's to say.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What a library or a studio's renderer reads and prints must not come between the messages.
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    logging.basicConfig(stream=sys.stderr)
    try:
        with load as (first, answer):
            _send(answers, Message([True, first.value], first.blobs))
            while length := requests.read(4):
                value, sizes = json.loads(requests.read(int.from_bytes(length, "big")))
                _send(answers, answer(Message(value, [requests.read(size) for size in sizes])))
    except NotLoaded as error:
        _send(answers, Message([False, str(error)]))
        return 1
    except BrokenPipeError:  # the service is gone, and with it whoever could read what is still to be written
        os._exit(1)
    return 0


def _send(file: BinaryIO, message: Message) -> None:
    file.write(message.encode())
    file.flush()
