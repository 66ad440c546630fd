"""What is painted on skin, as masks [512, 512] in the character's texture layout: beards, lips, make-up.

Beards are drawn hair by hair along the direction of growth, in regions that are defined on the template's geometry;
make-up follows the line of the lashes; lips and lids follow MakeHuman's own masks. Lengths are metres.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import atlas
from engine.hair_shaping import bare_crown, ramp, receded
from engine.head import SKIN, TEETH, Head

Mask = NDArray[np.uint8]
Density = NDArray[np.float32]
Place = NDArray[np.float32]
FINE = 3  # hairs are drawn this many times finer and averaged
LAYERS, SHADES = 2, 12
# Where hair begins on the head: depth z and height y, from the forehead over the temple, round the ear, to the nape.
HAIRLINE = (
    (-0.200, -0.062), (-0.118, -0.055), (-0.108, -0.020), (-0.100, 0.034), (-0.072, 0.030), (-0.062, 0.000),
    (-0.052, 0.010), (-0.044, 0.034), (-0.030, 0.052), (-0.010, 0.066), (0.005, 0.073), (0.030, 0.078),
)  # fmt: skip
# Length (texels), width (fine texels), strength of a hair, and the tone under the hairs, of each style of beard.
BEARDS: dict[str, tuple[float, int, float, float]] = {
    "light_stubble": (1.6, 1, 0.55, 0.10),
    "stubble": (2.2, 1, 0.85, 0.20),
    "moustache": (7.0, 2, 0.85, 0.50),
    "goatee": (7.0, 2, 0.85, 0.50),
    "circle": (6.0, 2, 0.85, 0.45),
    "chin_strap": (4.5, 2, 0.85, 0.45),
    "mutton_chops": (7.0, 2, 0.85, 0.50),
    "short_full": (4.5, 1, 0.85, 0.42),
    "full": (8.0, 2, 0.90, 0.55),
}


def _everywhere(place: Place) -> NDArray:
    return np.ones(place.shape[:-1])


def _natural(place: Place) -> NDArray:
    """A hairline that thins out towards the face and has corners above the temples."""
    x, y, z = np.moveaxis(place, -1, 0)
    front = 0.016 - 0.016 * ramp(np.abs(x), 0.015, 0.042)
    return 1 - ramp(z, front - 0.010, front + 0.006) * ramp(y, 0.045, 0.060)


def _faded(place: Place) -> NDArray:
    """Clipped towards ears and nape."""
    return _natural(place) * (0.35 + 0.65 * ramp(place[..., 1], 0.000, 0.050))


# Where the hair grows, beside the common hairline; then length (texels), width (fine texels), strength of a hair, and
# the tone under the hairs.
SCALPS: dict[str, tuple[Callable[[Place], NDArray], float, int, float, float]] = {
    "": (_everywhere, 2.5, 1, 0.8, 0.6),
    "fade": (_faded, 2.5, 1, 0.85, 0.6),
    "receding": (partial(receded, depth=0.002, corners=0.020), 2.5, 1, 0.8, 0.6),
    "wreath": (bare_crown, 2.5, 1, 0.8, 0.6),
    "buzz": (_natural, 3.0, 1, 0.95, 0.75),
    "shaved": (_natural, 1.6, 1, 0.55, 0.25),
}


def beards(place: Place, hairless: Mask) -> dict[str, Mask]:
    """A mask for each style of beard on the skin at `place` [512, 512, 3]: 0 bare skin, 255 all hair.

    None grows where `hairless` is set: on lips and ears.
    """
    densities = beard_regions(place)
    bare = cv2.GaussianBlur(hairless, (0, 0), 1.2).astype(np.float32) / 255.0
    # Stubble and full beards cover the same places.
    hairs = _Hairs(densities["full"] + densities["mutton_chops"], _beard_growth(place), 26_000)
    grown = {style: hairs.grow(densities.get(style, densities["full"]), *look) for style, look in BEARDS.items()}
    return {style: (mask * (1 - bare) + 0.5).astype(np.uint8) for style, mask in grown.items()}


def scalps(place: Place) -> dict[str, Mask]:
    """What is painted on the head: by "" the roots that show between the strands of a style, by name those of styles
    with a hairline of their own, and hair so short that it is nothing else."""
    density = scalp_region(place)
    backward = np.zeros((*density.shape, 2), np.float32)
    backward[..., 0] = -1.0
    hairs = _Hairs(density, backward, 40_000)
    grown = {}
    for name, (region, length, width, strength, under) in SCALPS.items():
        grown[name] = hairs.grow((density * region(place)).astype(np.float32), length, width, strength, under)
    return grown


def scalp_region(place: Place) -> Density:
    """How densely hair grows on the head at each place [...,3] of the template, in [0, 1]."""
    _, y, z = np.moveaxis(place, -1, 0)
    height = np.interp(z, *np.array(HAIRLINE).T)
    return np.where(np.abs(y) < 1, ramp(y - height, -0.009, 0.012), 0.0).astype(np.float32)


def positions(head: Head) -> Place:
    """The place of each texel on the template's skin [512, 512, 3]; far away where there is none."""
    base = head.part["base"]
    chosen = slice(base.first_triangle, base.first_triangle + base.n_triangles)
    outside = (head.materials[chosen] == SKIN) & (head.labels[chosen] != TEETH)
    triangles, uvs = head.triangles[chosen][outside], head.uvs[chosen][outside]
    place = atlas.rasterise(uvs, head.template[triangles])
    place[~atlas.inside("head")] = np.nan
    return np.nan_to_num(place, nan=9.0)


