"""Triangles and their vertices: joined where they are one, their normals, and how large vectors are."""

import numpy as np
from numpy.typing import NDArray


def largest(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest component of each vector [V, 3], by amount."""
    # Three columns: NumPy reduces a short last axis slowly.
    x, y, z = np.abs(vectors).T
    return np.maximum(np.maximum(x, y), z)


def welded(
    triangles: NDArray[np.integer], uvs: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Triangles [T, 3] with UVs [T, 3, 2] as vertices that have one UV each: which vertices they come from [P], their
    UVs [P, 2] and the triangles between them [T, 3]."""
    corners, flat = triangles.ravel().astype(np.int64), uvs.reshape(-1, 2)
    # Texture coordinates that differ by less than a hundredth of a texel are one.
    keys = np.column_stack([corners, np.round(flat * 50_000.0).astype(np.int64)])
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return corners[first], flat[first], inverse.reshape(-1, 3)


def vertex_normals(vertices: NDArray[np.float32], triangles: NDArray[np.integer]) -> NDArray[np.float32]:
    """Unit normals [V, 3], averages of the triangles [T, 3] around weighted by area."""
    return unit(summed_around(cross_products(vertices, triangles), triangles, len(vertices)))


def cross_products(vertices: NDArray[np.float32], triangles: NDArray[np.integer]) -> NDArray[np.float64]:
    """Normals of triangles [T, 3], as long as twice their area."""
    a, b, c = (vertices[triangles[:, corner]].astype(np.float64) for corner in range(3))
    (x, y, z), (u, v, w) = (b - a).T, (c - a).T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)


def summed_around(values: NDArray[np.float64], triangles: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Sum of the values [T, 3] of the triangles around each of `count` vertices."""
    corners = triangles.ravel()
    columns = [np.bincount(corners, np.repeat(column, 3), count) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float64)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Vectors [V, 3] at length 1; +Z where there is none."""
    length = np.sqrt(np.einsum("vx,vx->v", vectors, vectors))[:, None]
    forward = np.array([0.0, 0.0, 1.0])
    return np.where(length > 1e-18, vectors / np.maximum(length, 1e-18), forward).astype(np.float32)
