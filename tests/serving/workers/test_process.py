"""What a worker does with a photo, in this process."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.images import decode_photo, encode_jpeg
from serving.workers import process
from serving.workers.process import BAD, CANNOT, READ, PredictRequest
from serving.workers.refiner import Refiner
from tests.serving import support
from tests.serving.support import OBAMA, astronaut


@pytest.mark.slow
def test_a_release_from_before_there_was_refine_reads_on_and_says_that_it_cannot(tmp_path: Path) -> None:
    saved = support.save(tmp_path)
    (loader,) = (path for path in saved.rglob("*.py") if "def refinement(" in path.read_text())
    loader.write_text(loader.read_text().replace("def refinement(", "def not_yet("))
    model = process.load(saved, 1, "cpu")
    with model.predictor:
        plain, refined = process.predict(
            model,
            Refiner(model, support.refining()),
            [PredictRequest(astronaut()), PredictRequest(astronaut(), refine="engine")],
            10**8,
        )
    assert (plain.kind, refined.kind) == (READ, CANNOT) and "leave it out" in refined.reason


@pytest.mark.slow
def test_a_large_jpeg_is_read_from_a_smaller_picture_and_a_small_face_from_the_photo(tmp_path: Path) -> None:
    model = process.load(support.save(tmp_path), 1, "cpu")
    portrait = decode_photo(OBAMA)
    near = cv2.resize(portrait, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    far = np.full((2600, 3000, 3), 90, np.uint8)
    far[900:1360, 1200:1600] = cv2.resize(portrait, (400, 460), interpolation=cv2.INTER_AREA)
    photos = [encode_jpeg(near), b"no picture", encode_jpeg(far)]
    with model.predictor:
        given = [PredictRequest(photo, aligned=True) for photo in photos]
        results = process.predict(model, Refiner(model, support.refining()), given, 10**8)
        whole = model.predictor.predict_pictures([decode_photo(photos[0]), decode_photo(photos[2])])
    assert [result.kind for result in results] == [READ, BAD, READ]
    for result, expected, apart in ((results[0], whole[0], 15), (results[2], whole[1], 0.06)):
        assert np.abs(np.subtract(result.photo["box"], expected.box)).max() < apart
    assert results[2].aligned == encode_jpeg(whole[1].aligned), "of the photo as it is"
