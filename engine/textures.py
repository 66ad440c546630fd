"""Textures of the embedded character: a stack of 512² RGBA layers, masks of what is painted on skin, and their places.

The alpha of a skin layer is its height for bump mapping, 128 neutral; that of the others is opacity.
"""

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import atlas, beards, cache, fringe, glasses, hair, hair_shaping, paint, skins, wrinkles
from engine.atlas import SIDE
from engine.head import Head
from engine.schema import Schema
from engine.tints import tinted

# Linear RGB reflectance of melanin-coloured hair.
HAIR_COLOURS = {
    "black": (0.012, 0.011, 0.011),
    "dark_brown": (0.034, 0.020, 0.013),
    "brown": (0.082, 0.045, 0.026),
    "light_brown": (0.17, 0.100, 0.056),
    "auburn": (0.12, 0.036, 0.016),
    "copper": (0.28, 0.090, 0.029),
    "blond": (0.42, 0.29, 0.15),
    "light_blond": (0.60, 0.46, 0.27),
    "platinum": (0.72, 0.65, 0.54),
    "grey": (0.40, 0.39, 0.38),
    "white": (0.74, 0.73, 0.71),
}
STRAND_CONTRAST, STRAND_REACH = 0.34, 14  # of single strands in the hair, and how many texels they go straight on
COILED = {"afro01": 340}  # whose strands are tight coils, and above which row: below it curls are drawn one by one
COILS, COIL_RADII, COIL_GREY = 16_000, (1.3, 2.6), (110, 235)  # radii in texels
CURL_GREY, CURL_SHARE = 150, 0.5  # what curls tend to, and what is left of their contrast
DEFAULT_HAIR_COLOUR = "dark_brown"  # of a character without the group `hair_colour`
IRIS_OF = {"dark_brown": "brown"}  # made from another one's picture
# The mean colour of each iris, CIELAB, as photos of eyes have it.
IRISES = {
    "dark_brown": (17.0, 6.0, 7.0),
    "brown": (25.0, 11.0, 14.0),
    "brownlight": (41.0, 10.0, 25.0),
    "green": (43.0, -5.0, 16.0),
    "bluegreen": (47.0, -9.0, -1.0),
    "grey": (53.0, -1.0, -3.0),
    "blue": (46.0, -4.0, -13.0),
    "deepblue": (38.0, -1.0, -18.0),
    "lightblue": (54.0, -5.0, -12.0),
    "ice": (60.0, -4.0, -6.0),
}
IRIS_PLACES, IRIS, PUPIL = ((150.0, 360.0), (361.0, 151.0)), 59.0, 17.0  # columns and rows, radii in texels
IRIS_CONTRAST, LIMBUS = np.array([0.6, 0.4, 0.4], np.float32), 14.0  # of the picture's own; how much darker the rim is

TEETH = "teeth"  # the one layer that nobody chooses
IVORY = (1.12, 1.08, 0.99)  # by which MakeHuman's grey teeth are multiplied; gums stay as they are
GAINS = {"lashes01": 0.5}  # MakeHuman's shortest lashes are still as dense as mascara makes them

PAINTS = ("lips", "eye_makeup", "beard", "scalp")  # in the order of painting
GROWN = {"beard": "beard", "scalp": "hair"}  # what has the colour of the hair, and the group that says whether it grows
BEARD_SHADE = 0.8  # a beard is a little darker than the hair on the head, and so are its roots
# Linear RGB and opacity.
LIP_COLOURS = {
    "natural": (0.0, 0.0, 0.0, 0.0),
    "nude": (0.42, 0.20, 0.15, 0.50),
    "coral": (0.55, 0.12, 0.08, 0.55),
    "rose": (0.42, 0.10, 0.12, 0.50),
    "red": (0.33, 0.012, 0.025, 0.75),
    "plum": (0.12, 0.012, 0.045, 0.72),
}
# The shape of the mask, then linear RGB and opacity.
EYE_COLOURS = {
    "none": ("", (0.0, 0.0, 0.0, 0.0)),
    "liner": ("liner", (0.010, 0.009, 0.010, 0.90)),
    "smoky": ("smoky", (0.025, 0.022, 0.026, 0.75)),
    "brown": ("shadow", (0.120, 0.050, 0.030, 0.60)),
    "blue": ("shadow", (0.050, 0.120, 0.300, 0.55)),
    "green": ("shadow", (0.045, 0.150, 0.090, 0.50)),
}


