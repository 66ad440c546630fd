"""The textures of a character where the kernels read them, at full and at half resolution."""

from dataclasses import dataclass

import cv2
import numpy as np
import warp as wp
from numpy.typing import NDArray

from engine.head import SKIN, Head
from engine.kernels.common import vec4ub
from engine.schema import Schema
from engine.textures import Textures

SKINS_A_TONE = 6  # both sexes at three ages
BORDER = 3  # texels that bilinear sampling and a bent border may reach beyond the triangles


@dataclass(frozen=True)
class Materials:
    """One resolution of all textures, on a device.

    `skins` [tones, side², 6] in the order of the choices of the group `skin`, `layers` [L, side²] all textures,
    `opacity` their alpha alone, `masks` [M, side²]; `used` the texels of the skin that the head shows.
    """

    side: int
    skins: wp.array
    layers: wp.array
    opacity: wp.array
    masks: wp.array
    lips: wp.array
    used: wp.array

    @classmethod
    def upload(cls, textures: Textures, schema: Schema, head: Head, device: wp.Device, side: int) -> "Materials":
        """Textures at side² texels."""
        stack = _resized(textures.stack, side)
        masks = _resized(textures.masks, side).reshape(len(textures.masks), -1)
        tones = schema.group("skin").choices
        firsts = [textures.layer[f"skin/{tone}"] for tone in tones]
        skins = np.empty((len(tones), side**2, SKINS_A_TONE, 4), np.uint8)
        for tone, first in zip(skins, firsts, strict=True):
            tone[:] = stack[first : first + SKINS_A_TONE].reshape(SKINS_A_TONE, -1, 4).transpose(1, 0, 2)

        def flat(array: NDArray, dtype: object) -> wp.array:
            # Kernels only read these, so on a CPU they need no copy of their own.
            return wp.array(np.ascontiguousarray(array), dtype=dtype, device=device, copy=False)

        return cls(
            side=side,
            skins=flat(skins, vec4ub),
            layers=flat(stack.reshape(len(stack), -1, 4), vec4ub),
            opacity=flat(stack[..., 3].reshape(len(stack), -1), wp.uint8),
            masks=flat(masks, wp.uint8),
            lips=flat(masks[textures.mask["lips"]], wp.uint8),
            used=flat(np.flatnonzero(skin_texels(head, side)).astype(np.int32), int),
        )


def skin_texels(head: Head, side: int) -> NDArray[np.bool_]:
    """Which texels [side, side] of the skin textures the head's triangles cover, with a border."""
    covered = np.zeros((side, side), np.uint8)
    corners = head.uvs[head.materials == SKIN]
    pixels = np.stack([corners[..., 0], 1.0 - corners[..., 1]], axis=-1) * side
    for triangle in np.round(pixels).astype(np.int32):
        cv2.fillConvexPoly(covered, triangle, 1)
    return cv2.dilate(covered, np.ones((2 * BORDER + 1, 2 * BORDER + 1), np.uint8)) > 0


def _resized(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Pictures [N, H, H] or [N, H, H, 4] at side² texels."""
    if images.shape[1] == side:
        return images
    return np.stack(
        [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8) for image in images]
    )
