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
    """Two lines, each first come, first served: photos to be read, and those whose answers are to be refined too, or of
    which several make one answer.

    To refine takes longer than to read a batch, so those photos go alone, and while both lines wait they take turns: at
    most one search comes before each batch of the others, and no search waits for ever. For one event loop.

    `capacity`: jobs that may wait.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._plain: deque[Job] = deque()
        self._refined: deque[Job] = deque()
        self._refined_next = False
        self.rate = 10.0
        """Recent throughput, in jobs a second."""
        self._not_empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._plain) + len(self._refined)

    @property
    def seconds(self) -> float:
        """How long a job that comes now would wait."""
        return len(self) / self.rate

    def put(self, job: Job) -> None:
        """At the end. Raises QueueFull."""
        self._drop_abandoned()
        if len(self) >= self.capacity:
            raise QueueFull(len(self), self.seconds)
        self._line(job).append(job)
        self._not_empty.set()

    def requeue(self, job: Job) -> None:
        """At the front, whatever the capacity: it was taken before."""
        self._line(job).appendleft(job)
        self._not_empty.set()

    async def take(self, most: int) -> list[Job]:
        """The next jobs, at least one: what waits is read together, nothing waits for company."""
        while True:
            self._drop_abandoned()
            if len(self):
                return self._next(most)
            self._not_empty.clear()
            await self._not_empty.wait()

    def _next(self, most: int) -> list[Job]:
        refined = bool(self._refined) and (self._refined_next or not self._plain)
        self._refined_next = not refined
        line = self._refined if refined else self._plain
        taken = [line.popleft()]
        # A job that ended a worker's life once goes alone, too: it takes no others with it.
        if refined or taken[0].attempts:
            return taken
        while line and len(taken) < most and not line[0].attempts:
            taken.append(line.popleft())
        return taken

    def _line(self, job: Job) -> deque[Job]:
        return self._plain if job.request.refine is None and not job.request.more else self._refined

    def _drop_abandoned(self) -> None:
        """Drop the jobs at the front whose asker has gone, or was told that it took too long."""
        for line in (self._plain, self._refined):
            while line and line[0].answer.done():
                line.popleft()

    def record(self, jobs: int, seconds: float) -> None:
        """Note that a worker took `seconds` over so many jobs, for estimates of waiting times."""
        self.rate += 0.1 * (jobs / max(seconds, 1e-3) - self.rate)
