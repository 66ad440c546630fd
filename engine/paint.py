"""What is painted on skin, as masks [512,512] in the character's texture layout: beards, lips, make-up.

Beards are drawn hair by hair along the direction of growth, in regions that are defined on the template's geometry;
make-up follows the line of the lashes; lips and lids follow MakeHuman's own masks. Lengths are metres.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from engine import atlas
from engine.head import SKIN, TEETH, Head

Mask = NDArray[np.uint8]
Density = NDArray[np.float32]
FINE = 3  # hairs are drawn this many times finer and averaged
FOLLICLES = 26_000
# Length (texels), width (fine texels), strength of a hair, and the tone under the hairs, of each style of beard.
BEARDS: dict[str, tuple[float, int, float, float]] = {
    "light_stubble": (1.6, 1, 0.55, 0.10),
    "stubble": (2.2, 1, 0.85, 0.20),
    "moustache": (7.0, 2, 0.90, 0.55),
    "goatee": (7.0, 2, 0.90, 0.55),
    "circle": (6.0, 2, 0.90, 0.50),
    "chin_strap": (4.5, 2, 0.90, 0.50),
    "mutton_chops": (7.0, 2, 0.90, 0.55),
    "short_full": (4.5, 1, 0.90, 0.42),
    "full": (8.0, 2, 0.95, 0.62),
}


def beards(head: Head, lips: Mask) -> dict[str, Mask]:
    """A mask for each style of beard: 0 bare skin, 255 all hair."""
    place = positions(head)
    densities = beard_regions(place)
    bare = cv2.GaussianBlur(lips, (0, 0), 1.2).astype(np.float32) / 255.0
    # Stubble and full beards cover the same places.
    follicles = _follicles(densities["full"] + densities["mutton_chops"])
    grown = {}
    for style, (length, width, strength, under) in BEARDS.items():
        density = densities["full" if style in ("light_stubble", "stubble", "short_full") else style] * (1 - bare)
        grown[style] = _grow(density, follicles, place, length, width, strength, under)
    return grown


def positions(head: Head) -> NDArray[np.float32]:
    """The place of each texel on the template's skin [512,512,3]; far away where there is none."""
    base = head.part["base"]
    chosen = slice(base.first_triangle, base.first_triangle + base.n_triangles)
    outside = (head.materials[chosen] == SKIN) & (head.labels[chosen] != TEETH)
    triangles, uvs = head.triangles[chosen][outside], head.uvs[chosen][outside]
    place = atlas.rasterise(uvs, head.template[triangles])
    place[~atlas.inside("head")] = np.nan
    return np.nan_to_num(place, nan=9.0)


def beard_regions(place: NDArray[np.float32]) -> dict[str, Density]:
    """How densely hair grows at each place [...,3] of the template in each style of beard, in [0,1]."""
    x, y, z = np.moveaxis(place, -1, 0)
    side = np.abs(x)

    def ramp(value: NDArray, start: float, end: float) -> NDArray:
        share = ((value - start) / (end - start)).clip(0, 1)
        return share * share * (3 - 2 * share)

    # Heights on the template's midline: nose base −.049, lips −.055 to −.073, underside of the chin −.112.
    cheek_line = -0.056 + 0.55 * np.maximum(side - 0.032, 0.0)
    below = ramp(cheek_line - y, -0.002, 0.012)
    jaw = below * ramp(z, -0.078, -0.062) * ramp(y, -0.130, -0.108)
    moustache = ramp(-y, 0.048, 0.053) * ramp(y, -0.068, -0.063) * ramp(-side, -0.036, -0.027)
    chin = ramp(-y, 0.071, 0.079) * ramp(-side, -0.027, -0.017) * ramp(y, -0.126, -0.110)
    patch = ramp(-y, 0.071, 0.075) * ramp(-side, -0.011, -0.006) * ramp(y, -0.100, -0.090)
    ring = ramp(side, 0.018, 0.024) * ramp(-side, -0.036, -0.029) * ramp(-y, 0.052, 0.060) * ramp(y, -0.112, -0.095)
    # How far a place lies above the edge of the jaw.
    edge = y - (-0.108 + 0.75 * np.maximum(-z - 0.010, 0.0) + 0.18 * np.maximum(side - 0.020, 0.0))
    strap = jaw * ramp(-edge, -0.017, -0.009)
    sides = jaw * ramp(side, 0.026, 0.036)
    return {
        "moustache": moustache,
        "goatee": np.maximum(chin, patch) * ramp(-side, -0.024, -0.014),
        "circle": np.maximum.reduce([moustache, chin, ring]),
        "chin_strap": np.maximum(strap, chin * ramp(-y, 0.088, 0.096)),
        "mutton_chops": np.maximum(sides * (1 - chin), moustache * ramp(side, 0.008, 0.016)),
        "full": np.maximum.reduce([jaw, moustache, chin, ring]),
    }


def _follicles(density: Density) -> NDArray[np.float64]:
    """Where hairs may grow: column, row and three random numbers in [0,1] for each, spread evenly over a region."""
    rng = np.random.default_rng(11)
    rows, columns = np.nonzero(density > 0.02)
    chosen = rng.integers(len(rows), size=FOLLICLES)
    return np.stack(
        [columns[chosen] + rng.random(FOLLICLES), rows[chosen] + rng.random(FOLLICLES), *rng.random((3, FOLLICLES))], 1
    )


