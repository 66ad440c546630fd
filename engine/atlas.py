"""The character's own texture layout: MakeHuman's atlas of a whole body, re-cut so that the face gets most of it.

MakeHuman gives a face 2 mm a texel at 512². Here each island of the head's UVs has a rectangle of its own, and the
island of face and scalp is stretched where the face lies: .8 mm a texel there.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 512
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Island:
    """A rectangle (u0, v0, u1, v1) of MakeHuman's layout and where it goes, in texels of 512 with V up."""

    name: str
    source: tuple[float, float, float, float]
    target: tuple[float, float, float, float]


HEAD = Island("head", (327, 74, 511, 421), (72, 1, 511, 511))
ISLANDS = (
    HEAD,
    Island("neck", (102, 409, 288, 500), (2, 390, 69, 508)),
    Island("left_socket", (5, 279, 41, 325), (2, 330, 34, 386)),
    Island("right_socket", (43, 279, 79, 325), (37, 330, 69, 386)),
    Island("mouth", (387, 5, 474, 71), (2, 250, 69, 326)),
    Island("tongue", (318, 475, 333, 505), (2, 120, 40, 186)),
)
# How many times larger than the rest the face is drawn along U (from the crown down) and along V (sideways).
FACE_U = ((327, 0.9), (370, 0.9), (388, 3.1), (505, 3.1), (511, 2.6))
FACE_V = ((74, 0.7), (165, 0.8), (192, 3.0), (302, 3.0), (330, 0.8), (421, 0.7))


@cache
def _axis(island: Island, axis: int) -> tuple[Floats, Floats]:
    """Matching places on one axis, source and target, both increasing."""
    start, end = island.source[axis], island.source[axis + 2]
    low, high = island.target[axis], island.target[axis + 2]
    source = np.linspace(start, end, 1024)
    if island is HEAD:
        knots = np.array((FACE_U, FACE_V)[axis])
        density = np.interp(source, knots[:, 0], knots[:, 1])
    else:
        density = np.ones_like(source)
    steps = (density[1:] + density[:-1]) / 2
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    return source, low + travelled / travelled[-1] * (high - low)


def place(uvs: Floats) -> NDArray[np.float32]:
    """MakeHuman's corner UVs [T, 3, 2] of the base mesh to this layout. Raises ValueError on an island not listed."""
    texels = np.asarray(uvs, np.float64) * SIDE
    centre = texels.mean(axis=1)
    placed = np.full(texels.shape, np.nan)
    for island in ISLANDS:
        u0, v0, u1, v1 = island.source
        inside = (centre[:, 0] > u0) & (centre[:, 0] < u1) & (centre[:, 1] > v0) & (centre[:, 1] < v1)
        for axis in range(2):
            source, target = _axis(island, axis)
            placed[inside, :, axis] = np.interp(texels[inside, :, axis], source, target)
    if np.isnan(placed).any():
        raise ValueError(f"{int(np.isnan(placed).any(axis=(1, 2)).sum())} triangles lie on no island of the atlas")
    return (placed / SIDE).astype(np.float32)


@cache
def _lookup() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For each texel of this layout: column and row in a 512² picture in MakeHuman's layout."""
    columns = np.zeros((SIDE, SIDE), np.float32)
    rows = np.zeros((SIDE, SIDE), np.float32)
    for island in ISLANDS:
        u0, v0, u1, v1 = (int(edge) for edge in island.target)
        # A margin of two texels keeps bilinear samples at an island's rim on its own colours.
        u = np.arange(max(u0 - 2, 0), min(u1 + 2, SIDE))
        v = np.arange(max(v0 - 2, 0), min(v1 + 2, SIDE))
        (u_source, u_target), (v_source, v_target) = _axis(island, 0), _axis(island, 1)
        source_u, source_v = np.interp(u + 0.5, u_target, u_source), np.interp(v + 0.5, v_target, v_source)
        block = np.ix_(SIDE - 1 - v, u)
        columns[block] = source_u[None, :] - 0.5
        rows[block] = SIDE - 0.5 - source_v[:, None]
    return columns, rows


def warp(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A square picture in MakeHuman's layout, of any size, to 512² in this one."""
    scale = picture.shape[0] / SIDE
    columns, rows = ((at + 0.5) * scale - 0.5 for at in _lookup())
    if scale > 2:
        picture = cv2.GaussianBlur(picture, (0, 0), scale / 8).astype(np.uint8)
    # Float first: cubic interpolation of bytes would round its weights to 1/32 of a pixel and show steps.
    return cv2.remap(picture, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


def inside(*names: str) -> NDArray[np.bool_]:
    """Which texels [512, 512] lie in the rectangles of some islands."""
    found = np.zeros((SIDE, SIDE), dtype=bool)
    for island in ISLANDS:
        if island.name in names:
            u0, v0, u1, v1 = (int(edge) for edge in island.target)
            found[SIDE - v1 : SIDE - v0, u0:u1] = True
    return found


def rasterise(uvs: Floats, values: Floats) -> NDArray[np.float32]:
    """Corner values [T, 3, C] interpolated over texels [512, 512, C] of triangles with UVs [T, 3, 2]; NaN elsewhere."""
    corners = np.asarray(uvs, np.float64) * [SIDE, -SIDE] + [-0.5, SIDE - 0.5]
    low = np.floor(corners.min(axis=1)).astype(int)
    high = np.ceil(corners.max(axis=1)).astype(int)
    extent = high - low + 1
    count = extent.prod(axis=1)
    triangle = np.repeat(np.arange(len(corners)), count)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    column = low[triangle, 0] + number % extent[triangle, 0]
    row = low[triangle, 1] + number // extent[triangle, 0]
    weights = _barycentric(corners[triangle], np.stack([column, row], axis=1))
    hit = (weights.min(axis=1) > -0.02) & (column >= 0) & (column < SIDE) & (row >= 0) & (row < SIDE)
    picture = np.full((SIDE, SIDE, values.shape[2]), np.nan, np.float32)
    picture[row[hit], column[hit]] = np.einsum("nk,nkc->nc", weights[hit], values[triangle[hit]])
    return picture


def _barycentric(corners: Floats, point: NDArray) -> Floats:
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]

    def cross(u: Floats, v: Floats) -> Floats:
        return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]

    area = cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-9, np.inf, area)
    wa, wb = cross(b - point, c - point) / area, cross(c - point, a - point) / area
    return np.stack([wa, wb, 1 - wa - wb], axis=1)
