"""The queue before the model: photos that wait, at most so many, each until its deadline."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any


class LineFull(Exception):
    """As many photos wait as may."""

    def __init__(self, waiting: int, seconds: float) -> None:
        super().__init__(f"{waiting} photos wait, as many as may")
        self.waiting, self.seconds = waiting, seconds


@dataclass(eq=False)
class Job:
    """One photo that waits for a worker."""

    photo: bytes
    aligned: bool
    """Whether the answer is to have the aligned face."""
    answer: asyncio.Future[Any]
    attempts: int = 0
    """Workers that died over it."""
    since: float = field(default_factory=time.monotonic)


class Line:
    """First come, first served. For one event loop.

    `room`: jobs that may wait.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.jobs: deque[Job] = deque()
        self.rate = 10.0
        """Jobs a second that left it lately."""
        self._there = asyncio.Event()

    def __len__(self) -> int:
        return len(self.jobs)

    @property
    def seconds(self) -> float:
        """How long a job that comes now would wait."""
        return len(self.jobs) / self.rate

    def put(self, job: Job) -> None:
        """At the end. Raises LineFull."""
        self._drop_abandoned()
        if len(self.jobs) >= self.room:
            raise LineFull(len(self.jobs), self.seconds)
        self.jobs.append(job)
        self._there.set()

    def put_back(self, job: Job) -> None:
        """At the front, whatever the room: it was taken before."""
        self.jobs.appendleft(job)
        self._there.set()

    async def take(self, most: int) -> list[Job]:
        """The next jobs, at least one: what waits is read together, nothing waits for company."""
        while True:
            self._drop_abandoned()
            if self.jobs:
                return self._next(most)
            self._there.clear()
            await self._there.wait()

    def _next(self, most: int) -> list[Job]:
        # A job that ended a worker's life once goes alone: it takes no others with it.
        if self.jobs[0].attempts:
            return [self.jobs.popleft()]
        taken = []
        while self.jobs and len(taken) < most and not self.jobs[0].attempts:
            taken.append(self.jobs.popleft())
        return taken

    def _drop_abandoned(self) -> None:
        """Whoever asked has gone, or was told that it took too long."""
        while self.jobs and self.jobs[0].answer.done():
            self.jobs.popleft()

    def left(self, jobs: int, seconds: float) -> None:
        """Note that a worker took `seconds` over so many jobs, for estimates of waiting times."""
        self.rate += 0.1 * (jobs / max(seconds, 1e-3) - self.rate)
