"""Skin layers: MakeHuman's textures in the character's layout, in six tones, with relief.

The sources hold 2 mm a texel and hair on the head; here the scalp is bare, and mottling and pores that the sources
are too coarse for are added.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import atlas, paint
from engine.atlas import SIDE
from engine.wrinkles import Wrinkles

Floats = NDArray[np.float32]

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
# How old skin is (0 young, ½ middle-aged, 1 old) at values of the slider: old from 72 years on.
AGE_KNOTS, AGE_SHOWN = (0.0, 0.10, 0.36, 0.72), (0.0, 0.08, 0.50, 1.0)
# The middle of the face, in texels: rows, columns.
FACE = (slice(130, 380), slice(200, 460))
# Where blood shows: place on the template in metres (either side), radius, strength in CIELAB's a*.
BLOOD = (((0.040, -0.035, 0.005), 0.018, 3.0), ((0.0, -0.035, 0.045), 0.012, 2.5), ((0.075, -0.01, -0.08), 0.022, 2.5))
# Beside the face's median, CIELAB: how far the lids may differ, what dark lips lack of pigment and blood.
LID_DARKEST, LID_LIGHTEST = (-25.0, -6.0, -8.0), (3.0, 10.0, 8.0)
DARK_LIPS = (-5.0, 4.0, 0.0)
# How much stronger folds and spots are than MakeHuman paints them, and their size, texels.
FOLDS, FOLD_SIZE = {"middleage": 1.15, "old": 1.4}, 6.0
# What is wet and red in a mouth, mean CIELAB: MakeHuman paints both as skin.
MOUTH_TONES = {"mouth": (30.0, 26.0, 13.0), "tongue": (54.0, 27.0, 14.0)}
SCALP_TONE = (-2.0, -0.5, -1.0)  # the bare scalp beside the face, CIELAB


def age_of(slider: NDArray[np.floating]) -> Floats:
    """How old the skin of faces is [B], 0 young, ½ middle-aged, 1 old, from their slider of age."""
    return np.interp(slider, AGE_KNOTS, AGE_SHOWN).astype(np.float32)


class Skins:
    """Makes the six layers (female and male at three ages) of a tone; sources are read once."""

    def __init__(self, folder: Path, masks: dict[str, NDArray[np.uint8]], place: Floats) -> None:
        self.folder = folder
        self.lips = masks["lips"][..., None].astype(np.float32) / 255.0
        # Lips and lids have no pores, and no wrinkles that light could catch.
        soft = cv2.GaussianBlur(np.maximum(masks["lips"], masks["eyelids"]), (0, 0), 3.0).astype(np.float32) / 255.0
        self.scalp, self.edge = _scalp(place, masks["ears"])
        self.rough = (1.0 - np.maximum(soft, self.lips[..., 0])) * (1.0 - 0.8 * self.scalp)
        near = cv2.dilate(masks["eyelids"], np.ones((9, 9), np.uint8))
        self.lids = cv2.GaussianBlur(near, (0, 0), 2.0)[..., None].astype(np.float32) / 255.0
        self.wrinkles = Wrinkles(place, self.rough, self.lips[..., 0])
        # On the small island of the neck a texel is a centimetre wide.
        fine = atlas.inside("head")
        self.pores = _grain(5, 0.8, 2.2) * fine
        self.mottling = _mottling(place) * (fine * (1.0 - soft))[..., None]
        self.skin = atlas.inside("head", "neck")[..., None]
        self.mouth = {name: atlas.inside(name)[..., None] for name in MOUTH_TONES}
        self.sources: dict[str, tuple[Floats, NDArray[np.uint8]]] = {}

    def tone(self, tone: str) -> list[NDArray[np.uint8]]:
        """RGBA layers [512, 512, 4] of a tone, sex by sex, young to old; alpha is height, 128 neutral."""
        ancestry, target = TONES[tone]
        return [self._layer(f"{ancestry}_{s}_{a}", np.array(target, np.float32)) for s in SEXES for a in AGES]

    def _layer(self, name: str, target: Floats) -> NDArray[np.uint8]:
        if name not in self.sources:
            self.sources[name] = self._source(name)
        lab, height = self.sources[name]
        # Dark skin shows blood, mottling and wrinkles less.
        drawn = self.mottling + self.wrinkles.colour(name.split("_")[2])
        shifted = np.where(self.skin, lab + target + drawn * (0.4 + target[0] / 125.0), lab)
        rgb = cv2.cvtColor(shifted.astype(np.float32), cv2.COLOR_LAB2RGB)
        return np.dstack([(rgb.clip(0, 1) * 255.0 + 0.5).astype(np.uint8), height])

    def _source(self, name: str) -> tuple[Floats, NDArray[np.uint8]]:
        """A texture in CIELAB [512, 512, 3], of skin only what differs from the face's median; and its relief."""
        path = self.folder / f"{name}.png"
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            raise FileNotFoundError(f"no readable texture {path}")
        lab = cv2.cvtColor(atlas.warp(picture.astype(np.uint8)).astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
        height = self._height(name, np.asarray(lab[..., 0], np.float32))
        for part, region in self.mouth.items():
            middle = np.median(lab[region[..., 0]], axis=0)
            lab = np.where(region, lab - middle + np.array(MOUTH_TONES[part], np.float32), lab)
        lab[..., :2] += self._folds(name, np.asarray(lab[..., :2], np.float32))
        difference = lab - np.median(lab[FACE].reshape(-1, 3), axis=0)
        # An eye is painted between the lids; on dark skin its white would frame the real one.
        difference += self.lids * (difference.clip(LID_DARKEST, LID_LIGHTEST) - difference)
        if name.startswith("african"):
            difference += self.lips * np.array(DARK_LIPS, np.float32)
        # Hair is printed on the scalp of the sources: keep a little of its grain, none of its colour.
        level = cv2.GaussianBlur(difference, (0, 0), 5.0)
        fine = difference - level
        rough = np.sqrt(cv2.GaussianBlur(fine[..., 0] ** 2, (0, 0), 5.0))
        printed = np.maximum(paint.ramp(-level[..., 0], 1.5, 6.0), paint.ramp(rough, 1.5, 3.0))
        hair = np.maximum(self.scalp, self.edge * printed)[..., None]
        bare = 0.25 * fine.clip(-6, 6) + np.array(SCALP_TONE, np.float32)
        return np.where(self.skin, difference + hair * (bare - difference), lab).astype(np.float32), height

    def _folds(self, name: str, colour: Floats) -> Floats:
        """What is added to lightness and redness [512, 512, 2] for the folds and spots of an age to be seen."""
        fine = colour - cv2.GaussianBlur(colour, (0, 0), FOLD_SIZE)
        share = np.float32(FOLDS.get(name.split("_")[2], 0.0))
        return np.asarray(share * self.rough[..., None] * fine.clip(-10.0, 10.0) * (1.0, 0.6), np.float32)

    def _height(self, name: str, lightness: Floats) -> NDArray[np.uint8]:
        """Folds and wrinkles are darker than what surrounds them; pores are too fine for the source."""
        fine = cv2.GaussianBlur(lightness, (0, 0), 1.0) - cv2.GaussianBlur(lightness, (0, 0), 6.0)
        relief = self.rough * (24.0 * np.tanh(fine / 3.0) + 5.0 * self.pores) + self.wrinkles.relief(name.split("_")[2])
        return (128.5 + relief).clip(0, 255).astype(np.uint8)


def _scalp(place: Floats, ears: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Where hair is printed on the sources [512, 512], for certain and where it is dark."""
    known = (np.abs(place[..., 1]) < 1).astype(np.uint8)
    region = cv2.dilate((paint.scalp_region(place) > 0.5).astype(np.uint8), np.ones((9, 9), np.uint8))
    beyond = cv2.dilate(region, np.ones((61, 61), np.uint8)) * (1 - known)  # past the rim of the island
    certain = cv2.GaussianBlur(np.maximum(region, beyond).astype(np.float32), (0, 0), 6.0)
    _, y, z = np.moveaxis(place, -1, 0)
    brow, temple = paint.ramp(y, 0.042, 0.055), paint.ramp(-z, 0.006, 0.018) * paint.ramp(y, 0.002, 0.014)
    outer = np.maximum.reduce([brow, temple, paint.ramp(-z, 0.026, 0.040) * paint.ramp(y, -0.085, -0.070)])
    ear = cv2.GaussianBlur(cv2.dilate(ears, np.ones((5, 5), np.uint8)), (0, 0), 2.0) / np.float32(255)
    return (certain * (1 - ear)).astype(np.float32), (outer * known * (1 - ear)).astype(np.float32)


def _grain(seed: int, fine: float, coarse: float) -> Floats:
    """Noise [512, 512] between two scales (texels), with mean 0 and deviation 1."""
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), fine) - cv2.GaussianBlur(noise, (0, 0), coarse)
    return np.asarray(grain / grain.std(), np.float32)


def _mottling(place: Floats) -> Floats:
    """What blood and pigment add to an even skin, CIELAB [512, 512, 3]."""
    x, y, z = np.moveaxis(place, -1, 0)
    flush = np.zeros(x.shape, np.float32)
    for (bx, by, bz), radius, strength in BLOOD:
        distance = ((np.abs(x) - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2) / radius**2
        flush += strength * np.exp(-distance)
    patches, spots, grain = _grain(21, 4.0, 14.0), _grain(22, 1.2, 4.0), _grain(23, 0.6, 1.5)
    lightness = 0.5 * patches + 0.5 * spots + 0.8 * grain - 0.3 * flush
    redness = 0.8 * patches + 0.6 * spots + flush * (1.0 + 0.25 * spots)
    return np.stack([lightness, redness, 0.4 * _grain(24, 3.0, 10.0) + 0.2 * flush], axis=-1).astype(np.float32)
