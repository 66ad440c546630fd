"""One worker process, seen from the service."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.context import SpawnProcess

from serving.releases import ReleaseBroken
from serving.workers import process
from serving.workers.process import Answer, Duty, Failed, Order, Ready

STARTS_WITHIN = 180.0
"""Seconds."""


class WorkerDied(Exception):
    """The process ended while it read photos."""


class Worker:
    """A process of its own that holds the model; one list of photos at a time."""

    def __init__(self, duty: Duty) -> None:
        self.duty = duty
        self.schema_md5 = ""
        # One thread that waits for this one process; the event loop goes on.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")
        self._process: SpawnProcess | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Until the model is loaded. Raises ReleaseBroken."""
        await self._in_thread(self._start)

    async def read(self, orders: Sequence[Order]) -> list[Answer]:
        """Raises WorkerDied; the worker has to be started again then."""
        return await self._in_thread(self._exchange, orders)

    async def stop(self) -> None:
        """End the process; what it was reading is lost."""
        if self._process is not None:
            # From here, because the thread may be waiting for it to load.
            self._process.kill()
        await self._in_thread(self._end)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _start(self) -> None:
        self._end()
        # Not forked: a fork of a process with threads may hang.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._connection = ours
        self._process = context.Process(
            target=process.main, args=(theirs, self.duty), daemon=True, name="likeness-worker"
        )
        self._process.start()
        theirs.close()
        self._hear_first_word()

    def _hear_first_word(self) -> None:
        reason = f"nothing was heard of it for {STARTS_WITHIN:g} seconds"
        try:
            if self._connection.poll(STARTS_WITHIN):
                word = self._connection.recv()
                if isinstance(word, Ready):
                    self.schema_md5 = word.schema_md5
                    return
                reason = word.reason if isinstance(word, Failed) else f"it said {word!r}"
        except (EOFError, OSError):
            reason = "its process ended while it loaded the model"
        self._end()
        raise ReleaseBroken(reason)

    def _exchange(self, orders: Sequence[Order]) -> list[Answer]:
        try:
            self._connection.send(list(orders))
            return self._connection.recv()
        except (EOFError, OSError) as error:
            self._end()
            raise WorkerDied from error

    def _end(self) -> None:
        if self._process is None:
            return
        with suppress(OSError):
            self._connection.close()
        self._process.kill()
        self._process.join()
        self._process = None
