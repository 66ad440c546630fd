"""A blink at 1 shuts the eyes of every face, and no lid goes through the other."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import expressions, lids, sampler
from engine.head import LEFT_EYE, RIGHT_EYE
from engine.renderer import Renderer
from engine.scenes import Scenes

SIDE, FACES = 256, 8
OPEN: dict[str, float] = dict.fromkeys(lids.BLINKS, 0.0)
SHUT: dict[str, float] = dict.fromkeys(lids.BLINKS, 1.0)


def scenes(renderer: Renderer, weights: dict[str, float], count: int) -> Scenes:
    acting = expressions.weights_of(weights, renderer.blend.actions)
    return replace(Scenes.game(count), expression=np.tile(acting, (count, 1)))


@pytest.fixture(scope="module")
def people(renderer: Renderer) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Plausible faces with bare eyes: nothing hangs before them."""
    sliders, _ = sampler.plausible(renderer.schema, FACES, np.random.default_rng(12))
    choices = np.repeat(renderer.schema.neutral_discrete()[None], FACES, 0)
    for group in ("hair", "glasses"):
        choices[:, renderer.schema.group_index[group]] = 0
    return sliders, choices


def test_shut_eyes_show_nothing(renderer: Renderer, people: tuple[NDArray, NDArray]) -> None:
    seen = {}
    for name, weights in (("open", OPEN), ("shut", SHUT)):
        labels = renderer.render(*people, scenes(renderer, weights, FACES), SIDE).labels
        seen[name] = np.isin(labels, (LEFT_EYE, RIGHT_EYE)).sum(axis=(1, 2))
    assert seen["open"].min() > 150
    assert (seen["shut"] / seen["open"]).max() < 0.03


def test_lids_meet_and_go_no_further(renderer: Renderer, people: tuple[NDArray, NDArray]) -> None:
    head = renderer.head
    acting = expressions.weights_of(SHUT, renderer.blend.actions)
    open_, shut = (renderer.blend(people[0], np.tile(w, (FACES, 1)).astype(np.float32)) for w in (0 * acting, acting))
    for side in range(2):
        rim = lids.rims(head, side)
        before, left = rim.gap(open_[..., 1]), rim.gap(shut[..., 1])
        assert before.min() > 0.002, "metres"
        assert np.abs(left).max() < 0.005, "metres"
        assert np.abs(left / before).mean() < 0.25


def test_a_wider_eye_closes_by_more(renderer: Renderer) -> None:
    blend = renderer.blend
    share = blend.openness(np.zeros((1, blend.openness.changes.shape[1]), np.float32))
    np.testing.assert_allclose(share, 1.0, rtol=1e-6)
    assert blend.openness.without_targets()(np.zeros((1, 0))).tolist() == share.tolist()
    wide = np.zeros((1, blend.openness.changes.shape[1]), np.float32)
    wide[0, blend.openness.changes[0].mean(axis=1).argmax()] = 1.0
    assert lids.LIMITS[1] >= blend.openness(wide)[0, 0] > 1.05