@dataclass(frozen=True)
class Textures:
    """stack [L, 512, 512, 4] uint8 sRGB RGBA; `layer` gives the first layer of a name (a skin tone has six: sex × age).

    masks [M, 512, 512] uint8 in the layout of the skin; `mask` gives the number of a name.
    """

    stack: NDArray[np.uint8]
    layer: dict[str, int]
    masks: NDArray[np.uint8]
    mask: dict[str, int]


def load(folder: Path, schema: Schema) -> Textures:
    """Read and paint what the choices of a schema need, from `data/embedded/character`; kept for the next renderer and
    for the next process."""
    return _load(folder, tuple((group.name, group.choices) for group in schema.groups))


@lru_cache(maxsize=1)
def _load(folder: Path, groups: tuple[tuple[str, tuple[str, ...]], ...]) -> Textures:
    code = cache.code(sys.modules[__name__], atlas, beards, fringe, glasses, hair, hair_shaping, paint, skins, wrinkles)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    held = cache.arrays("textures", [*code, *files], repr(groups), lambda: _packed(_make(folder, groups)))
    layer, mask = (
        {str(name): int(number) for name, number in zip(held[f"{kind}_names"], held[f"{kind}_numbers"], strict=True)}
        for kind in ("layer", "mask")
    )
    return Textures(held["stack"], layer, held["masks"], mask)


def _packed(made: Textures) -> dict[str, NDArray]:
    packed: dict[str, NDArray] = {"stack": made.stack, "masks": made.masks}
    for kind, numbers in (("layer", made.layer), ("mask", made.mask)):
        packed |= {f"{kind}_names": np.array(list(numbers)), f"{kind}_numbers": np.array(list(numbers.values()))}
    return packed


def _make(folder: Path, groups: tuple[tuple[str, tuple[str, ...]], ...]) -> Textures:
    layers: list[NDArray[np.uint8]] = []
    first: dict[str, int] = {}
    chosen = {name: [choice for choice in choices if choice != "none"] for name, choices in groups}
    masks = {name: paint.mask(folder / "masks" / f"{name}.jpg") for name in ("lips", "eyelids", "ears")}
    head = Head.load(folder)
    place = paint.positions(head)
    tones = skins.Skins(folder / "skins", masks, place)
    for tone in chosen.get("skin", ()):
        first[f"skin/{tone}"] = len(layers)
        layers += tones.tone(tone)
    for name, layer in _strands(folder / "hair", head, chosen.get("hair", [])).items():
        first[f"hair/{name}"] = len(layers)
        layers.append(layer)
    for group, blur, gain in (("brows", 2.0, 1.5), ("lashes", 1.2, 0.8), ("eyes", 0.0, 1.0)):
        for name in chosen.get(group, ()):
            first[f"{group}/{name}"] = len(layers)
            picture = _read(folder / group / f"{IRIS_OF.get(name, name)}.png")
            layers.append(_prefilter(picture, blur, GAINS.get(name, gain)))
            if name in IRISES:
                layers[-1] = _iris(layers[-1], IRISES[name])
    first[TEETH] = len(layers)
    layers.append(_ivory(_read(folder / f"{TEETH}.png")))
    finishes: dict[str, int] = {}
    for name in chosen.get("glasses", ()):
        finish = glasses.finish_of(name)
        if finish not in finishes:
            finishes[finish] = len(layers)
            layers.append(glasses.picture(finish))
        first[f"glasses/{name}"] = finishes[finish]
    for name in chosen.get("beard", ()):
        if name in beards.LENGTHS:
            first[f"beard/{name}"] = len(layers)
            layers.append(beards.picture(name, place, np.maximum(masks["lips"], masks["ears"])))
    painted = _paint(head, place, chosen, masks)
    return Textures(
        np.stack(layers),
        first,
        np.stack([*painted.values()]),
        {name: number for number, name in enumerate(painted)},
    )