def beard_regions(place: Place) -> dict[str, Density]:
    """How densely hair grows at each place [...,3] of the template in each style of beard, in [0, 1]."""
    x, y, z = np.moveaxis(place, -1, 0)
    side = np.abs(x)
    # Heights on the template's midline: nose base −.049, lips −.055 to −.073, underside of the chin −.112.
    cheek_line = -0.056 + 0.55 * np.maximum(side - 0.032, 0.0)
    below = ramp(cheek_line - y, -0.002, 0.012)
    jaw = below * ramp(z, -0.078, -0.062) * ramp(y, -0.130, -0.108)
    middle = -0.0565 - 0.28 * np.maximum(side - 0.010, 0.0)
    moustache = ramp(0.0078 * (1 - (side / 0.036) ** 2) - np.abs(y - middle), -0.0015, 0.0025) * ramp(z, -0.02, -0.01)
    chin = ramp(-y, 0.071, 0.079) * ramp(-side, -0.027, -0.017) * ramp(y, -0.126, -0.110)
    patch = ramp(-y, 0.071, 0.075) * ramp(-side, -0.011, -0.006) * ramp(y, -0.100, -0.090)
    round_mouth = np.sqrt((x / 0.030) ** 2 + ((y + 0.076) / 0.031) ** 2)
    ring = (
        ramp(round_mouth, 0.70, 0.84)
        * ramp(-round_mouth, -1.22, -1.06)
        * ramp(-y, 0.056, 0.064)
        * ramp(z, -0.02, -0.01)
    )
    # How far a place lies above the edge of the jaw.
    edge = y - (-0.108 + 0.75 * np.maximum(-z - 0.010, 0.0) + 0.18 * np.maximum(side - 0.020, 0.0))
    strap = jaw * ramp(-edge, -0.021, -0.013)
    sides = jaw * ramp(side, 0.026, 0.036)
    return {
        "moustache": moustache,
        "goatee": np.maximum(chin, patch) * ramp(-side, -0.024, -0.014),
        "circle": np.maximum.reduce([moustache, chin, ring]),
        "chin_strap": np.maximum(strap, chin * ramp(-y, 0.085, 0.093)),
        "mutton_chops": np.maximum(sides * (1 - chin), moustache * ramp(side, 0.008, 0.016)),
        "full": np.maximum.reduce([jaw, moustache, chin, ring]),
    }


