"""Workers that hang or end: real processes, without a model."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.child_process import ChildDied, ChildProcess
from serving.metrics import Metrics
from serving.releases import Release
from serving.workers.model_manager import ModelManager
from serving.workers.pool import Pool
from serving.workers.process import READ, PredictRequest, WorkerConfig
from serving.workers.queue import BatchQueue, Job
from tests.serving import support
from tests.serving.support import Shelf, run, until
from tests.serving.workers import fake_worker

WITHIN = 1.0


def pool_of(release: Release, folder: Path) -> Pool:
    config = WorkerConfig(
        folder=folder, threads=1, device="cpu", max_pixels=1, refine=support.refining(), log=folder / "log"
    )
    pool = Pool(release, config, 1, 4, Metrics(), WITHIN)
    pool.workers = [ChildProcess(fake_worker.__name__)]
    return pool


@asynccontextmanager
async def working(folder: Path) -> AsyncIterator[tuple[Pool, BatchQueue]]:
    pool, queue = pool_of(support.release(), folder), BatchQueue(8)
    await pool.start()
    pool.work(queue)
    try:
        yield pool, queue
    finally:
        await pool.drain()


def put(queue: BatchQueue, photo: bytes) -> asyncio.Future[Any]:
    answer = asyncio.get_running_loop().create_future()
    queue.put(Job(PredictRequest(photo), answer))
    return answer


async def is_read(answer: asyncio.Future[Any]) -> bool:
    return (await asyncio.wait_for(answer, 30))[2].kind == READ


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_and_its_neighbours_are_read(tmp_path: Path) -> None:
    async def test() -> None:
        async with working(tmp_path) as (pool, queue):
            before = pool.workers[0].pid
            hangs, neighbour = put(queue, fake_worker.HANGS), put(queue, b"photo")
            with pytest.raises(ChildDied, match="after 1 s without an answer"):
                await asyncio.wait_for(hangs, 30)
            assert await is_read(neighbour) and pool.workers[0].pid != before

    run(test())


def test_a_worker_that_ends_while_it_waits_is_replaced_before_anybody_asks(tmp_path: Path) -> None:
    async def test() -> None:
        async with working(tmp_path) as (pool, queue):
            before = pool.workers[0].pid
            assert pool.is_alive and before
            os.kill(before, signal.SIGKILL)
            await until(lambda: not pool.is_alive, 30)
            await until(lambda: pool.is_alive, 30)
            assert pool.workers[0].pid != before and await is_read(put(queue, b"photo"))

    run(test())


class Registry(Shelf):
    """Brings a folder back that was deleted."""

    def fetch(self, release: Release) -> Path:
        self.folders[release.version].mkdir(exist_ok=True)
        return super().fetch(release)


def test_a_release_that_is_deleted_while_it_answers_is_fetched_again(tmp_path: Path) -> None:
    async def test() -> None:
        folder = tmp_path / "release"
        shelf = Registry({1: folder})
        async with ModelManager(shelf, pool_of, 8, 0.05, Metrics()) as models:
            await until(lambda: models.pool, 30)
            pool = models.pool
            folder.rmdir()
            await until(folder.is_dir, 30)
            assert shelf.fetched == [1, 1] and models.pool is pool, "nothing is loaded anew for it"

    run(test())
