"""What age draws on a face."""

from pathlib import Path

import numpy as np
import pytest

from engine import paint, skins
from engine.head import Head
from engine.wrinkles import Wrinkles


@pytest.fixture(scope="module")
def place(embedded: Path) -> skins.Floats:
    return paint.positions(Head.load(embedded / "character"))


@pytest.fixture(scope="module")
def wrinkles(place: skins.Floats) -> Wrinkles:
    return Wrinkles(place, np.ones(place.shape[:2], np.float32), np.zeros(place.shape[:2], np.float32))


def test_the_young_have_none_and_the_old_more_than_the_middle_aged(wrinkles: Wrinkles) -> None:
    drawn = {age: np.abs(wrinkles.colour(age)).sum() + np.abs(wrinkles.relief(age)).sum() for age in skins.AGES}
    assert 0 == drawn["young"] < drawn["middleage"] < drawn["old"]


def test_folds_are_darker_and_deeper_than_the_cheek_beside_them(wrinkles: Wrinkles, place: skins.Floats) -> None:
    lightness, height = wrinkles.colour("old")[..., 0], wrinkles.relief("old")
    for side in (1, -1):
        fold, cheek = (
            np.linalg.norm(place[..., :2] - np.array([side * x, y]), axis=2) < 0.003
            for x, y in ((0.0315, -0.060), (0.050, -0.050))
        )
        assert lightness[fold].min() < -7 and np.abs(lightness[cheek]).mean() < 2
        assert height[fold].min() < -20 and np.abs(height[cheek]).max() < 5


def test_skin_is_old_from_seventy_two_years_on() -> None:
    years = np.array([25.0, 48.4, 71.8, 90.0])
    np.testing.assert_allclose(skins.age_of((years - 25) / 65), [0.0, 0.5, 1.0, 1.0], atol=1e-6)
