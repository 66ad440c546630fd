"""The queue before the model: photos that wait, at most so many, each until its deadline."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from serving.workers.process import PredictRequest


class QueueFull(Exception):
    """The queue is full; `seconds` is how long another photo would wait."""

    def __init__(self, waiting: int, seconds: float) -> None:
        super().__init__(f"{waiting} photos wait, as many as may")
        self.waiting, self.seconds = waiting, seconds


@dataclass(eq=False)
class Job:
    """One photo that waits for a worker."""

    request: PredictRequest
    answer: asyncio.Future[Any]
    attempts: int = 0
    """Workers that died over it."""


class BatchQueue:
    """First come, first served. For one event loop.

    `capacity`: jobs that may wait.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.jobs: deque[Job] = deque()
        self.rate = 10.0
        """Recent throughput, in jobs a second."""
        self._not_empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self.jobs)

    @property
    def seconds(self) -> float:
        """How long a job that comes now would wait."""
        return len(self.jobs) / self.rate

    def put(self, job: Job) -> None:
        """At the end. Raises QueueFull."""
        self._drop_abandoned()
        if len(self.jobs) >= self.capacity:
            raise QueueFull(len(self.jobs), self.seconds)
        self.jobs.append(job)
        self._not_empty.set()

    def requeue(self, job: Job) -> None:
        """At the front, whatever the capacity: it was taken before."""
        self.jobs.appendleft(job)
        self._not_empty.set()

    async def take(self, most: int) -> list[Job]:
        """The next jobs, at least one: what waits is read together, nothing waits for company."""
        while True:
            self._drop_abandoned()
            if self.jobs:
                return self._next(most)
            self._not_empty.clear()
            await self._not_empty.wait()

    def _next(self, most: int) -> list[Job]:
        # A job that ended a worker's life once goes alone: it takes no others with it.
        if self.jobs[0].attempts:
            return [self.jobs.popleft()]
        taken = []
        while self.jobs and len(taken) < most and not self.jobs[0].attempts:
            taken.append(self.jobs.popleft())
        return taken

    def _drop_abandoned(self) -> None:
        """Drop the jobs at the front whose asker has gone, or was told that it took too long."""
        while self.jobs and self.jobs[0].answer.done():
            self.jobs.popleft()

    def record(self, jobs: int, seconds: float) -> None:
        """Note that a worker took `seconds` over so many jobs, for estimates of waiting times."""
        self.rate += 0.1 * (jobs / max(seconds, 1e-3) - self.rate)
