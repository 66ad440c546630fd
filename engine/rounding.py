"""Rounder outlines for pictures that people look at: four triangles for each one of skin and hair.

Each edge is parted at its middle, which is moved out to the curve that meets the normals at both ends (curved PN
triangles: Vlachos, Peters, Boyd and Mitchell, I3D 2001). The vertices of the head stay where they are, so that what
lies on it (brows, lashes, landmarks) still does.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.head import HAIR_MATERIAL, SKIN, Head, Submesh

SOFT = (SKIN, HAIR_MATERIAL)
"""Eyeballs are fine as they are, lashes and brows thin, the frames of glasses straight."""


@dataclass(frozen=True)
class RoundedHead:
    """A head whose triangles refer to its vertices and to the middles of edges, numbered after them."""

    head: Head
    """As given, with the new triangles, and `regions` of all points."""
    ends: NDArray[np.int32]
    """[E, 2] vertices between which each middle lies."""
    spans: dict[str, tuple[int, int]]
    """First and count of each part's middles, from 0 on."""

    @property
    def n_points(self) -> int:
        """Vertices and middles."""
        return self.head.n_vertices + len(self.ends)

    def with_middles(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """What each vertex [V, ...] has, and for each middle the mean of its ends [V + E, ...]."""
        return np.concatenate([values, values[self.ends].mean(axis=1, dtype=np.float32)])


def rounded(head: Head) -> RoundedHead:
    """The head with four triangles for each one of its soft surfaces, part by part in the same order."""
    parts: list[Submesh] = []
    spans: dict[str, tuple[int, int]] = {}
    ends: list[NDArray[np.int32]] = []
    sources: list[NDArray[np.int64]] = []
    corners: list[NDArray[np.int32]] = []
    uvs: list[NDArray[np.float32]] = []
    first_triangle, first_edge = 0, 0
    for part in head.parts:
        numbers = np.arange(part.first_triangle, part.first_triangle + part.n_triangles)
        soft = np.isin(head.materials[numbers], SOFT)
        hard, numbers = numbers[~soft], numbers[soft]
        edges, middles = _edges(head.triangles[numbers])
        middles += head.n_vertices + first_edge
        sources += [hard, numbers.repeat(4)]
        corners += [head.triangles[hard], _parted(head.triangles[numbers], middles)]
        uvs += [head.uvs[hard], _parted(head.uvs[numbers], (head.uvs[numbers] + head.uvs[numbers][:, [1, 2, 0]]) / 2)]
        ends.append(edges)
        spans[part.name] = (first_edge, len(edges))
        n_triangles = len(hard) + 4 * len(numbers)
        parts.append(replace(part, first_triangle=first_triangle, n_triangles=n_triangles))
        first_triangle, first_edge = first_triangle + n_triangles, first_edge + len(edges)
    source = np.concatenate(sources)
    made = replace(
        head,
        triangles=np.concatenate(corners),
        uvs=np.concatenate(uvs),
        labels=head.labels[source],
        lips=head.lips[source],
        materials=head.materials[source],
        parts=tuple(parts),
    )
    result = RoundedHead(made, np.concatenate(ends), spans)
    return replace(result, head=replace(made, regions=result.with_middles(head.regions)))


def _edges(triangles: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Edges [E, 2] of triangles [T, 3], and which of them [T, 3] follows each corner."""
    sides = np.sort(np.stack([triangles, triangles[:, [1, 2, 0]]], axis=-1).reshape(-1, 2), axis=1).astype(np.int64)
    keys, inverse = np.unique(sides[:, 0] << 32 | sides[:, 1], return_inverse=True)
    edges = np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1).astype(np.int32)
    return edges, inverse.reshape(-1, 3).astype(np.int32)


def _parted(corners: NDArray, middles: NDArray) -> NDArray:
    """Each triangle [T, 3, ...] as four [4 T, 3, ...]; `middles` [T, 3, ...] follow the corners."""
    (a, b, c), (ab, bc, ca) = np.moveaxis(corners, 1, 0), np.moveaxis(middles, 1, 0)
    four = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    stacked = np.stack([np.stack(each, axis=1) for each in four], axis=1)
    return stacked.reshape(-1, *corners.shape[1:])
