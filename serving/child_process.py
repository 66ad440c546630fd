"""How the service keeps a process of its own and speaks to it: a model worker, the rendering process.

The process is `python -m MODULE ARGUMENTS…`, and that module's main calls `answer_requests`. It loads what it needs and
says so in its first message; then it answers every request, one after the other, until its input ends. It ends with
the service, also while it loads or works.

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
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from engine.processes import die_with_parent

ROOT = Path(__file__).resolve().parents[1]
LENGTH = 4
PATIENCE = 5.0
"""Seconds that a process may take to end once it has closed its output."""


class Message(NamedTuple):
    """What is sent, either way: a JSON value, and bytes beside it."""

    value: Any
    blobs: Sequence[bytes] = ()

    def encode(self) -> bytes:
        """The message as it is sent."""
        head = json.dumps([self.value, [len(blob) for blob in self.blobs]]).encode()
        return b"".join((len(head).to_bytes(LENGTH, "big"), head, *self.blobs))


class NotLoaded(Exception):
    """The process cannot load what it needs; the message is the reason that it gives."""


class ChildDied(Exception):
    """The process ended before it answered; the message says how: "by SIGKILL", "with status 1"."""


class ChildProcess:
    """One process, as the service sees it; one request at a time. It does not run before it is started.

    Args:
        module: what `python -m` runs, with `arguments`.
        starts_within: seconds until its first message.
        environment: variables beside the service's own.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], starts_within: float, environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = (sys.executable, "-m", module, *arguments)
        self.starts_within, self.environment = starts_within, dict(environment or {})
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> Message:
        """Start the process, anew where one runs; its first message.

        Raises NotLoaded, ChildDied or TimeoutError: it does not run then.
        """
        await self.stop()
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **self.environment, "PYTHONPATH": path}
        self._process = await asyncio.create_subprocess_exec(*self.command, stdin=PIPE, stdout=PIPE, env=environment)
        (is_loaded, value), blobs = await self._exchange(b"", self.starts_within)
        if not is_loaded:
            await self.stop()
            raise NotLoaded(value)
        return Message(value, blobs)

    async def ask(self, request: Message, seconds: float | None = None) -> Message:
        """What it answers. Raises ChildDied or TimeoutError: it has to be started again then."""
        return await self._exchange(request.encode(), seconds)

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
                head = await answers.readexactly(int.from_bytes(await answers.readexactly(LENGTH), "big"))
                value, sizes = json.loads(head)
                return Message(value, [await answers.readexactly(size) for size in sizes])
        except (EOFError, ConnectionError) as error:
            raise ChildDied(await self.stop(PATIENCE)) from error
        except BaseException:  # the answer to this would be taken for the answer to the next
            await self.stop()
            raise


Answer = Callable[[Message], Message]


def answer_requests(load: AbstractContextManager[tuple[Message, Answer]]) -> int:
    """The process' own side, from its first moment to its last.

    `load` gives the first message and the function that answers a request; it raises NotLoaded. Returns the status to
    exit with.
    """
    die_with_parent(signal.SIGKILL)  # while it loads or works it does not look at its input
    # Ctrl-C reaches every process of a terminal, systemd's SIGTERM every process of a service; requests under way are
    # to be answered first, so when to end is the service's to say.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)
    requests, answers = _take_over()
    logging.basicConfig(stream=sys.stderr)
    try:
        with load as (first, answer):
            _send(answers, Message([True, first.value], first.blobs))
            while request := _receive(requests):
                _send(answers, answer(request))
    except NotLoaded as error:
        _send(answers, Message([False, str(error)]))
        return 1
    except BrokenPipeError:  # the service is gone, and with it whoever could read what is still to be written
        os._exit(1)
    return 0


def _take_over() -> tuple[BinaryIO, BinaryIO]:
    """Input and output, for messages alone: what a library or a studio's renderer reads and prints is not in them."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return requests, answers


def _send(file: BinaryIO, message: Message) -> None:
    file.write(message.encode())
    file.flush()


def _receive(file: BinaryIO) -> Message | None:
    """The next message; None at the input's end."""
    if not (length := file.read(LENGTH)):
        return None
    value, sizes = json.loads(file.read(int.from_bytes(length, "big")))
    return Message(value, [file.read(size) for size in sizes])