def _paint(
    head: Head, place: NDArray[np.float32], chosen: dict[str, list[str]], masks: dict[str, NDArray[np.uint8]]
) -> dict[str, NDArray[np.uint8]]:
    painted = {"lips": masks["lips"]} | {f"scalp/{name}": mask for name, mask in paint.scalps(place).items()}
    if "beard" in chosen:
        grown = paint.beards(place, np.maximum(masks["lips"], masks["ears"]))
        painted |= {f"beard/{name}": grown[name] for name in chosen["beard"]}
    if "eye_makeup" in chosen:
        shapes = paint.eye_makeup(head, place, masks["eyelids"])
        painted |= {f"eye_makeup/{name}": shapes[EYE_COLOURS[name][0]] for name in chosen["eye_makeup"]}
    return painted


def paints(
    textures: Textures, schema: Schema, sliders: NDArray[np.floating], choices: NDArray[np.integer]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """What is painted on the skin of faces with sliders [B, S] and choices [B, G], in the order of PAINTS.

    Returns the masks' numbers [B, P], −1 for nothing, and linear RGB and opacity [B, P, 4].
    """
    numbers = np.full((len(choices), len(PAINTS)), -1, np.int32)
    colours = np.zeros((len(choices), len(PAINTS), 4), np.float32)
    index = schema.group_index
    for column, paint_name in enumerate(PAINTS):
        group = GROWN.get(paint_name, paint_name)
        if group not in index:
            continue
        names, chosen = schema.group(group).choices, choices[:, index[group]]
        numbers[:, column] = np.array([_mask_number(textures, paint_name, name) for name in names], np.int32)[chosen]
        if paint_name in GROWN:
            colours[:, column, :3] = hair_colours(schema, sliders, choices) * BEARD_SHADE
            colours[:, column, 3] = 1.0
        else:
            table = LIP_COLOURS if group == "lips" else {name: colour for name, (_, colour) in EYE_COLOURS.items()}
            colours[:, column] = np.array([table[name] for name in names])[chosen]
    return numbers, colours * (numbers >= 0)[..., None]


def hair_colours(schema: Schema, sliders: NDArray[np.floating], choices: NDArray[np.integer]) -> NDArray[np.float32]:
    """Linear RGB [B, 3] of the hair of faces with sliders [B, S] and choices [B, G]."""
    names = schema.group("hair_colour").choices if "hair_colour" in schema.group_index else (DEFAULT_HAIR_COLOUR,)
    chosen = choices[:, schema.group_index["hair_colour"]] if len(names) > 1 else np.zeros(len(choices), np.int64)
    return tinted(np.array([HAIR_COLOURS[name] for name in names])[chosen], schema, sliders, "hair")


def skin_tints(schema: Schema, sliders: NDArray[np.floating], choices: NDArray[np.integer]) -> NDArray[np.float32]:
    """By what the display RGB of the skin is multiplied [B, 3] on faces with sliders [B, S] and choices [B, G]."""
    tones = np.array([skins.TONES[name][1] for name in schema.group("skin").choices], np.float32)
    linear = np.asarray(cv2.cvtColor(tones[:, None], cv2.COLOR_LAB2LRGB)[:, 0], np.float32)
    plain = linear[choices[:, schema.group_index["skin"]]]
    return np.sqrt(tinted(plain, schema, sliders, "skin") / plain.clip(0.002, 1.0))


def _mask_number(textures: Textures, paint_name: str, choice: str) -> int:
    if choice in ("none", "natural"):
        return -1
    if paint_name == "scalp":
        choice = hair.STYLES[choice].scalp if choice in hair.STYLES else ""
    return textures.mask[paint_name] if paint_name in textures.mask else textures.mask[f"{paint_name}/{choice}"]


def _read(path: Path) -> NDArray[np.uint8]:
    """An image file as RGBA [512, 512, 4]."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FileNotFoundError(f"no readable texture {path}")
    code = {2: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA}.get(
        image.ndim if image.ndim == 2 else image.shape[2], cv2.COLOR_BGRA2RGBA
    )
    return cv2.resize(cv2.cvtColor(image, code), (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _prefilter(rgba: NDArray[np.uint8], blur: float, gain: float) -> NDArray[np.uint8]:
    """Blur with premultiplied alpha: thin hairs do not alias, and no background colour bleeds into their edges.

    `gain` makes up for the opacity that thin hairs lose.
    """
    if blur == 0.0:
        return rgba
    weighted = rgba.astype(np.float32)
    weighted[..., :3] *= weighted[..., 3:] / 255.0
    # Far from any hair its colour matters little: a small picture will do.
    small = cv2.GaussianBlur(cv2.resize(weighted, (64, 64), interpolation=cv2.INTER_AREA), (0, 0), 1.5)
    wide = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    near = cv2.GaussianBlur(weighted, (0, 0), blur)
    source = np.where(near[..., 3:] > 5.0, near, wide)
    filtered = np.empty_like(weighted)
    filtered[..., :3] = source[..., :3] * (255.0 / np.maximum(source[..., 3:], 0.25))
    filtered[..., 3] = near[..., 3] * gain
    return (filtered + 0.5).clip(0, 255).astype(np.uint8)


def _strands(folder: Path, head: Head, names: list[str]) -> dict[str, NDArray[np.uint8]]:
    """The layers of heads of hair: MakeHuman's as grey strands; others as those they are made from, less what is cut
    away."""
    styles = {name: hair.STYLES.get(name) or hair.Style(name) for name in names}
    bases = {style.base for style in styles.values()} - {""}
    grey = {base: _even_out(_prefilter(_read(folder / f"{base}.png"), 1.0, 1.0)) for base in sorted(bases)}
    for base, rows in COILED.items():
        if base in grey:
            grey[base] = _coiled(grey[base], rows)
    layers = {}
    for name, style in styles.items():
        if not style.base:
            continue  # painted on the scalp, and nothing else
        layer = grey[style.base].copy()
        if style.fringe:
            fringe.lay(layer)
        if style.cuts:
            layer[..., 3] = (layer[..., 3] * hair.opacity(head, name) + 0.5).astype(np.uint8)
        layers[name] = layer
    return layers


def _iris(rgba: NDArray[np.uint8], colour: tuple[float, float, float]) -> NDArray[np.uint8]:
    """A picture of both eyeballs with irises of a mean CIELAB colour: MakeHuman's are brighter and more colourful than
    any eye, and shine out of a dark face."""
    lab = cv2.cvtColor(rgba[..., :3].astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    rows, columns = np.indices(lab.shape[:2])
    for across, down in IRIS_PLACES:
        reach = np.hypot(columns - across, rows - down)[..., None]
        middle = np.median(lab[(reach[..., 0] > 1.3 * PUPIL) & (reach[..., 0] < 0.85 * IRIS)], axis=0)
        made = (lab - middle) * IRIS_CONTRAST + np.array(colour, np.float32)
        rim, pupil = paint.ramp(reach, 0.80 * IRIS, IRIS), paint.ramp(-reach, -1.15 * PUPIL, -0.90 * PUPIL)
        made[..., :1] -= LIMBUS * rim + 3.0 * colour[0] * pupil
        inside = paint.ramp(-reach, -1.04 * IRIS, -0.94 * IRIS)
        lab += inside * (np.maximum(made, (2.0, -128.0, -128.0)) - lab)
    rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.dstack([(rgb.clip(0, 1) * 255.0 + 0.5).astype(np.uint8), rgba[..., 3]])


def _ivory(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """MakeHuman's picture of teeth and gums with warmer teeth: what has next to no colour of its own."""
    rgb = rgba[..., :3].astype(np.float32)
    redness = (rgb[..., :1] - rgb[..., 1:2]) / np.maximum(rgb[..., :1], 1.0)
    share = 1.0 - ((redness - 0.15) / 0.25).clip(0, 1)
    warm = rgb * (1.0 + share * (np.array(IVORY, np.float32) - 1.0))
    return np.dstack([(warm + 0.5).clip(0, 255).astype(np.uint8), rgba[..., 3]])


def _even_out(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A hair texture as grey strands whose mean linear brightness is one half, so that the hair colour decides the
    rest."""
    linear = (rgba[..., :3] @ np.array([0.3, 0.55, 0.15], np.float32) / 255.0) ** 2
    mean = np.average(linear, weights=rgba[..., 3] + 1e-3)
    spread = (linear / max(mean, 1e-4)) ** 0.6 * (1.0 + STRAND_CONTRAST * _combed(linear, rgba[..., 3]))
    spread *= 0.5 / np.average(spread, weights=rgba[..., 3] + 1e-3)
    grey = (spread.clip(0, 1) ** 0.5 * 255.0 + 0.5).astype(np.uint8)
    return np.dstack([grey, grey, grey, rgba[..., 3]])


def _coiled(layer: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    """A layer whose strands above a row are tight coils, each over those before; a sheet with holes is coils alone."""
    rng, fine = np.random.default_rng(43), 3
    drawn = np.zeros((rows * fine, SIDE * fine, 2), np.uint8)
    for _ in range(COILS):
        centre = (int(rng.integers(drawn.shape[1])), int(rng.integers(drawn.shape[0])))
        across = fine * rng.uniform(*COIL_RADII)
        size, turn = (int(across), int(across * rng.uniform(0.6, 1.0))), rng.uniform(0, 360)
        start = rng.uniform(0, 360)
        for grey, width in ((75, 5), (int(rng.integers(*COIL_GREY)), 3)):  # a rim of shade, then the strand
            cv2.ellipse(drawn, centre, size, turn, start, start + 290, (grey, 255), width)
    small = cv2.resize(drawn, (SIDE, rows), interpolation=cv2.INTER_AREA)
    coils = layer.copy()
    alpha = layer[:rows, :, 3]
    held = cv2.GaussianBlur(alpha, (0, 0), 4.0)
    solid = cv2.dilate((held > 235).astype(np.uint8), np.ones((27, 27), np.uint8))
    coils[:rows, :, :3] = np.maximum(small[..., :1], 90)
    coils[:rows, :, 3] = np.where(solid > 0, alpha, np.where(held > 60, small[..., 1], 0))
    # The curls that stand out are as even as the coils beneath.
    curls = coils[rows:, :, :3]
    coils[rows:, :, :3] = (CURL_GREY + CURL_SHARE * (curls - np.float32(CURL_GREY))).clip(0, 255)
    return coils


def _combed(linear: NDArray[np.float32], alpha: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Strands finer than the picture holds, about ±1 [512, 512]: noise smeared along the strands that are there (Cabral
    and Leedom 1993), as far as these have a direction."""
    level = np.where(alpha > 30, np.sqrt(linear), 0.0).astype(np.float32)
    level -= cv2.GaussianBlur(level, (0, 0), 2.0)  # broad bands are painted highlights, which lie across the strands
    across, down = (cv2.Sobel(level, cv2.CV_32F, *order, ksize=5) for order in ((1, 0), (0, 1)))
    xx, xy, yy = (cv2.GaussianBlur(a * b, (0, 0), 9.0) for a, b in ((across, across), (across, down), (down, down)))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    certain = np.hypot(xx - yy, 2 * xy) / np.maximum(xx + yy, 1e-6)
    step = np.stack([np.cos(angle), np.sin(angle)], axis=2).astype(np.float32)
    noise = np.random.default_rng(7).standard_normal(level.shape).astype(np.float32)
    rows, columns = np.indices(level.shape, np.float32)
    smeared = noise.copy()
    for sign in (1.0, -1.0):
        at, heading = np.dstack([columns, rows]), sign * step
        for _ in range(STRAND_REACH):
            at = at + heading
            local = cv2.remap(step, at[..., 0], at[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            heading = local * np.sign((local * heading).sum(axis=2, keepdims=True) + 1e-9)
            smeared += cv2.remap(noise, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return (smeared / smeared.std() * np.sqrt(certain)).astype(np.float32)
