"""The queue before the model."""

import asyncio

import pytest

from serving.workers.process import PredictRequest
from serving.workers.queue import BatchQueue, Job, QueueFull
from serving.workers.refiner import RefinementMethod
from tests.serving.support import run


def job(refine: RefinementMethod | None = None) -> Job:
    return Job(PredictRequest(b"photo", refine=refine), asyncio.get_running_loop().create_future())


def test_what_waits_is_taken_together_first_come_first_served() -> None:
    async def test() -> None:
        queue = BatchQueue(8)
        jobs = [job() for _ in range(5)]
        for each in jobs:
            queue.put(each)
        assert await queue.take(3) == jobs[:3]
        assert await queue.take(3) == jobs[3:]

    run(test())


def test_photos_to_be_refined_go_alone_and_take_turns_with_the_others() -> None:
    async def test() -> None:
        queue = BatchQueue(8)
        searches, plain = [job("engine"), job("gradient"), job("engine")], [job() for _ in range(4)]
        for each in (searches[0], plain[0], searches[1], plain[1], plain[2], searches[2], plain[3]):
            queue.put(each)
        taken = [await queue.take(3) for _ in range(5)]
        assert taken == [plain[:3], [searches[0]], [plain[3]], [searches[1]], [searches[2]]]
        queue.put(search := job("engine"))
        queue.put(late := job())
        assert [await queue.take(3), await queue.take(3)] == [[late], [search]], "a search was the last one"

    run(test())


def test_whoever_waits_gets_the_job_that_comes() -> None:
    async def test() -> None:
        queue = BatchQueue(8)
        waiting = [asyncio.create_task(queue.take(4)) for _ in range(2)]
        await asyncio.sleep(0)
        first, second = job(), job()
        queue.put(first)
        await asyncio.sleep(0.01)
        queue.put(second)
        taken = await asyncio.gather(*waiting)
        assert sorted(taken, key=[[first], [second]].index) == [[first], [second]]

    run(test())


def test_whoever_stops_waiting_takes_nothing_with_it() -> None:
    async def test() -> None:
        queue = BatchQueue(8)
        leaving, staying = (asyncio.create_task(queue.take(4)) for _ in range(2))
        await asyncio.sleep(0)
        one = job()
        queue.put(one)
        leaving.cancel()
        async with asyncio.timeout(1):
            assert await staying == [one]

    run(test())


def test_a_full_line_says_how_long_it_would_take() -> None:
    async def test() -> None:
        queue = BatchQueue(2)
        queue.rate = 4.0
        queue.put(job())
        queue.put(job())
        with pytest.raises(QueueFull) as full:
            queue.put(job())
        assert (full.value.waiting, full.value.seconds) == (2, 0.5)

    run(test())


def test_a_job_that_nobody_waits_for_any_more_makes_room() -> None:
    async def test() -> None:
        queue = BatchQueue(2)
        gone, other = job(), job()
        queue.put(gone)
        queue.put(other)
        gone.answer.cancel()
        queue.put(late := job())
        assert await queue.take(4) == [other, late]

    run(test())


def test_a_job_that_ended_a_worker_comes_first_and_goes_alone() -> None:
    async def test() -> None:
        queue = BatchQueue(1)
        queue.put(job())
        suspect = job()
        suspect.attempts = 1
        queue.requeue(suspect)
        assert await queue.take(4) == [suspect]

    run(test())
