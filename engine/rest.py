"""The face at rest: what is added to MakeHuman's base mesh so that a face that does nothing looks calm, not stern.

MakeHuman's brows lie low on the ridge, fall towards the nose, and its mouth is straight. The neutral face is this one:
every slider and every face action counts from it.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.head import ACTION, BROW, SKIN, TEETH, Head

Floats = NDArray[np.float64]

# Weights of morphs, by name.
REST = {
    "eyebrows/eyebrows-angle-up": 0.28,
    "action/mouthSmileLeft": 0.2,
    "action/mouthSmileRight": 0.2,
}
BROW_LIFT = 0.0024  # metres that brows lie higher than MakeHuman puts them
BROW_LEVELLING = 0.42  # share of their fall towards the nose that is taken out
CLEARANCE = 0.0002  # metres that a brow lies before the skin at least
HOLDS = 1e-6  # how far outside a triangle a point may lie, as a share of it
REACH = 0.02  # metres around the brows in which the skin is searched


def resting() -> dict[str, float]:
    """How much of some face actions the face at rest holds; a client that takes as much away has MakeHuman's mouth."""
    return {name.removeprefix(ACTION): weight for name, weight in REST.items() if name.startswith(ACTION)}


def smile(actions: Mapping[str, int]) -> NDArray[np.float32]:
    """The same as weights [A] of the face actions, by their columns."""
    weights = np.zeros(len(actions), np.float32)
    for name, weight in resting().items():
        weights[actions[name]] = weight
    return weights


def at_rest(head: Head) -> Head:
    """The head whose template is the face at rest, with the brows where they then belong."""
    moved = sum((weight * head.morphs[head.morph_index[name]] for name, weight in REST.items()), np.float32(0.0))
    return replace(_with_brows_lifted(head), template=head.template + moved)


def _with_brows_lifted(head: Head) -> Head:
    """The head with its brows slid up over the skin and bound to what they lie on there."""
    references, weights, offsets = head.references.copy(), head.weights.copy(), head.offsets.copy()
    for part in head.parts:
        if head.materials[part.first_triangle] == BROW:
            bound = slice(part.first_vertex - head.n_base, part.first_vertex - head.n_base + part.n_vertices)
            points = head.bound_vertices[bound].astype(np.float64)
            above = np.maximum(points[:, 2] - on_skin(head, points)[2], CLEARANCE)
            raised = points + [0.0, 1.0, 0.0] * _rise(points)[:, None]
            corners, shares, depth = on_skin(head, raised)
            raised[:, 2] = depth + above
            references[bound], weights[bound] = corners, shares
            offsets[bound] = raised - (shares[..., None] * head.template[corners]).sum(axis=1)
    return replace(head, references=references, weights=weights, offsets=offsets)


def _rise(points: Floats) -> Floats:
    """By how much the points [P, 3] of a pair of brows are raised: all by the lift, the inner half levelled besides."""
    side, height = np.abs(points[:, 0]), points[:, 1]
    inner, middle = np.quantile(side, [0.1, 0.5])
    fall = height[np.abs(side - middle) < 0.008].mean() - height[side < inner + 0.003].mean()
    return BROW_LIFT + BROW_LEVELLING * max(fall, 0.0) * ((middle - side) / (middle - inner)).clip(0.0, 1.2)


def on_skin(head: Head, points: Floats) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Where lines along Z through points [P, 3] meet the skin first: the triangle's corners, their weights, the depth
    [P]. Where they miss it, a weight is below -HOLDS."""
    low, high = points.min(axis=0) - REACH, points.max(axis=0) + REACH
    triangles = head.triangles[(head.materials == SKIN) & (head.labels != TEETH)]
    corners = head.template[triangles].astype(np.float64)
    centres = corners.mean(axis=1)
    near = ((centres > low) & (centres < high)).all(axis=1)
    triangles, corners = triangles[near], corners[near]
    a, b, c = (corners[:, number, :2] for number in range(3))
    area = _cross(b - a, c - a)
    front = area > 1e-12
    triangles, corners, area = triangles[front], corners[front], area[front]
    a, b, c = a[front], b[front], c[front]
    at = points[:, None, :2]
    shares = np.stack([_cross(b - at, c - at), _cross(c - at, a - at), _cross(a - at, b - at)], axis=2) / area[:, None]
    depth = (shares * corners[None, :, :, 2]).sum(axis=2)
    # Of those that hold the point the foremost: behind the lids the skin runs on into the socket.
    best = np.where(shares.min(axis=2) > -HOLDS, depth, -np.inf).argmax(axis=1)
    rows = np.arange(len(points))
    return triangles[best], shares[rows, best], depth[rows, best]


def _cross(u: Floats, v: Floats) -> Floats:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
