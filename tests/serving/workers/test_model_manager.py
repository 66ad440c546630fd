"""Workers that die, releases that move: real processes with real, untrained networks."""

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.images import encode_png
from serving.child_process import ChildDied
from serving.metrics import Metrics
from serving.releases import Release
from serving.workers import process
from serving.workers.model_manager import ModelManager, NoModel, ServedPrediction
from serving.workers.pool import Pool
from serving.workers.process import BAD, NO_FACE, READ, PredictRequest, WorkerConfig
from serving.workers.queue import QueueFull
from serving.workers.refiner import Refiner
from tests.models import photo_files
from tests.serving import support
from tests.serving.support import Shelf, astronaut, run, until

pytestmark = pytest.mark.slow

SECONDS = 600.0


@pytest.fixture(scope="module")
def deadly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deadly")
    return support.save(folder / "release", code=support.deadly(folder / "code"))


@asynccontextmanager
async def following(shelf: Shelf, tmp_path: Path, capacity: int = 8) -> AsyncIterator[ModelManager]:
    metrics = Metrics()

    def make_pool(release: Release, folder: Path) -> Pool:
        return Pool(
            release,
            WorkerConfig(
                folder=folder,
                threads=1,
                device="cpu",
                max_pixels=10**7,
                refine=support.refining(),
                log=tmp_path / "workers.log",
            ),
            1,
            4,
            metrics,
            SECONDS,
        )

    async with ModelManager(shelf, make_pool, capacity, 0.1, metrics) as models:
        yield models


async def read(models: ModelManager, photo: bytes, aligned: bool = False) -> ServedPrediction:
    return await models.predict(PredictRequest(photo, aligned), SECONDS)


def count(models: ModelManager, name: str) -> float | None:
    return models.metrics.registry.get_sample_value(f"likeness_{name}")


def odd_exif() -> bytes:
    """A sound photo with text where its EXIF should have a resolution."""
    return photo_files.saved(
        photo_files.stored(photo_files.portrait(400), 6),
        "JPEG",
        exif=photo_files.exif((0x0112, 3, 1, b"\6\0"), (0x011A, 2, 3, b"72\0")),
    )


def picture(height: int, width: int) -> bytes:
    return encode_png(np.full((height, width, 3), 90, np.uint8))


def test_a_photo_that_kills_its_worker_is_given_up_and_its_neighbours_are_read(deadly: Path, tmp_path: Path) -> None:
    async def test() -> None:
        async with following(Shelf({1: deadly}), tmp_path) as models:
            with pytest.raises(NoModel, match="being loaded"):
                await read(models, astronaut())
            await until(lambda: models.pool)
            assert models.idle_seconds == math.inf
            photos = (picture(*support.DEADLY), astronaut(), picture(64, 64))
            reading = [asyncio.create_task(read(models, photo)) for photo in photos]
            await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            assert models.idle_seconds == 0, "two are still read"
            kills, good, empty = await asyncio.gather(*reading, return_exceptions=True)
            assert 0 < models.idle_seconds < SECONDS
            assert isinstance(kills, ChildDied)
            assert isinstance(good, ServedPrediction) and good.result.kind == READ
            assert isinstance(empty, ServedPrediction) and empty.result.kind == NO_FACE
            assert count(models, "worker_deaths_total") == 2

    run(test())


def test_a_photo_over_which_the_code_fails_is_bad_and_its_worker_lives_on(deadly: Path, tmp_path: Path) -> None:
    async def test() -> None:
        async with following(Shelf({1: deadly}), tmp_path) as models:
            await until(lambda: models.pool)
            assert models.pool is not None
            pid = models.pool.workers[0].pid
            photos = (picture(*support.FAILING), astronaut(), picture(64, 64), odd_exif(), picture(*support.FAILING))
            answers = [
                prediction.result for prediction in await asyncio.gather(*(read(models, photo) for photo in photos))
            ]
            assert [answer.kind for answer in answers] == [BAD, READ, NO_FACE, READ, BAD]
            assert "cannot be read (KeyError)" in answers[0].reason
            assert models.pool.workers[0].pid == pid and count(models, "worker_deaths_total") == 0
        assert "nobody foresaw this" in (tmp_path / "workers.log").read_text()

    run(test())


def test_a_model_that_reads_nothing_any_more_is_not_the_photos_fault() -> None:
    class Predictor:
        def predict_pictures(self, pictures: list) -> list:
            raise RuntimeError("the device is gone")

    class Model:
        predictor = Predictor()

    model = Model()
    with pytest.raises(RuntimeError, match="the device is gone"):
        process.predict(model, Refiner(model, support.refining()), [PredictRequest(picture(64, 64), False)], 10**7)


def test_a_worker_that_is_killed_from_outside_is_replaced_and_its_photo_read(saved: Path, tmp_path: Path) -> None:
    async def test() -> None:
        async with following(Shelf({1: saved}), tmp_path) as models:
            await until(lambda: models.pool)
            assert models.pool is not None
            pid = models.pool.workers[0].pid
            assert pid is not None
            asking = asyncio.create_task(read(models, astronaut(), aligned=True))
            await asyncio.sleep(0)
            os.kill(pid, signal.SIGKILL)
            answer = (await asking).result
            assert answer.kind == READ
            face = cv2.imdecode(np.frombuffer(answer.aligned, np.uint8), cv2.IMREAD_COLOR)
            assert face is not None and face.shape == (128, 128, 3)
            assert models.pool.workers[0].pid != pid

    run(test())


def test_the_service_follows_the_alias_and_loses_no_request(saved: Path, deadly: Path, tmp_path: Path) -> None:
    """Version 2 answers after the move; one that cannot be loaded, or a registry that is down, changes nothing."""

    async def test() -> None:
        shelf = Shelf({1: saved, 2: deadly, 3: tmp_path / "gone"})
        async with following(shelf, tmp_path, capacity=64) as models:
            await until(lambda: models.pool)
            versions: list[int] = []
            moved = asyncio.Event()

            async def ask() -> None:
                while not moved.is_set():
                    versions.append((await read(models, picture(64, 64))).release.version)

            asking = [asyncio.create_task(ask()) for _ in range(3)]
            shelf.version = 2
            await until(lambda: versions and versions[-1] == 2)
            moved.set()
            await asyncio.gather(*asking)
            assert versions == sorted(versions) and set(versions) == {1, 2}
            shelf.version = 3
            await until(lambda: count(models, "release_failures_total"))
            assert (await read(models, picture(64, 64))).release.version == 2
            shelf.up = False
            await until(lambda: count(models, "registry_up") == 0)
            assert (await read(models, picture(64, 64))).release.version == 2
        async with following(shelf, tmp_path) as again:
            await until(lambda: again.pool)
            assert (await read(again, picture(64, 64))).release.version == 2, "it starts with what it fetched last"

    run(test())


def test_what_is_too_much_or_takes_too_long_is_told(saved: Path, tmp_path: Path) -> None:
    async def test() -> None:
        async with following(Shelf({1: saved}), tmp_path, capacity=2) as models:
            await until(lambda: models.pool)
            with pytest.raises(TimeoutError):
                await models.predict(PredictRequest(astronaut()), 0.001)
            asking = [asyncio.create_task(read(models, astronaut())) for _ in range(12)]
            outcomes = await asyncio.gather(*asking, return_exceptions=True)
            assert any(isinstance(outcome, QueueFull) for outcome in outcomes)
            assert all(isinstance(outcome, QueueFull | ServedPrediction) for outcome in outcomes)

    run(test())
