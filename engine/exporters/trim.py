"""Where an exported head ends. The engine's own, whose edge no camera sees, ends in steps.

What other programs get ends at one closed loop of edges around the root of the neck: 42 vertices of MakeHuman's base
mesh, so that a body made of the same mesh, opened along the same loop, joins it vertex by vertex. The page, which fades
the neck out, has a bit more.
"""

import numpy as np
from numpy.typing import NDArray

from engine.head import SKIN, TEETH, Head

NECK = -0.13  # height below which loops are counted, metres under the eyes
RING_FRONT = (0.0, -0.189, -0.035)  # the vertex before the throat from which the neck ring is followed, metres


def within_bust(head: Head, triangles: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which triangles [T, 3] of the skin, two a quad, lie above the last loop around the neck that is whole."""
    quads = triangles.reshape(-1, 6)
    sides = np.concatenate([quads[:, pair] for pair in ([0, 1], [1, 2], [4, 5], [5, 0])])
    loop = _loops(head.template[:, 1] > NECK, sides)
    named, count = np.unique(np.sort(sides, axis=1), axis=0, return_counts=True)
    border = np.unique(named[count == 1])
    broken = loop[border[loop[border] > 0]].min(initial=loop.max())
    return loop[triangles].reshape(-1, 6).max(axis=1).repeat(2) < broken


def above_ring(head: Head, triangles: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which triangles [T, 3] of the skin lie above the neck ring."""
    import scipy.sparse
    from scipy.sparse.csgraph import connected_components

    sides = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    sides = sides[~np.isin(sides, neck_ring(head)).any(axis=1)]
    size = int(triangles.max()) + 1
    joined = scipy.sparse.coo_matrix((np.ones(len(sides), np.int8), sides.T), (size, size))
    island = connected_components(joined, directed=False)[1]
    crown = triangles.flat[head.template[triangles, 1].argmax()]
    return (island[triangles] == island[crown]).any(axis=1)


def neck_ring(head: Head) -> NDArray[np.int64]:
    """The vertices of the loop of edges at which an exported neck ends [R], in order around it from the front on.

    Raises ValueError where the mesh has no such loop.
    """
    skin = head.triangles[(head.materials == SKIN) & (head.labels != TEETH)].reshape(-1, 6)
    quads = skin[:, [0, 1, 2, 5]]
    low = quads[head.template[quads, 1].max(axis=1) < NECK]
    around: dict[int, set[int]] = {}
    faces: dict[frozenset[int], set[int]] = {}
    for number, quad in enumerate(low.tolist()):
        for start, end in zip(quad, [*quad[1:], quad[0]], strict=True):
            around.setdefault(start, set()).add(end)
            around.setdefault(end, set()).add(start)
            faces.setdefault(frozenset((start, end)), set()).add(number)
    first = min(around, key=lambda vertex: float(np.linalg.norm(head.template[vertex] - RING_FRONT)))
    ring = [first, max(around[first], key=lambda vertex: float(head.template[vertex, 0]))]
    while len(ring) <= len(around):
        before, at = ring[-2:]
        # Straight on: the edge that shares no face with the one by which the loop came.
        ahead = [end for end in around[at] if not faces[frozenset((at, end))] & faces[frozenset((before, at))]]
        if len(ahead) != 1:
            break
        if ahead[0] == first:
            return np.array(ring)
        ring += ahead
    raise ValueError("no loop of edges around the neck begins at RING_FRONT")


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
