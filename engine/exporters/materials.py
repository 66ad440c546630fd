"""What each piece of an exported character is made of: a picture, an opacity rule and a roughness."""

from dataclasses import dataclass, replace
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import atlas, glasses, textures
from engine.exporters.normal_map import strand_normals
from engine.exporters.skin import detailed_skin, plain_skin
from engine.renderer import Renderer

Bytes = NDArray[np.uint8]

# Hair pictures are grey strands of mean brightness ½; the renderer's shading gives them colour in the same way.
STRAND_FLOOR, STRAND_GAIN = 0.10, 1.8
BROW_SHADE, LASH_SHADE = 0.75, 0.25
LENS_SHEEN, LENS_SHADE = 0.04, 0.1  # opacity of a lens beside what it takes of the light; its colour beside its tint
JPEG_QUALITY, FULL_COLOUR = 93, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
CORNEA_SHEEN = 0.2  # opacity of what covers the iris: glTF dims the highlight with it, so not 0
IRIS_ROUGHNESS, IRIS_COLOUR = 0.4, (1.0, 1.0, 1.0)  # of eyes behind a cornea, which has the highlights and takes light
EYE_COLOUR = (0.72, 0.72, 0.72)
# No viewer works out how little light reaches the inside of a mouth: it is in the picture of the teeth, and here.
TOOTH_COLOUR, MOUTH_COLOUR = (0.85, 0.85, 0.85), (0.30, 0.30, 0.30)
STRANDS = ("hair", "beard")


class Alpha(StrEnum):
    """How the opacity in a picture is used, in glTF's words."""

    OPAQUE = "OPAQUE"
    MASK = "MASK"
    BLEND = "BLEND"


@dataclass(frozen=True)
class Material:
    """picture [H, W, 3 or 4] sRGB uint8, or none; colour: linear RGB that multiplies it; normals [H, W, 3]; surface
    [H, W, 3]: occlusion, roughness and metal, which then stand for the numbers."""

    name: str
    picture: Bytes | None
    roughness: float
    alpha: Alpha = Alpha.OPAQUE
    double_sided: bool = False
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    normals: Bytes | None = None
    surface: Bytes | None = None
    opacity: float = 1.0  # of all of it, where it is blended
    metal: float = 0.0


# Blended cards are drawn in any order: right for one thin sheet over the skin, wrong for the many sheets of hair.
RULES = {
    "eyes": (0.08, Alpha.MASK, False),
    "lashes": (0.7, Alpha.BLEND, True),
    "brows": (0.8, Alpha.BLEND, True),
    "hair": (0.7, Alpha.MASK, True),
    "beard": (0.75, Alpha.MASK, True),
}


def materials(
    renderer: Renderer, sliders: NDArray[np.float32], choices: NDArray[np.int64], side: int | None = textures.SIDE
) -> dict[str, Material]:
    """Materials of skin, mouth, teeth, eyes, and of the lashes, brows, hair and glasses that the character wears.

    Args:
        sliders: [S].
        choices: [G] choice numbers.
        side: texels of a side of the skin's pictures; None leaves it as the engine paints it, which is fast.
    """
    skin = detailed_skin(renderer, sliders, choices, side) if side else plain_skin(renderer, sliders, choices)
    made = {
        "skin": Material("skin", skin.colour, roughness=0.55, normals=skin.normals, surface=skin.surface),
        "mouth": Material("mouth", skin.colour, roughness=0.25, colour=MOUTH_COLOUR),
        "teeth": Material("teeth", teeth_picture(renderer), 0.3, double_sided=True, colour=TOOTH_COLOUR),
        "cornea": Material("cornea", None, 0.03, Alpha.BLEND, colour=(0.0, 0.0, 0.0), opacity=CORNEA_SHEEN),
    }
    made |= _glasses(renderer, sliders, choices)
    for group, (roughness, alpha, double_sided) in RULES.items():
        picture = worn_picture(renderer, group, sliders, choices)
        if picture is not None:
            colour = EYE_COLOUR if group == "eyes" else (1.0, 1.0, 1.0)
            relief = strand_normals(picture) if group in STRANDS else None
            made[group] = Material(group, picture, roughness, alpha, double_sided, colour, relief)
    made["irises"] = replace(made["eyes"], roughness=IRIS_ROUGHNESS, colour=IRIS_COLOUR)
    return made


