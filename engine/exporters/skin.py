"""The skin of an exported character at any resolution: colours, normals, and how rough and how hidden from light it is.

The engine paints 512² texels, .8 mm each on the face. Larger pictures get what lies between them: fine pores.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import atlas
from engine.atlas import SIDE
from engine.exporters.normal_map import normal_map, texel_sizes
from engine.exporters.seams import seamless
from engine.head import SKIN
from engine.materials import skin_texels
from engine.renderer import Renderer

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

ROUGH, LIP_ROUGH, OILY = 0.58, 0.36, -0.14  # roughness of skin, of lips, and what forehead and nose have less
OILY_PLACE, OILY_SIZE = (0.0, 0.01, 0.035), (0.026, 0.055, 0.045)  # metres on the template: the T-zone
PORE_ROUGHNESS = 0.10  # roughness that a texel gains for the deepest pores
PORE_SIZE, PORE_DEPTH = 0.45, 6.0  # texels of 512; of 255 parts of the engine's relief
PORE_SHADE = 0.035  # share of the light that a pore swallows
PORE_SEED = 14
MOST_STRETCHED = 2.2  # how many times longer than wide a texel may be where there are pores at all


@dataclass(frozen=True)
class SkinPictures:
    """[side, side, 3] each: colour sRGB, normals in tangent space, surface (occlusion, roughness, metal) or none."""

    colour: Bytes
    normals: Bytes
    surface: Bytes | None = None


def plain_skin(renderer: Renderer, sliders: NDArray[np.float32], choices: NDArray[np.integer]) -> SkinPictures:
    """The skin of sliders [S] and choice numbers [G] as the engine paints it: colours and normals, 512² texels."""
    painted = _painted(renderer, sliders, choices)
    return SkinPictures(painted[..., :3], normal_map(renderer.head, painted[..., 3]))


def detailed_skin(
    renderer: Renderer, sliders: NDArray[np.float32], choices: NDArray[np.integer], side: int
) -> SkinPictures:
    """The skin of sliders [S] and choice numbers [G] at side² texels."""
    painted = _painted(renderer, sliders, choices)
    fields = _fields(renderer)
    colour, height = seamless(renderer.head, painted[..., :3]), painted[..., 3].astype(np.float32)
    if side > SIDE:
        colour, height, fields = (_enlarged(picture, side) for picture in (colour, height, fields))
        pores = _pores(side) * fields[..., 1]
        height = height - PORE_DEPTH * pores
        colour = (colour * (1.0 - PORE_SHADE * pores[..., None])).clip(0, 255).astype(np.uint8)
    rough = fields[..., 2] + PORE_ROUGHNESS * ((128.0 - height) / 24.0).clip(-1.0, 1.0)
    surface = np.dstack([fields[..., 0], rough, np.zeros_like(rough)])
    return SkinPictures(
        colour, normal_map(renderer.head, height), (surface * 255.0 + 0.5).clip(0, 255).astype(np.uint8)
    )


def _painted(renderer: Renderer, sliders: NDArray[np.float32], choices: NDArray[np.integer]) -> Bytes:
    """Colour and height [512, 512, 4], without seams."""
    numbers = np.asarray(choices, np.int64)
    painted = renderer.skin_and_height(sliders[None], numbers[None])
    return bled(painted, skin_texels(renderer.head, SIDE))


@lru_cache(maxsize=1)
def _fields(renderer: Renderer) -> Floats:
    """What all characters' skins have in common [512, 512, 3]: occlusion, where pores are, roughness, in [0, 1]."""
    head = renderer.head
    place = np.zeros((head.n_vertices, 3), np.float32)
    place[: head.n_base] = head.template
    oily = np.exp(-(((place - OILY_PLACE) / OILY_SIZE) ** 2).sum(axis=1))
    of_skin = head.materials == SKIN
    values = np.stack([renderer.openness, oily], axis=1)[head.triangles[of_skin]]
    found = atlas.rasterise(head.uvs[of_skin], values)
    used = ~np.isnan(found[..., 0])
    open_sky, oil = (bled(np.nan_to_num(found[..., number]), used) for number in (0, 1))
    lips = renderer.textures.masks[renderer.textures.mask["lips"]].astype(np.float32) / 255.0
    rough = ROUGH + OILY * oil
    rough += lips * (LIP_ROUGH - rough)
    open_sky = open_sky.clip(0.0, 1.0)
    # Where the layout is stretched, pores would be streaks.
    sizes = texel_sizes(head, SIDE)
    stretched = sizes.max(axis=2) / sizes.min(axis=2)
    porous = (1.0 - lips) * open_sky * ((MOST_STRETCHED - stretched) / (MOST_STRETCHED - 1.5)).clip(0.0, 1.0)
    return np.dstack([open_sky, porous, rough]).astype(np.float32)


def _enlarged(picture: NDArray, side: int) -> NDArray:
    enlarged = cv2.resize(picture.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return enlarged.clip(0, 255).astype(np.uint8) if picture.dtype == np.uint8 else enlarged


def _pores(side: int) -> Floats:
    """How deep the pores are [side, side], about 0 to 1: dents of one size, strewn evenly."""
    noise = np.random.default_rng(PORE_SEED).standard_normal((side, side), dtype=np.float32)
    size = PORE_SIZE * side / SIDE
    band = cv2.GaussianBlur(noise, (0, 0), size) - cv2.GaussianBlur(noise, (0, 0), 2.0 * size)
    return np.maximum(band / (2.0 * band.std()), 0.0).clip(0.0, 1.0)


def bled(picture: NDArray, used: NDArray[np.bool_]) -> NDArray:
    """A picture whose unused texels have the value of the nearest used one: smaller versions of it show no seams."""
    _, found = cv2.distanceTransformWithLabels(
        (~used).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = found.astype(np.int64)
    values = np.zeros((labels.max() + 1, *picture.shape[2:]), picture.dtype)
    values[labels[used]] = picture[used]
    return values[labels]
