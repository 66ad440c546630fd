"""Where an exported bust ends: along a loop of the mesh, where the engine's own head, whose edge no camera sees, ends
in steps."""

import numpy as np
from numpy.typing import NDArray

from engine.head import Head

NECK = -0.13  # height below which loops are counted, metres under the eyes


def within_bust(head: Head, triangles: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which triangles [T,3] of the skin, two a quad, lie above the last loop around the neck that is whole."""
    quads = triangles.reshape(-1, 6)
    sides = np.concatenate([quads[:, pair] for pair in ([0, 1], [1, 2], [4, 5], [5, 0])])
    loop = _loops(head.template[:, 1] > NECK, sides)
    named, count = np.unique(np.sort(sides, axis=1), axis=0, return_counts=True)
    border = np.unique(named[count == 1])
    broken = loop[border[loop[border] > 0]].min(initial=loop.max())
    return loop[triangles].reshape(-1, 6).max(axis=1).repeat(2) < broken


def _loops(inside: NDArray[np.bool_], sides: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many sides of quads each vertex lies away from those inside; the largest number where there is no way."""
    loop = np.where(inside, 0, len(inside))
    while True:
        nearer = loop.copy()
        for start, end in (sides.T, sides.T[::-1]):
            np.minimum.at(nearer, start, loop[end] + 1)
        nearer = np.minimum(nearer, len(inside))
        if (nearer == loop).all():
            return loop
        loop = nearer
