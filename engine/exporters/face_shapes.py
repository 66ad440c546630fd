"""Visemes and the expressions of VRM as sums of face actions (face_shapes.yaml)."""

from functools import cache
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from engine.expressions import SIDES, weights_of
from engine.head import ACTION, Head

TABLE = Path(__file__).with_suffix(".yaml")
UNPAIRED = (
    "browInner",
    "cheekPuff",
    "jaw",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthRoll",
    "mouthShrug",
    "tongue",
)
"""How the face actions begin that have no sides."""


@cache
def shapes(kind: str) -> dict[str, dict[str, float]]:
    """All of one kind, `visemes` or `presets`: by name, the weights of face actions, which have a side each."""
    read = yaml.safe_load(TABLE.read_text())[kind]
    return {name: _both_sides(weights) for name, weights in read.items()}


def visemes(head: Head) -> dict[str, NDArray[np.float32]]:
    """What each viseme does to the base vertices [V, 3], metres."""
    names = [name for name in head.morph_names if name.startswith(ACTION)]
    actions = {name.removeprefix(ACTION): number for number, name in enumerate(names)}
    morphs = head.morphs[[head.morph_index[name] for name in names]]
    made = {name: weights_of(weights, actions) for name, weights in shapes("visemes").items()}
    with threadpool_limits(1, user_api="blas"):  # sums in one order: the same bytes on any number of processors
        return {name: np.tensordot(weights, morphs, axes=1).astype(np.float32) for name, weights in made.items()}


def _both_sides(weights: dict[str, float]) -> dict[str, float]:
    both = {}
    for name, weight in weights.items():
        paired = not name.endswith(SIDES) and not name.startswith(UNPAIRED)
        both |= {f"{name}{side}": weight for side in SIDES} if paired else {name: weight}
    return both
