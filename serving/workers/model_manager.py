"""The release that answers now. It follows the source: the next release is fetched, started and warmed beside the one
that answers, then takes over the queue; no request is lost, and none is answered by two."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.metrics import ModelMetrics
from serving.releases import NothingReleased, Release, ReleaseBroken, ReleaseSource, SourceDown
from serving.workers.pool import Pool
from serving.workers.process import PredictRequest, PredictResult
from serving.workers.queue import BatchQueue, Job

LONGEST_PAUSE = 300.0
log = logging.getLogger("likeness.serving")


class NoModel(Exception):
    """Nothing can be read yet; the message says why."""


@dataclass(frozen=True)
class ServedPrediction:
    """One photo's result, and the release that it is of."""

    release: Release
    schema_md5: str
    result: PredictResult


class ModelManager:
    """A context manager: the workers of the release that a source names.

    `make_pool`: a pool, not yet started, for a release in a folder. `does`: what the release does, for the log.
    `after`: manager whose first release is loaded before any of this one's.
    """

    def __init__(
        self,
        source: ReleaseSource,
        make_pool: Callable[[Release, Path], Pool],
        capacity: int,
        follow: float,
        metrics: ModelMetrics,
        does: str = "answers",
        after: ModelManager | None = None,
    ) -> None:
        self.source, self.make_pool, self.follow_seconds, self.metrics = source, make_pool, follow, metrics
        self.does, self.after = does, after
        self.loaded = asyncio.Event()
        """Whether any release was loaded yet."""
        self.queue = BatchQueue(capacity)
        self.pool: Pool | None = None
        self.why_none = "the model is being loaded"
        self._under_way = 0
        self._last_answer = -math.inf
        self._broken: Release | None = None
        """It failed a moment ago, and is tried again later each time."""
        self._retry_at = self._pause = 0.0
        self._draining: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ModelManager:
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._following is not None
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        if self.pool is not None:
            await self.pool.drain()
        await asyncio.gather(*self._draining)

    @property
    def idle_seconds(self) -> float:
        """For how long no photo has been read; 0 while one is read or waits."""
        return 0.0 if self._under_way else time.monotonic() - self._last_answer

    async def predict(self, request: PredictRequest, seconds: float) -> ServedPrediction:
        """What the model says of a photo.

        Raises NoModel, QueueFull, TimeoutError, or ChildDied where the photo ended two workers.
        """
        if self.pool is None:
            raise NoModel(self.why_none)
        job = Job(request, asyncio.get_running_loop().create_future())
        self.queue.put(job)
        self._under_way += 1
        try:
            async with asyncio.timeout(seconds):
                return ServedPrediction(*await job.answer)
        finally:
            self._under_way -= 1
            self._last_answer = time.monotonic()

    async def _follow(self) -> None:
        if self.after is not None:
            await self.after.loaded.wait()
        while True:
            try:
                await self._check_release()
            except Exception:
                log.exception("the look at the registry failed")
            await asyncio.sleep(self.follow_seconds)

    async def _check_release(self) -> None:
        release = await self._wanted()
        answers, now = self.pool is not None and release == self.pool.release, time.monotonic()
        if release is None or (release == self._broken and now < self._retry_at):
            return
        try:
            if answers:
                await self._hold(release)
            else:
                await self._change_to(release)
        except (SourceDown, ReleaseBroken) as error:
            log.error("%s cannot be used: %s", release, error)
            self.metrics.broken.inc()
            self._pause = min(max(self.follow_seconds, 2 * self._pause), LONGEST_PAUSE)
            self._broken, self._retry_at = release, time.monotonic() + self._pause
            self.why_none = f"{release} cannot be loaded"

    async def _hold(self, release: Release) -> None:
        """Keep the release that answers where workers find it that are started again: fetch it where it was deleted."""
        if not await asyncio.to_thread(self.source.hold, release):
            log.warning("%s was deleted while it answers, and is fetched again", release)
            await asyncio.to_thread(self.source.fetch, release)
            self._broken, self._pause = None, 0.0

    async def _wanted(self) -> Release | None:
        """The release in production; while the registry is down, the one that answers, or the last one that did."""
        try:
            release = await asyncio.to_thread(self.source.current)
        except NothingReleased as error:
            self.metrics.source_up.set(1)
            if self.pool is None and self.why_none != str(error):
                log.warning("%s", error)
            self.why_none = str(error)
            return self.pool.release if self.pool else None
        except SourceDown as error:
            self.metrics.source_up.set(0)
            if self.pool is not None:
                return self.pool.release
            log.warning("the registry is down: %s", error)
            self.why_none = "the model registry does not answer"
            return await asyncio.to_thread(self.source.last)
        self.metrics.source_up.set(1)
        return release

    async def _change_to(self, release: Release) -> None:
        log.info("loading %s", release)
        folder = await asyncio.to_thread(self.source.fetch, release)
        pool = self.make_pool(release, folder)
        try:
            await pool.start()
        except asyncio.CancelledError:
            await pool.stop()
            raise
        former, self.pool = self.pool, pool
        self._broken, self._pause = None, 0.0
        pool.work(self.queue)
        self.loaded.set()
        self.metrics.serving(release.model, release.version)
        log.info("%s %s", release, self.does)
        if former is not None:
            task = asyncio.create_task(former.drain())
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
