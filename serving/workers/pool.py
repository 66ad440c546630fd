"""All workers of one release."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from serving.child_process import ChildDied, ChildProcess, Message, NotLoaded
from serving.metrics import ModelMetrics
from serving.releases import Release, ReleaseBroken
from serving.workers import process
from serving.workers.process import PredictResult, WorkerConfig
from serving.workers.queue import BatchQueue, Job

STARTS_WITHIN = 180.0
"""Seconds that a worker may take to load a release."""
MOST_ATTEMPTS = 2
LONGEST_PAUSE = 30.0
log = logging.getLogger("likeness.serving")


class Pool:
    """Workers that read photos with one release. Started, given the queue, drained.

    `answers_within`: seconds that a worker may take over a batch; then it hangs, and another takes its place.
    """

    def __init__(
        self,
        release: Release,
        config: WorkerConfig,
        workers: int,
        batch: int,
        metrics: ModelMetrics,
        answers_within: float,
    ) -> None:
        self.release, self.batch, self.metrics, self.answers_within = release, batch, metrics, answers_within
        self.workers = [ChildProcess(process.__name__, config.model_dump_json()) for _ in range(workers)]
        self.schema_md5 = ""
        self._restarting = set[ChildProcess]()
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = asyncio.Event()

    async def start(self) -> None:
        """Until every worker has loaded the release. Raises ReleaseBroken; nothing runs then."""
        outcomes = await asyncio.gather(*map(self._load, self.workers), return_exceptions=True)
        if failed := [outcome for outcome in outcomes if isinstance(outcome, BaseException)]:
            await self.stop()
            raise failed[0]

    @property
    def is_alive(self) -> bool:
        """Whether any worker can read a photo now."""
        return any(worker.pid is not None and worker not in self._restarting for worker in self.workers)

    def work(self, queue: BatchQueue) -> None:
        """Take photos from the queue from now on."""
        self._tasks = [asyncio.create_task(self._work(worker, queue)) for worker in self.workers]

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

    async def _load(self, worker: ChildProcess) -> None:
        try:
            self.schema_md5 = (await worker.start(STARTS_WITHIN)).value
        except NotLoaded as error:
            raise ReleaseBroken(str(error)) from error
        except (ChildDied, OSError) as error:
            how = str(error) or f"after {STARTS_WITHIN:g} s"
            raise ReleaseBroken(f"its process ended ({how}) while it loaded the model") from error

    async def _work(self, worker: ChildProcess, queue: BatchQueue) -> None:
        while not self._draining.is_set():
            jobs = list[Job]()
            try:
                jobs = await self._next(worker, queue)
                if jobs:
                    await self._predict(worker, jobs, queue)
                elif worker.pid is None:
                    raise ChildDied("while it waited")
            except Exception as error:  # whatever it was: a worker that is not started again is lost for ever
                self.metrics.deaths.inc()
                died = error if isinstance(error, ChildDied) else ChildDied(repr(error))
                log.warning("a worker of %s died (%s) over %d photos", self.release, died, len(jobs))
                _retry(jobs, queue, died)
                await self._restart(worker)

    async def _next(self, worker: ChildProcess, queue: BatchQueue) -> list[Job]:
        """The next photos, or none once the pool is drained or the worker has ended. None is lost in between: whoever
        is cancelled while it waits has taken nothing."""
        taking = asyncio.create_task(queue.take(self.batch))
        others = [asyncio.create_task(self._draining.wait()), asyncio.create_task(worker.ended())]
        try:
            await asyncio.wait({taking, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for other in others:
                other.cancel()
        if taking.done():
            return taking.result()
        taking.cancel()
        try:
            return await taking
        except asyncio.CancelledError:
            return []

    async def _predict(self, worker: ChildProcess, jobs: Sequence[Job], queue: BatchQueue) -> None:
        begun = time.monotonic()
        wanted = [{**vars(job.request)} for job in jobs]
        photos = list[bytes]()
        for request in wanted:
            sent = (request.pop("photo"), *request.pop("more"))
            request["photos"] = len(sent)
            photos += sent
        try:
            results, faces = await worker.ask(Message(wanted, photos), self.answers_within)
        except TimeoutError as error:
            raise ChildDied(f"after {self.answers_within:g} s without an answer") from error
        queue.record(len(jobs) * len(self.workers), time.monotonic() - begun)
        self.metrics.batches.observe(len(jobs))
        for job, result, face in zip(jobs, results, faces, strict=True):
            if not job.answer.done():
                job.answer.set_result((self.release, self.schema_md5, PredictResult(**result, aligned=face)))

    async def _restart(self, worker: ChildProcess) -> None:
        pause = 0.5
        self._restarting.add(worker)
        while not self._draining.is_set():
            try:
                await self._load(worker)
                self._restarting.discard(worker)
                return
            except Exception as error:
                log.error("a worker of %s does not start again: %s", self.release, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _retry(jobs: Sequence[Job], queue: BatchQueue, error: ChildDied) -> None:
    """Each photo of a worker that died once more, alone, so that only the one that kills is given up."""
    for job in reversed(jobs):
        job.attempts += 1
        if job.answer.done():
            continue
        if job.attempts >= MOST_ATTEMPTS:
            job.answer.set_exception(error)
        else:
            queue.requeue(job)