def _grow(
    density: Density, follicles: NDArray, place: NDArray, length: float, width: int, strength: float, under: float
) -> Mask:
    """Draw the hairs of one style over the tone beneath them."""
    column, row = follicles[:, 0].astype(int), follicles[:, 1].astype(int)
    there = follicles[:, 2] < density[row, column] ** 0.8
    start = follicles[there, :2]
    direction = _growth(place)[row[there], column[there]]
    turn = (follicles[there, 3] - 0.5) * 0.7
    cosine, sine = np.cos(turn)[:, None], np.sin(turn)[:, None]
    direction = cosine * direction + sine * np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    end = start + direction * (length * (0.6 + 0.8 * follicles[there, 4]))[:, None]
    shade = strength * (0.45 + 0.55 * follicles[there, 3])
    # Hairs of one layer overwrite each other, those of different layers add up.
    open_share = np.ones((atlas.SIDE, atlas.SIDE), np.float32)
    for layer in range(3):
        canvas = np.zeros((atlas.SIDE * FINE, atlas.SIDE * FINE), np.uint8)
        for a, b, value in zip(start[layer::3] * FINE * 16, end[layer::3] * FINE * 16, shade[layer::3], strict=True):
            cv2.line(canvas, a.astype(int).tolist(), b.astype(int).tolist(), float(value * 255), width, cv2.LINE_AA, 4)
        open_share *= 1 - cv2.resize(canvas, (atlas.SIDE, atlas.SIDE), interpolation=cv2.INTER_AREA) / np.float32(255)
    soft = cv2.GaussianBlur(density, (0, 0), 1.5)
    cover = 1 - open_share * (1 - under * soft)
    # Hairs hang over the border of their region a little, not far.
    return (cover * (cv2.GaussianBlur(density, (0, 0), 3.0) * 4).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _growth(place: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit direction of growth (columns, rows) at each texel: down the face, and outward beside the mouth."""
    x = np.where(np.abs(place[..., 0]) < 1, place[..., 0], 0.0)
    y = np.where(np.abs(place[..., 1]) < 1, place[..., 1], 0.0)
    lip = np.exp(-(((y + 0.058) / 0.010) ** 2)) * np.exp(-((x / 0.035) ** 2))
    # Columns run from the crown down, rows from the person's left to the right.
    outward = -np.clip(x / 0.012, -1, 1) * (0.25 + 1.1 * lip)
    direction = np.stack([np.ones_like(x), outward], axis=-1)
    return (direction / np.linalg.norm(direction, axis=-1, keepdims=True)).astype(np.float32)


def eye_makeup(head: Head, lids: Mask) -> dict[str, Mask]:
    """A mask for each shape of eye make-up: `liner` along the lashes, `shadow` on the lid, `smoky` all round."""
    place = positions(head)
    upper, lower, outer = _lash_distances(head, place)

    def fade(distance: NDArray, start: float, end: float) -> NDArray:
        share = ((end - distance) / (end - start)).clip(0, 1)
        return share * share * (3 - 2 * share)

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


def _lash_distances(head: Head, place: NDArray[np.float32]) -> tuple[NDArray, NDArray, NDArray]:
    """Distance of each texel to the roots of the upper and lower lashes, and how far out on the eye it lies (0–1)."""
    roots = _lash_roots(head)
    measure: Callable[[NDArray], NDArray] = lambda points: cKDTree(points).query(place, distance_upper_bound=0.03)[0]  # noqa: E731
    upper, lower = (np.minimum(measure(part), 0.03) for part in roots)
    side = np.abs(place[..., 0])
    inner, outer = np.abs(roots[0][:, 0]).min(), np.abs(roots[0][:, 0]).max()
    return upper, lower, ((side - inner) / (outer - inner)).clip(0, 1)


def _lash_roots(head: Head) -> tuple[NDArray, NDArray]:
    """Points along the rims of both upper and both lower lids, closely spaced."""
    part = head.part["lashes01"]
    proxy = slice(part.first_vertex - head.n_base, part.first_vertex - head.n_base + part.n_vertices)
    points = (head.weights[proxy, :, None] * head.template[head.references[proxy]]).sum(axis=1) + head.offsets[proxy]
    skin = head.template[np.unique(head.triangles[(head.materials == SKIN) & (head.labels != TEETH)])]
    near = cKDTree(skin).query(points)[0] < 0.0012
    rims: list[list[NDArray]] = [[], []]
    for sign in (1, -1):
        rim = points[near & (points[:, 0] * sign > 0)]
        middle = rim[:, 1].mean()
        for number, chosen in enumerate((rim[:, 1] >= middle, rim[:, 1] < middle)):
            line = rim[chosen][np.argsort(rim[chosen][:, 0])]
            rims[number].append(
                np.concatenate(
                    [a + np.linspace(0, 1, 8)[:, None] * (b - a) for a, b in zip(line, line[1:], strict=False)]
                )
            )
    return np.concatenate(rims[0]), np.concatenate(rims[1])


def mask(path: Path) -> Mask:
    """One of MakeHuman's masks in the character's texture layout. Raises FileNotFoundError naming it."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise FileNotFoundError(f"no readable mask {path}")
    return atlas.warp(picture.astype(np.uint8))
