"""What a worker does with a photo, in this process."""

from pathlib import Path

import pytest

from serving.workers import process
from serving.workers.process import CANNOT, READ, PredictRequest
from serving.workers.refiner import Refiner
from tests.serving import support
from tests.serving.support import astronaut


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
