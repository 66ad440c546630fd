"""The skin's relief (pores, wrinkles) as the normal map that other programs read."""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.head import SKIN, Head
from engine.kernels.shade import RELIEF

STEEPEST = 0.6  # as in the renderer's own shading


def normal_map(head: Head, height: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Heights [side,side] in the layout of the skin's texture to tangent-space normals [side,side,3], green up."""
    side = len(height)
    metres = height.astype(np.float32) * (RELIEF / 255.0)
    # A kernel of 3 over 8 texels: the slope a texel, smooth across it.
    across = cv2.Sobel(metres, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(metres, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    texel = _texel_sizes(head, side)
    slope = np.dstack([-across / texel[..., 0], down / texel[..., 1]])
    slope /= np.maximum(1.0, np.linalg.norm(slope, axis=2, keepdims=True) / STEEPEST)
    normal = np.dstack([slope, np.ones_like(across)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    return (normal * 127.5 + 128.0).clip(0, 255).astype(np.uint8)


def _texel_sizes(head: Head, side: int) -> NDArray[np.float32]:
    """Width and height [side,side,2] in metres that a texel has on the template's skin."""
    is_skin = head.materials == SKIN
    triangles, uvs = head.triangles[is_skin], head.uvs[is_skin]
    first, second = (head.template[triangles[:, k]] - head.template[triangles[:, 0]] for k in (1, 2))
    du, dv = (uvs[:, 1] - uvs[:, 0]), (uvs[:, 2] - uvs[:, 0])
    area = du[:, :1] * dv[:, 1:] - dv[:, :1] * du[:, 1:]
    area = np.where(np.abs(area) > 1e-12, area, np.inf)
    along_u = (dv[:, 1:] * first - du[:, 1:] * second) / area
    along_v = (du[:, :1] * second - dv[:, :1] * first) / area
    sizes = np.stack([np.linalg.norm(along_u, axis=1), np.linalg.norm(along_v, axis=1)], axis=1) / side
    found = np.full((side, side, 2), float(np.median(sizes[sizes > 0])), np.float32)
    pixels = np.stack([uvs[..., 0], 1.0 - uvs[..., 1]], axis=-1) * side
    for corners, size in zip(np.round(pixels).astype(np.int32), sizes.tolist(), strict=True):
        if min(size) > 0:
            cv2.fillConvexPoly(found, corners, size)
    return cv2.GaussianBlur(found, (0, 0), 4.0).astype(np.float32)
