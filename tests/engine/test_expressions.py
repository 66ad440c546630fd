"""Expressions that the mesh can show, and eyes that look somewhere."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine import expressions
from engine.head import LEFT_EYE, RIGHT_EYE
from engine.renderer import Renderer
from engine.scenes import Scenes


def test_every_action_occurs_within_its_limit_and_no_tongue_goes_through_lips(renderer: Renderer) -> None:
    actions, rng = renderer.blend.actions, np.random.default_rng(5)
    seen = np.stack([_expression(rng, actions) for _ in range(3000)])
    assert (seen.max(axis=0) > 0.15).all(), [name for name, k in actions.items() if seen[:, k].max() <= 0.15]
    for name, limit in expressions.LIMITS.items():
        assert seen[:, actions[name]].max() <= limit + 1e-6
    assert (seen[:, actions["mouthClose"]] <= seen[:, actions["jawOpen"]] + 1e-6).all()
    assert (seen[seen[:, actions["tongueOut"]] > 0, actions["jawOpen"]] > 0.05).all()
    left, right = seen[:, actions["mouthSmileLeft"]], seen[:, actions["mouthSmileRight"]]
    assert np.corrcoef(left, right)[0, 1] > 0.8, "both sides smile together"


def _expression(rng: np.random.Generator, actions: dict[str, int]) -> NDArray[np.float32]:
    weights = expressions.random_expression(rng, actions, 1.0)[1]
    return expressions.turn_gaze(weights, actions, float(rng.normal() * 15), float(rng.normal() * 10))[0]


def test_lids_follow_eyes_that_look_down(renderer: Renderer) -> None:
    """Less of the eyes shows when they look down, but they do not close."""
    actions = renderer.blend.actions
    scene = Scenes.game(1)
    sliders, choices = renderer.schema.neutral_sliders()[None], renderer.schema.neutral_discrete()[None]
    opening = []
    for pitch in (0.0, 16.0):
        weights, gaze = expressions.turn_gaze(np.zeros(len(actions), np.float32), actions, 0.0, pitch)
        looking = replace(scene, expression=weights[None], gaze=gaze[None])
        labels = renderer.render(sliders, choices, looking, 256).labels[0]
        opening.append(int(np.isin(labels, (LEFT_EYE, RIGHT_EYE)).sum()))
    assert 0.3 * opening[0] < opening[1] < 0.85 * opening[0]
