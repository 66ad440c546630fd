"""The skin's relief (pores, wrinkles) as the normal map that other programs read, and the tangents it lies in."""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.head import SKIN, Head
from engine.kernels.shade import RELIEF

STEEPEST = 0.6  # as in the renderer's own shading
STRAND_DEPTH = 1.5  # texels that a strand twice as light as the mean lies before it


def normal_map(head: Head, height: NDArray[np.floating | np.uint8]) -> NDArray[np.uint8]:
    """Heights [side, side] in the layout of the skin's texture to tangent-space normals [side, side, 3], green up."""
    side = len(height)
    metres = height.astype(np.float32) * (RELIEF / 255.0)
    # A kernel of 3 over 8 texels: the slope a texel, smooth across it.
    across = cv2.Sobel(metres, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(metres, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    texel = texel_sizes(head, side)
    slope = np.dstack([-across / texel[..., 0], down / texel[..., 1]])
    slope /= np.maximum(1.0, np.linalg.norm(slope, axis=2, keepdims=True) / STEEPEST)
    normal = np.dstack([slope, np.ones_like(across)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    return (normal * 127.5 + 128.0).clip(0, 255).astype(np.uint8)


def strand_normals(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tangent-space normals [side, side, 3] of hair from its picture [side, side, 4]: light strands lie before dark."""
    grey = cv2.GaussianBlur(picture[..., :3].mean(axis=2).astype(np.float32), (0, 0), 0.8)
    level = grey / max(float(grey[picture[..., 3] > 0].mean()) if (picture[..., 3] > 0).any() else 1.0, 1.0)
    across = cv2.Sobel(level, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(level, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    normal = np.dstack([-STRAND_DEPTH * across, STRAND_DEPTH * down, np.ones_like(level)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    return (normal * 127.5 + 128.0).clip(0, 255).astype(np.uint8)


def tangents(
    points: NDArray[np.float32], normals: NDArray[np.float32], uvs: NDArray[np.float32], triangles: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Unit tangents along u of vertices [P, 3], and in the fourth column [P, 4] the sign of the bitangent up the
    picture."""
    along_u, along_v = _gradients(points, uvs[triangles], triangles)
    tangent, up = np.zeros(points.shape), np.zeros(points.shape)
    for corner in range(3):
        np.add.at(tangent, triangles[:, corner], along_u)
        np.add.at(up, triangles[:, corner], along_v)
    tangent -= (tangent * normals).sum(axis=1, keepdims=True) * normals
    length = np.linalg.norm(tangent, axis=1, keepdims=True)
    anywhere = np.cross(normals, normals[:, [1, 2, 0]] * [1.0, -1.0, 1.0])
    anywhere /= np.maximum(np.linalg.norm(anywhere, axis=1, keepdims=True), 1e-12)
    tangent = np.where(length > 1e-12, tangent / np.maximum(length, 1e-12), anywhere)
    sign = np.where((np.cross(normals, tangent) * up).sum(axis=1) < 0.0, -1.0, 1.0)
    return np.column_stack([tangent, sign]).astype(np.float32)


def _gradients(
    points: NDArray[np.float32], uvs: NDArray[np.float32], triangles: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How the surface of triangles [T, 3] moves with their UVs [T, 3, 2]: metres along u and along v [T, 3]."""
    origin = points[triangles[:, 0]].astype(np.float64)
    first, second = (points[triangles[:, corner]] - origin for corner in (1, 2))
    du, dv = (uvs[:, 1] - uvs[:, 0]).astype(np.float64), (uvs[:, 2] - uvs[:, 0]).astype(np.float64)
    area = du[:, :1] * dv[:, 1:] - dv[:, :1] * du[:, 1:]
    area = np.where(np.abs(area) > 1e-12, area, np.inf)
    return (dv[:, 1:] * first - du[:, 1:] * second) / area, (du[:, :1] * second - dv[:, :1] * first) / area


def texel_sizes(head: Head, side: int) -> NDArray[np.float32]:
    """Width and height [side, side, 2] in metres that a texel has on the template's skin."""
    is_skin = head.materials == SKIN
    triangles, uvs = head.triangles[is_skin], head.uvs[is_skin]
    gradients = _gradients(head.template, uvs, triangles)
    sizes = np.stack([np.linalg.norm(along, axis=1) for along in gradients], axis=1) / side
    found = np.full((side, side, 2), float(np.median(sizes[sizes > 0])), np.float32)
    pixels = np.stack([uvs[..., 0], 1.0 - uvs[..., 1]], axis=-1) * side
    for corners, size in zip(np.round(pixels).astype(np.int32), sizes.tolist(), strict=True):
        if min(size) > 0:
            cv2.fillConvexPoly(found, corners, size)
    return cv2.GaussianBlur(found, (0, 0), 4.0).astype(np.float32)
