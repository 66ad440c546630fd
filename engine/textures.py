"""Textures of the embedded character as one stack of 512² RGBA layers, and where in it each one lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 512
SEXES, AGES = ("female", "male"), ("young", "middleage", "old")
# Skin tones, dark to light: the textures they start from, and the mean CIELAB colour of the face they are shifted to.
TONES = {
    "tone1": ("african", (30.0, 11.0, 14.0)),
    "tone2": ("african", (40.0, 13.0, 19.0)),
    "tone3": ("asian", (51.0, 14.0, 22.0)),
    "tone4": ("asian", (60.0, 13.0, 21.0)),
    "tone5": ("caucasian", (68.0, 12.0, 18.0)),
    "tone6": ("caucasian", (75.0, 11.0, 14.0)),
}
# Where the face lies in the skin textures, in pixels: rows, columns.
FACE_ROWS, FACE_COLUMNS = slice(210, 320), slice(380, 490)
# Linear RGB reflectance of melanin-coloured hair.
HAIR_COLOURS = {
    "black": (0.012, 0.011, 0.011),
    "dark_brown": (0.045, 0.027, 0.018),
    "brown": (0.11, 0.062, 0.036),
    "auburn": (0.16, 0.055, 0.025),
    "blond": (0.42, 0.29, 0.15),
    "grey": (0.40, 0.39, 0.38),
}
EYE_TINTS = {"brown": (0.60, 0.82, 1.0)}  # the package's brown iris is red
LIP_COLOURS = {"natural": (0.0, 0.0, 0.0, 0.0), "rose": (0.42, 0.10, 0.12, 0.45), "red": (0.33, 0.012, 0.025, 0.75)}


@dataclass(frozen=True)
class Textures:
    """stack [L,512,512,4] uint8 sRGB; `layer` gives the first layer of a name (a skin tone has six: sex × age)."""

    stack: NDArray[np.uint8]
    layer: dict[str, int]


def load(folder: Path, *, brows: Sequence[str], hair: Sequence[str], eyes: Sequence[str]) -> Textures:
    """Read the textures of some choices from `data/embedded/character`."""
    layers: list[NDArray[np.uint8]] = []
    first: dict[str, int] = {}
    for tone, (ancestry, lab) in TONES.items():
        first[f"skin/{tone}"] = len(layers)
        layers += [
            _opaque(_recolour(_read(folder / "skins" / f"{ancestry}_{s}_{a}.png"), lab)) for s in SEXES for a in AGES
        ]
    sources = [(f"hair/{n}", folder / "hair" / f"{n}.png", 1.0, 1.0) for n in hair]
    sources += [(f"brows/{n}", folder / "brows" / f"{n}.png", 2.0, 1.5) for n in brows]
    sources += [(f"eyes/{n}", folder / "eyes" / f"{n}.png", 0.0, 1.0) for n in eyes]
    sources += [("lashes", folder / "lashes.png", 1.2, 0.8)]
    for name, path, blur, gain in sources:
        first[name] = len(layers)
        layers.append(_prefilter(_read(path), blur, gain))
        if name.startswith("hair/"):
            layers[-1] = _even_out(layers[-1])
        tint = np.array([*EYE_TINTS.get(name.removeprefix("eyes/"), (1.0, 1.0, 1.0)), 1.0])
        layers[-1] = _tint_iris(layers[-1], tint) if name.startswith("eyes/") else layers[-1]
    first["lips"] = len(layers)
    layers.append(_opaque(_read(folder / "lips.jpg")))
    return Textures(np.stack(layers), first)


def _read(path: Path) -> NDArray[np.uint8]:
    """An image file as RGBA [512,512,4]."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FileNotFoundError(f"no readable texture {path}")
    code = {2: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA}.get(
        image.ndim if image.ndim == 2 else image.shape[2], cv2.COLOR_BGRA2RGBA
    )
    return cv2.resize(cv2.cvtColor(image, code), (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _opaque(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([rgb[..., :3], np.full(rgb.shape[:2], 255, np.uint8)])


def _recolour(rgba: NDArray[np.uint8], target: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Shift a skin texture in CIELAB so that its face has the target's mean colour."""
    lab = cv2.cvtColor(rgba[..., :3].astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    face = lab[FACE_ROWS, FACE_COLUMNS].reshape(-1, 3)
    lab = lab + (np.array(target, np.float32) - np.median(face, axis=0))
    rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
    return (rgb.clip(0, 1) * 255.0 + 0.5).astype(np.uint8)


def _prefilter(rgba: NDArray[np.uint8], blur: float, gain: float) -> NDArray[np.uint8]:
    """Blur with premultiplied alpha: thin hairs do not alias, and no background colour bleeds into their edges.

    `gain` makes up for the opacity that thin hairs lose.
    """
    if blur == 0.0:
        return rgba
    alpha = rgba[..., 3:].astype(np.float32) / 255.0
    colour = cv2.GaussianBlur(rgba[..., :3] * alpha, (0, 0), blur)
    wide_colour, wide_alpha = (
        cv2.GaussianBlur(rgba[..., :3] * alpha, (0, 0), 12.0),
        cv2.GaussianBlur(alpha, (0, 0), 12.0),
    )
    alpha = cv2.GaussianBlur(alpha, (0, 0), blur)[..., None]
    fill = wide_colour / np.maximum(wide_alpha[..., None], 1e-3)
    straight = np.where(alpha > 0.02, colour / np.maximum(alpha, 0.02), fill)
    return (np.dstack([straight, alpha * gain * 255.0]) + 0.5).clip(0, 255).astype(np.uint8)


def _tint_iris(rgba: NDArray[np.uint8], tint: NDArray) -> NDArray[np.uint8]:
    """Multiply the saturated part of an eye texture, which is the iris, by a colour."""
    rgb = rgba[..., :3].astype(np.float32)
    saturation = ((rgb.max(axis=2) - rgb.min(axis=2)) / np.maximum(rgb.max(axis=2), 1.0))[..., None]
    share = ((saturation - 0.25) / 0.25).clip(0, 1)
    return (rgba * (1 - share + share * tint) + 0.5).clip(0, 255).astype(np.uint8)


def _even_out(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A hair texture as grey strands whose mean linear brightness is one half, so that the hair colour decides the
    rest."""
    linear = (rgba[..., :3] @ np.array([0.3, 0.55, 0.15], np.float32) / 255.0) ** 2
    mean = np.average(linear, weights=rgba[..., 3] + 1e-3)
    spread = (linear / max(mean, 1e-4)) ** 0.6
    spread *= 0.5 / np.average(spread, weights=rgba[..., 3] + 1e-3)
    grey = (spread.clip(0, 1) ** 0.5 * 255.0 + 0.5).astype(np.uint8)
    return np.dstack([grey, grey, grey, rgba[..., 3]])