class _Hairs:
    """Hairs that may grow in a region, the same for every style that is drawn with them."""

    def __init__(self, region: Density, growth: NDArray[np.float32], count: int) -> None:
        rng = np.random.default_rng(11)
        rows, columns = np.nonzero(region > 0.02)
        chosen = rng.integers(len(rows), size=count)
        self.row, self.column = rows[chosen], columns[chosen]
        self.root = np.stack([self.column, self.row], axis=1) + rng.random((count, 2))
        self.rank, self.shade, self.size = rng.random((3, count))
        turn = (rng.random(count)[:, None] - 0.5) * 0.7
        along = growth[self.row, self.column]
        self.direction = np.cos(turn) * along + np.sin(turn) * np.stack([-along[:, 1], along[:, 0]], axis=1)

    def grow(self, density: Density, length: float, width: int, strength: float, under: float) -> Mask:
        """Draw the hairs that a density lets stand, over the tone beneath them."""
        there = self.rank < density[self.row, self.column] ** 0.8
        reach = (length * (0.6 + 0.8 * self.size[there]))[:, None] * self.direction[there]
        lines = np.stack([self.root[there], self.root[there] + reach], axis=1) * FINE * 16
        shade = (strength * (0.25 + 0.75 * self.shade[there]) * SHADES).astype(int)
        # Hairs of one layer overwrite each other, those of different layers add up.
        open_share = np.ones(density.shape, np.float32)
        for layer in range(LAYERS):
            canvas = np.zeros((density.shape[0] * FINE, density.shape[1] * FINE), np.uint8)
            for value in range(SHADES):
                drawn = lines[layer::LAYERS][shade[layer::LAYERS] == value].astype(np.int32)
                cv2.polylines(canvas, list(drawn), False, (value + 0.5) / SHADES * 255, width, cv2.LINE_AA, 4)
            fine = cv2.resize(canvas, density.shape[::-1], interpolation=cv2.INTER_AREA)
            open_share *= 1 - fine / np.float32(255)
        cover = 1 - open_share * (1 - under * cv2.GaussianBlur(density, (0, 0), 1.5))
        # Hairs hang over the border of their region a little, not far.
        return (cover * (cv2.GaussianBlur(density, (0, 0), 3.0) * 4).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _beard_growth(place: Place) -> NDArray[np.float32]:
    """Unit direction of growth (columns, rows) at each texel: down the face, and outward beside the mouth."""
    x = np.where(np.abs(place[..., 0]) < 1, place[..., 0], 0.0)
    y = np.where(np.abs(place[..., 1]) < 1, place[..., 1], 0.0)
    lip = np.exp(-(((y + 0.058) / 0.010) ** 2)) * np.exp(-((x / 0.035) ** 2))
    # Columns run from the crown down, rows from the person's left to the right.
    outward = -np.clip(x / 0.012, -1, 1) * (0.25 + 1.1 * lip)
    direction = np.stack([np.ones_like(x), outward], axis=-1)
    return (direction / np.linalg.norm(direction, axis=-1, keepdims=True)).astype(np.float32)


def eye_makeup(head: Head, place: Place, lids: Mask) -> dict[str, Mask]:
    """A mask for each shape of eye make-up: `liner` along the lashes, `shadow` on the lid, `smoky` all round."""
    upper, lower, outer = _lash_distances(head, place)

    def fade(distance: NDArray, start: float | NDArray, end: float | NDArray) -> NDArray:
        return 1 - ramp(distance, start, end)

    lid = np.maximum(lids.astype(np.float32) / 255.0, 0)
    shadow = np.maximum(fade(upper, 0.003, 0.011) * (0.35 + 0.65 * lid), lid * 0.9) * fade(upper, 0.006, 0.014)
    wing = 0.0008 + 0.0014 * outer
    line = np.maximum(fade(upper, wing * 0.6, wing * 1.6), 0.55 * fade(lower, 0.0003, 0.0014))
    shapes: dict[str, NDArray] = {
        "liner": line,
        "shadow": shadow * 0.9,
        "smoky": np.maximum.reduce([shadow, fade(lower, 0.001, 0.006) * 0.75, line]),
    }
    return {
        name: (cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 0.7) * 255 + 0.5).clip(0, 255).astype(np.uint8)
        for name, shape in shapes.items()
    }


def _lash_distances(head: Head, place: Place) -> tuple[NDArray, NDArray, NDArray]:
    """Distance of each texel to the roots of the upper and lower lashes, and how far out on the eye it lies (0–1)."""
    from scipy.spatial import KDTree

    roots = _lash_roots(head)
    upper, lower = (np.minimum(KDTree(points).query(place, distance_upper_bound=0.03)[0], 0.03) for points in roots)
    side = np.abs(place[..., 0])
    inner, outer = np.abs(roots[0][:, 0]).min(), np.abs(roots[0][:, 0]).max()
    return upper, lower, ((side - inner) / (outer - inner)).clip(0, 1)


def _lash_roots(head: Head) -> tuple[NDArray, NDArray]:
    """Points along the rims of both upper and both lower lids, closely spaced."""
    from scipy.spatial import KDTree

    part = head.part["lashes01"]
    proxy = slice(part.first_vertex - head.n_base, part.first_vertex - head.n_base + part.n_vertices)
    points = head.bound_vertices[proxy]
    skin = head.template[np.unique(head.triangles[(head.materials == SKIN) & (head.labels != TEETH)])]
    near = KDTree(skin).query(points)[0] < 0.0012
    rims: list[list[NDArray]] = [[], []]
    for sign in (1, -1):
        rim = points[near & (points[:, 0] * sign > 0)]
        middle = rim[:, 1].mean()
        for number, chosen in enumerate((rim[:, 1] >= middle, rim[:, 1] < middle)):
            line = rim[chosen][np.argsort(rim[chosen][:, 0])]
            rims[number] += [a + np.linspace(0, 1, 8)[:, None] * (b - a) for a, b in pairwise(line)]
    return np.concatenate(rims[0]), np.concatenate(rims[1])


def mask(path: Path) -> Mask:
    """One of MakeHuman's masks in the character's texture layout. Raises FileNotFoundError naming it."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise FileNotFoundError(f"no readable mask {path}")
    return atlas.warp(picture.astype(np.uint8))
