"""How two answers to one photo are compared."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.identity import IdentityModel
from serving.workers import process
from serving.workers.comparison import ENGINE, IMITATOR, Comparer
from serving.workers.refiner import Refiner
from tests.serving import support
from tests.serving.rendering.conftest import CLAY_SCHEMA


def pairs_alone(folder: Path) -> Path:
    """A character that nothing can draw."""
    (clay := folder / "clay").mkdir()
    (clay / "schema.yaml").write_text(CLAY_SCHEMA.replace('renderer: {python: "studio:draw"}', "pairs: {table: a.csv}"))
    return clay


@pytest.mark.slow
def test_renders_tell_how_alike_two_answers_look(saved: Path) -> None:
    model = process.load(saved, 1, "cpu")
    model.predictor.identity = IdentityModel.from_file("faceres", support.ASSETS / "identity" / "faceres.json")
    comparer = Comparer(model, Refiner(model, support.refining()))
    x = model.schema.neutral()
    near, far = x.copy(), x.copy()
    near[: model.schema.n_sliders] += 0.02
    far[: model.schema.n_sliders] = np.random.default_rng(0).uniform(0.1, 0.9, model.schema.n_sliders)
    same, little, much = (
        comparer.compare(model.schema.to_document(one), model.schema.to_document(x)) for one in (x, near, far)
    )
    assert same["parameters"] == 0 and not any(same["choices"].values())
    assert same["similarity"] == pytest.approx(1, abs=1e-4) and same["drawn_by"] == ENGINE
    assert little["parameters"] == pytest.approx(0.02, abs=0.005)
    assert much["similarity"] < little["similarity"] < 1 and much["largest"] > 0.3


@pytest.mark.slow
def test_without_an_engine_the_identity_imitator_says_what_is_expected(saved: Path, tmp_path: Path) -> None:
    model = process.load(saved, 1, "cpu")
    comparer = Comparer(model, Refiner(model, support.refining(pairs_alone(tmp_path))))
    x = model.schema.neutral()
    other = x.copy()
    other[0] = 1.0
    found = comparer.compare(model.schema.to_document(other), model.schema.to_document(x))
    assert found["drawn_by"] == IMITATOR and -1 <= found["similarity"] < 1


def test_what_only_one_of_two_versions_has_is_passed_over(tmp_path: Path) -> None:
    """Neither can be drawn: the schema is none that the character has, and the version has no imitator."""
    model: Any = SimpleNamespace(predictor=SimpleNamespace(device="cpu"), schema=SimpleNamespace(name="clay"))
    comparer = Comparer(model, Refiner(model, support.refining(pairs_alone(tmp_path))))

    def answer(hair: str, **parameters: float) -> dict[str, Any]:
        return {"parameters": parameters, "discrete": {"hair": {"choice": hair}}}

    ours, theirs = answer("short", nose=0.5, chin=0.5), answer("long", nose=0.75, ears=0.1)
    ours["discrete"]["glasses"] = {"choice": "none"}
    assert comparer.compare(ours, theirs) == {
        "parameters": 0.25, "largest": 0.25, "choices": {"hair": True}, "similarity": None, "drawn_by": None,
    }  # fmt: skip