def _glasses(renderer: Renderer, sliders: NDArray[np.float32], choices: NDArray[np.int64]) -> dict[str, Material]:
    """The frame and the lenses that a character wears."""
    frame = worn_picture(renderer, "glasses", sliders, choices)
    if frame is None:
        return {}
    schema = renderer.schema
    choice = schema.group("glasses").choices[int(choices[schema.group_index["glasses"]])]
    metal = glasses.FINISHES[glasses.finish_of(choice)].metal
    tint = np.array(glasses.tint_of(choice))
    # A filter adds next to no light of its own to what it lets through.
    opacity = float(1.0 - tint.mean()) + LENS_SHEEN
    red, green, blue = (LENS_SHADE * tint).tolist()
    lens = Material("lenses", None, 0.02, Alpha.BLEND, True, (red, green, blue), opacity=opacity)
    return {"glasses": Material("glasses", frame[..., :3], 0.3, double_sided=True, metal=metal), "lenses": lens}


def worn_picture(
    renderer: Renderer, group: str, sliders: NDArray[np.float32], choices: NDArray[np.integer]
) -> Bytes | None:
    """The picture [512, 512, 4] of eyes, or of what a character of sliders [S] and choice numbers [G] wears; None where
    it wears none."""
    schema = renderer.schema
    if group not in schema.group_index:
        return None
    chosen = schema.group(group).choices[int(choices[schema.group_index[group]])]
    number = renderer.textures.layer.get(f"{group}/{chosen}")
    if number is None:
        return None
    picture = renderer.textures.stack[number]
    if group in ("eyes", "glasses"):
        return picture
    return _coloured(group, picture, textures.hair_colours(schema, sliders[None], choices[None])[0])


def teeth_picture(renderer: Renderer) -> Bytes:
    """Teeth and gums [512, 512, 3], darker the farther back they are."""
    head, part = renderer.head, renderer.head.part["teeth"]
    drawn = slice(part.first_triangle, part.first_triangle + part.n_triangles)
    open_share = atlas.rasterise(head.uvs[drawn], renderer.openness[head.triangles[drawn]][..., None])
    dark = np.nan_to_num(open_share, nan=float(np.nanmean(open_share)))
    colour = renderer.textures.stack[renderer.textures.layer[textures.TEETH]][..., :3]
    # Display values are about the square root of light.
    return (colour * np.sqrt(dark) + 0.5).astype(np.uint8)


def _coloured(group: str, grey: Bytes, colour: NDArray[np.float32]) -> Bytes:
    """A picture [H, W, 4] of hairs, in a linear RGB colour."""
    if group in STRANDS:
        strand = STRAND_FLOOR + STRAND_GAIN * (grey[..., :1].astype(np.float32) / 255.0) ** 2
    else:
        strand = np.full((*grey.shape[:2], 1), BROW_SHADE if group == "brows" else LASH_SHADE, np.float32)
    rgb = (to_srgb(colour * strand) * 255.0 + 0.5).astype(np.uint8)
    return np.dstack([rgb, grey[..., 3:]])


def to_srgb(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light to sRGB, both in [0, 1] (IEC 61966-2-1)."""
    value = np.clip(linear, 0.0, 1.0)
    return np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1.0 / 2.4) - 0.055)


def as_png(picture: Bytes) -> bytes:
    """A picture [H, W, 3 or 4] as a PNG file; the same picture gives the same bytes."""
    code = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, code), [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise ValueError(f"OpenCV cannot write a picture of shape {picture.shape} as PNG")
    return data.tobytes()


def as_file(picture: Bytes) -> tuple[str, bytes]:
    """A picture [H, W, 3 or 4] as a file: its media type and its bytes, the same for the same picture. Large ones
    without opacity are JPEG with colours at full resolution: a sixth of a PNG."""
    if picture.shape[2] == 4 or len(picture) <= textures.SIDE:
        return "image/png", as_png(picture)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, FULL_COLOUR]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"OpenCV cannot write a picture of shape {picture.shape} as JPEG")
    return "image/jpeg", data.tobytes()
