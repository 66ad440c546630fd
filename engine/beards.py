"""Beards with volume: shells of the jaw's own skin, one outside the other, with strands cut out of them.

Under the shells lies what is painted on the skin (engine/paint.py); stubble has nothing else. Lengths are metres.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.atlas import SIDE
from engine.hair_shaping import ramp
from engine.head import BEARD, FACE, SKIN, TEETH, Head
from engine.paint import beard_regions

Floats = NDArray[np.floating]

# How far the hairs of each style stand off the skin, where they are longest.
LENGTHS = {
    "moustache": 0.0045, "goatee": 0.0085, "circle": 0.0070, "chin_strap": 0.0055, "mutton_chops": 0.0075,
    "short_full": 0.0035, "full": 0.0105,
}  # fmt: skip
SHELLS = 5
LEAST_DENSITY = 0.03  # of a corner of a triangle that is part of a shell
HANGS = 0.45  # by how much of its height a shell hangs down
DEEP_AMBIENT = 0.30  # how open to the surroundings the roots are; the tips are in the open
GREY, STRANDS = 152.0, 44.0  # mean brightness of a strand and its deviation, of 255


def part_of(choice: str) -> str:
    """The part of the head that shows a beard."""
    return f"beard/{choice}"


def with_beards(head: Head) -> Head:
    """The head with the shells of each style that has some."""
    skin = (head.materials == SKIN) & (head.labels != TEETH)
    triangles, uvs = head.triangles[skin], head.uvs[skin]
    outward = _normals(head.template, triangles)
    for style, density in _densities(head.template).items():
        dense = (density > LEAST_DENSITY)[triangles].any(axis=1)
        carriers, corners = np.unique(triangles[dense], return_inverse=True)
        reach = LENGTHS[style] * (density[carriers] ** 0.6 * _fullness(head.template[carriers]))[:, None]
        away = outward[carriers] - np.array([0.0, HANGS, 0.0])
        heights = np.arange(1, SHELLS + 1) / SHELLS
        offsets = np.concatenate([height * reach * away for height in heights])
        corners = corners.reshape(-1, 3)
        shells = np.concatenate([corners + number * len(carriers) for number in range(SHELLS)])
        head = head.with_part(
            part_of(style),
            references=np.tile(carriers, SHELLS)[:, None].repeat(3, axis=1),
            weights=np.tile([1.0, 0.0, 0.0], (len(offsets), 1)),
            offsets=offsets,
            triangles=shells,
            uvs=np.tile(uvs[dense], (SHELLS, 1, 1)),
            label=FACE,
            material=BEARD,
        )
    return head


def openness(head: Head) -> tuple[NDArray[np.int64], Floats]:
    """How open the vertices of beards are to their surroundings, in [0, 1]: their numbers, and that of each."""
    numbers, shares = [], []
    for style in LENGTHS:
        part = head.part[part_of(style)]
        height = np.repeat(np.arange(1, SHELLS + 1) / SHELLS, part.n_vertices // SHELLS)
        numbers.append(np.arange(part.first_vertex, part.first_vertex + part.n_vertices))
        shares.append(DEEP_AMBIENT + (1.0 - DEEP_AMBIENT) * height)
    return np.concatenate(numbers), np.concatenate(shares)


def picture(style: str, place: NDArray[np.float32], bare: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The strands of a style's shells [512, 512, 4], grey, on the skin at `place` [512, 512, 3]; none where `bare`."""
    density = _densities(place)[style] * (1.0 - cv2.GaussianBlur(bare, (0, 0), 1.2) / np.float32(255))
    fine, locks = _streaks(51, 0.7, 4.0), _streaks(52, 2.0, 7.0)
    bright = GREY + STRANDS * (0.8 * fine + 0.5 * locks)
    cover = ramp(0.72 + 0.30 * fine + 0.22 * locks - 2.2 * (1.0 - ramp(density, 0.05, 0.85)), 0.0, 1.0)
    return (np.dstack([bright, bright, bright, 255.0 * cover]) + 0.5).clip(0, 255).astype(np.uint8)


def _densities(place: Floats) -> dict[str, Floats]:
    regions = beard_regions(np.asarray(place, np.float32))
    return {style: regions.get(style, regions["full"]) for style in LENGTHS}


def _fullness(place: Floats) -> Floats:
    """Shorter on lip and cheeks than on the chin, in [0, 1]."""
    _, y, z = np.moveaxis(place, -1, 0)
    return 0.4 + 0.6 * ramp(-y, 0.066, 0.102) * ramp(z, -0.060, -0.010)


def _streaks(seed: int, across: float, along: float) -> Floats:
    """Noise [512, 512] drawn out along the growth, which runs with the columns, with mean 0 and deviation 1."""
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)
    streaks = cv2.GaussianBlur(noise, (0, 0), sigmaX=along, sigmaY=across)
    return np.asarray(streaks / streaks.std(), np.float32)


def _normals(points: Floats, triangles: NDArray[np.int32]) -> Floats:
    """Unit normals [V, 3] of points [V, 3]; 0 where no triangle is."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    summed = np.zeros_like(points)
    for corner in range(3):
        np.add.at(summed, triangles[:, corner], faces)
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
