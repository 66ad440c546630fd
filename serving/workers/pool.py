"""All workers of one release."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from serving.metrics import Metrics
from serving.releases import Release, ReleaseBroken
from serving.workers.process import Answer, Duty, Order
from serving.workers.queue import Job, Line
from serving.workers.worker import Worker, WorkerDied

MOST_ATTEMPTS = 2
LONGEST_PAUSE = 30.0
log = logging.getLogger("likeness.serving")


class Pool:
    """Workers that read photos with one release. Started, given the line, drained."""

    def __init__(self, release: Release, duty: Duty, workers: int, batch: int, metrics: Metrics) -> None:
        self.release, self.batch, self.metrics = release, batch, metrics
        self.workers = [Worker(duty) for _ in range(workers)]
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = asyncio.Event()

    @property
    def schema_md5(self) -> str:
        return self.workers[0].schema_md5

    async def start(self) -> None:
        """Until every worker has loaded the release. Raises ReleaseBroken; nothing runs then."""
        outcomes = await asyncio.gather(*(worker.start() for worker in self.workers), return_exceptions=True)
        if failed := [outcome for outcome in outcomes if isinstance(outcome, BaseException)]:
            await self.stop()
            raise failed[0]

    def work(self, line: Line) -> None:
        """Take photos from the line from now on."""
        self._tasks = [asyncio.create_task(self._work(worker, line)) for worker in self.workers]

    async def drain(self) -> None:
        """Take no more photos, finish those that were taken, end the processes."""
        self._draining.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.stop()

    async def stop(self) -> None:
        """End the processes at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(worker.stop() for worker in self.workers))

    async def _work(self, worker: Worker, line: Line) -> None:
        while not self._draining.is_set():
            jobs = await self._next(line)
            if not jobs:
                return
            try:
                await self._read(worker, jobs, line)
            except WorkerDied:
                self.metrics.deaths.inc()
                log.warning("a worker of %s died over %d photos", self.release, len(jobs))
                self._again(jobs, line)
                await self._restart(worker)

    async def _next(self, line: Line) -> list[Job]:
        """The next photos, or none once the pool is drained. None is lost in between: whoever is cancelled while it
        waits has taken nothing."""
        taking = asyncio.create_task(line.take(self.batch))
        draining = asyncio.create_task(self._draining.wait())
        await asyncio.wait({taking, draining}, return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        if taking.done():
            return taking.result()
        taking.cancel()
        try:
            return await taking
        except asyncio.CancelledError:
            return []

    async def _read(self, worker: Worker, jobs: Sequence[Job], line: Line) -> None:
        begun = time.monotonic()
        answers = await worker.read([Order(job.photo, job.aligned) for job in jobs])
        line.left(len(jobs) * len(self.workers), time.monotonic() - begun)
        self.metrics.batches.observe(len(jobs))
        for job, answer in zip(jobs, answers, strict=True):
            self._deliver(job, answer)

    def _deliver(self, job: Job, answer: Answer) -> None:
        if not job.answer.done():
            job.answer.set_result((self.release, self.schema_md5, answer))

    def _again(self, jobs: Sequence[Job], line: Line) -> None:
        """Each photo of a worker that died once more, alone, so that only the one that kills is given up."""
        for job in reversed(jobs):
            job.attempts += 1
            if job.answer.done():
                continue
            if job.attempts >= MOST_ATTEMPTS:
                job.answer.set_exception(WorkerDied())
            else:
                line.put_back(job)

    async def _restart(self, worker: Worker) -> None:
        pause = 0.5
        while not self._draining.is_set():
            try:
                await worker.start()
                return
            except ReleaseBroken as error:
                log.error("a worker of %s does not start again: %s", self.release, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
