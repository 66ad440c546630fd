"""Lids that close: `eyeBlinkLeft` and `eyeBlinkRight` at 1 shut the eyes of every face, and no further.

MakeHuman's action closes the outer part of the eye when the middle is half open, and goes on: lid sinks into lid. Here
each place of the lids goes as far as its own opening on the template, and a face whose eyes are more or less open than
the template's closes them by as much more or less.
"""

from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.head import ACTION, Head
from engine.rest import HOLDS, on_skin

BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")
SIGNS = (1.0, -1.0)  # of X on either side
PLACES = (-0.55, -0.3, -0.1, 0.1, 0.3, 0.55)  # outwards from the middle of the eye, in radii of the eyeball
STEPS = 160  # in which the rims are searched, up and down by a radius
LIMITS = (0.5, 1.5)  # of how far eyes are open beside the template's


@dataclass(frozen=True)
class Rims:
    """The rims of one eye's lids in front of the eyeball, one above the other at K places from the nose outwards: each
    lies in a triangle of the base mesh, vertices [K, 3] and their weights [K, 3]."""

    upper: NDArray[np.int64]
    upper_weights: NDArray[np.float64]
    lower: NDArray[np.int64]
    lower_weights: NDArray[np.float64]

    def gap(self, heights: NDArray[np.floating]) -> NDArray[np.float64]:
        """What lies between the lids [..., K], where vertices have such heights [..., V]."""
        above = (heights[..., self.upper] * self.upper_weights).sum(axis=-1)
        return above - (heights[..., self.lower] * self.lower_weights).sum(axis=-1)


def rims(head: Head, side: int) -> Rims:
    """Those of the person's left (0) or right (1) eye on the template."""
    centre, radius = _eyeball(head, side)
    found = []
    for up in (1.0, -1.0):
        across, along = np.meshgrid(np.array(PLACES) * SIGNS[side], np.linspace(0.0, 1.0, STEPS), indexing="ij")
        offsets = radius * np.stack([across, up * along], axis=-1)
        depth = np.sqrt(np.maximum(radius**2 - (offsets**2).sum(axis=-1), 0.0))
        points = centre + np.concatenate([offsets, depth[..., None]], axis=-1)
        corners, weights, skin = on_skin(head, points.reshape(-1, 3))
        before = (weights.min(axis=1) > -HOLDS) & (skin > points.reshape(-1, 3)[:, 2])
        first = before.reshape(across.shape).argmax(axis=1) + np.arange(len(PLACES)) * STEPS
        found += [corners[first].astype(np.int64), weights[first]]
    return Rims(*found)


def closing(head: Head) -> Head:
    """The head whose lids just meet where they are shut."""
    morphs = head.morphs.copy()
    for side in range(len(BLINKS)):
        rim, blink = rims(head, side), _blink(head, side)
        closed = -rim.gap(blink[:, 1])
        share = rim.gap(head.template[:, 1]) / closed
        (middle, _, _), radius = _eyeball(head, side)
        outwards = (SIGNS[side] * (head.template[:, 0] - middle) / radius).clip(PLACES[0], PLACES[-1])
        scale = np.polynomial.Polynomial.fit(PLACES, share, 2)(outwards)
        morphs[head.morph_index[ACTION + BLINKS[side]]] = blink * scale[:, None]
    return replace(head, morphs=morphs)


class Openness:
    """How far the eyes of faces are open beside the template's, from the weights of the targets that shape them.

    `open` [2, K] is what lies between the lids of the left and right eye at K places of the template, `changes`
    [2, M, K] by how much each target changes it; metres.
    """

    def __init__(self, head: Head, displacements: NDArray[np.float32]) -> None:
        """displacements [M, V, 3] of the targets, in the order of the weights."""
        both = [rims(head, side) for side in range(len(BLINKS))]
        self.open = np.stack([rim.gap(head.template[:, 1]) for rim in both])
        self.changes = np.stack([rim.gap(displacements[..., 1]) for rim in both])

    def without_targets(self) -> "Openness":
        """The same eyes, which nothing shapes."""
        bare = copy(self)
        bare.changes = self.changes[:, :0]
        return bare

    def __call__(self, weights: NDArray[np.floating]) -> NDArray[np.float32]:
        """Weights [B, M] to shares [B, 2] of the left and right eye: 1 as far as the template's. By so much a blink
        weighs more or less."""
        gap = self.open[None] + np.einsum("bm,smk->bsk", weights, self.changes)
        return (gap / self.open).max(axis=2).clip(*LIMITS).astype(np.float32)


def _blink(head: Head, side: int) -> NDArray[np.float32]:
    return head.morphs[head.morph_index[ACTION + BLINKS[side]]]


def _eyeball(head: Head, side: int) -> tuple[NDArray[np.float64], float]:
    """Its middle [3] and its radius on the template, metres."""
    centre = np.asarray(head.eye_centres(head.template[None])[0][side], np.float64)
    eyes = head.part["eyes"]
    points = head.bound_vertices[eyes.first_vertex - head.n_base :][: eyes.n_vertices]
    return centre, float(np.median(np.linalg.norm(points[points[:, 0] * SIGNS[side] > 0] - centre, axis=1)))
