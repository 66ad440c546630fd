"""What a worker does to refine an answer: the engine that it opens, what it refuses, and when a search ends."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.schema import Schema
from models.identity import IdentityModel
from models.refinement import RefinementSettings
from serving.workers import process
from serving.workers.refiner import CannotRefine, Refiner, drawn, rounds_within
from tests.serving import support
from tests.serving.rendering.conftest import CLAY_ENGINE, CLAY_SCHEMA

FACE = np.zeros((8, 8, 3), np.uint8)
LIES = "reference:\n  size: [138, 128]\n  points: [[44, 50], [94, 50], [69, 75], [50, 95], [88, 95]]\n"
"""Where clay's face lies in its picture."""


class Searching:
    """A model whose search looks at the answer, and then three times at what it takes for better."""

    refinement = None

    def __init__(self, character: Path) -> None:
        self.schema, self.drawn = Schema.load(character), []

    def refine(
        self,
        aligned: np.ndarray,
        x: np.ndarray,
        report: Callable[[int, int], bool | None] = lambda number, of: None,
        draw: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        if draw is not None:
            self.drawn = [draw(x)]
            while len(self.drawn) <= 3 and report(len(self.drawn) - 1, 3) is not False:
                self.drawn.append(draw(x))
        return x + len(self.drawn)


@pytest.fixture
def clay(tmp_path: Path) -> Path:
    """A character with a renderer of its own."""
    folder = tmp_path / "clay"
    folder.mkdir()
    (folder / "schema.yaml").write_text(CLAY_SCHEMA + LIES)
    (folder / "studio.py").write_text(CLAY_ENGINE)
    return folder


def change(file: Path, before: str, after: str) -> None:
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))


def refiner(character: Path, seconds: float = 60.0, model: Any = None) -> Refiner:
    return Refiner(model or Searching(character), support.refining(character, seconds))


def refined(by: Refiner, **sliders: float) -> np.ndarray:
    x = by.model.schema.neutral()
    for name, value in sliders.items():
        x[by.model.schema.slider_index[name]] = value
    return by.refined("engine", FACE, x) - x


def test_a_studios_own_engine_draws_the_search_in_the_reference_frame(clay: Path) -> None:
    by = refiner(clay)
    assert (refined(by) == 4).all(), "the answer and three rounds"
    assert all(picture.shape == (128, 128, 3) for picture in by.model.drawn)
    engine = by.engine
    refined(by)
    assert by.engine is engine, "it is opened once"


def test_a_search_that_would_take_too_long_ends_with_what_it_has(clay: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by = refiner(clay, seconds=0.5)
    clock = SimpleNamespace(monotonic=lambda: 0.2 * len(by.model.drawn))
    monkeypatch.setattr("serving.workers.refiner.time", clock)
    assert (refined(by) == 2).all(), "0.2 s a picture: no third one"


def test_rounds_end_before_the_limit_not_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter((0.0, 2.0, 3.0, 5.0, 7.0))
    monkeypatch.setattr("serving.workers.refiner.time", SimpleNamespace(monotonic=lambda: next(now)))
    fits = rounds_within(7.5)
    assert [fits(number, 9) for number in range(4)] == [True, True, True, False]


def test_a_character_with_pairs_alone_is_refined_by_the_gradient_only(clay: Path) -> None:
    change(clay / "schema.yaml", 'renderer: {python: "studio:draw"}', "pairs: {table: pairs.csv}")
    by = refiner(clay)
    with pytest.raises(CannotRefine, match=r"clay has only pairs .* ask for `refine=gradient`"):
        refined(by)
    assert (by.refined("gradient", FACE, by.model.schema.neutral()) == by.model.schema.neutral()).all()


@pytest.mark.parametrize(
    ("file", "before", "after", "reason"),
    [
        ("studio.py", "import os", "import nowhere_to_be_found", "cannot be loaded"),
        ("studio.py", "    picture = ", "    raise ValueError\n    picture = ", "renderer failed"),
        ("schema.yaml", "name: burst", "name: crack", "has changed since this model was trained"),
    ],
)
def test_an_engine_that_cannot_draw_is_told_of_without_a_path(
    clay: Path, file: str, before: str, after: str, reason: str
) -> None:
    model = Searching(clay)
    change(clay / file, before, after)
    with pytest.raises(CannotRefine, match=reason) as refused:
        refined(refiner(clay, model=model))
    assert str(clay) not in str(refused.value)


@pytest.mark.slow
def test_to_faceres_the_engines_render_of_what_is_found_is_more_like_the_photo(saved: Path) -> None:
    """An imitator that knows nothing leads nowhere, but a search begins beyond the answer, and there is the photo."""
    model = process.load(saved, 1, "cpu")
    by = Refiner(model, support.refining())
    n, rng = model.schema.n_sliders, np.random.default_rng(0)
    answer = model.schema.neutral()
    answer[:n] = rng.uniform(0.3, 0.7, n)
    model.predictor.identity = faceres = IdentityModel.from_file(
        "faceres", support.ASSETS / "identity" / "faceres.json"
    )
    with torch.no_grad():
        for weights in model.refinement.imitator.parameters():
            weights.fill_(1.0 if weights.ndim == 1 else 0.0)
        prior, start = model.refinement.prior, torch.from_numpy(answer[None, :n])
        beyond = prior.to_sliders(RefinementSettings().emphasis * prior.to_coefficients(start))[0].numpy()

    def picture(x: np.ndarray) -> np.ndarray:
        return drawn(by.engine, model.schema.to_document(x))

    photo = picture(np.append(beyond, answer[n:]))

    def similarity(x: np.ndarray) -> Tensor:
        with torch.no_grad():
            person, seen = faceres(as_batch(photo, photo[:, ::-1])).mean(0), faceres(as_batch(picture(x)))[0]
        return functional.cosine_similarity(person, seen, dim=0)

    refined = by.refined("engine", photo, answer)
    assert np.array_equal(refined[n:], answer[n:]) and not np.array_equal(refined, answer)
    assert similarity(refined) > similarity(answer)


def as_batch(*pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
