"""The queue before the model."""

import asyncio

import pytest

from serving.workers.queue import Job, Line, LineFull
from tests.serving.support import run


def job(photo: bytes = b"photo") -> Job:
    return Job(photo, False, asyncio.get_running_loop().create_future())


def test_what_waits_is_taken_together_first_come_first_served() -> None:
    async def test() -> None:
        line = Line(8)
        jobs = [job() for _ in range(5)]
        for each in jobs:
            line.put(each)
        assert await line.take(3) == jobs[:3]
        assert await line.take(3) == jobs[3:]

    run(test())


def test_whoever_waits_gets_the_job_that_comes() -> None:
    async def test() -> None:
        line = Line(8)
        waiting = [asyncio.create_task(line.take(4)) for _ in range(2)]
        await asyncio.sleep(0)
        first, second = job(), job()
        line.put(first)
        await asyncio.sleep(0.01)
        line.put(second)
        taken = await asyncio.gather(*waiting)
        assert sorted(taken, key=[[first], [second]].index) == [[first], [second]]

    run(test())


def test_whoever_stops_waiting_takes_nothing_with_it() -> None:
    async def test() -> None:
        line = Line(8)
        leaving, staying = (asyncio.create_task(line.take(4)) for _ in range(2))
        await asyncio.sleep(0)
        one = job()
        line.put(one)
        leaving.cancel()
        async with asyncio.timeout(1):
            assert await staying == [one]

    run(test())


def test_a_full_line_says_how_long_it_would_take() -> None:
    async def test() -> None:
        line = Line(2)
        line.rate = 4.0
        line.put(job())
        line.put(job())
        with pytest.raises(LineFull) as full:
            line.put(job())
        assert (full.value.waiting, full.value.seconds) == (2, 0.5)

    run(test())


def test_a_job_that_nobody_waits_for_any_more_makes_room() -> None:
    async def test() -> None:
        line = Line(2)
        gone, other = job(), job()
        line.put(gone)
        line.put(other)
        gone.answer.cancel()
        line.put(late := job())
        assert await line.take(4) == [other, late]

    run(test())


def test_a_job_that_ended_a_worker_comes_first_and_goes_alone() -> None:
    async def test() -> None:
        line = Line(1)
        line.put(job())
        suspect = job()
        suspect.attempts = 1
        line.put_back(suspect)
        assert await line.take(4) == [suspect]

    run(test())
