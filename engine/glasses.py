"""Glasses, made of curves: frames and lenses as parts of the head, and what they are made of.

Front and temples hang on five places of the face, so that they follow nose, temples and ears whatever the sliders say.
Lengths are metres in the head's frame (engine/head.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.head import BACKGROUND, FRAME, LENS, Head

Floats = NDArray[np.float64]
Picture = NDArray[np.uint8]

# Places on the template, the person's left: the skin's nearest vertices carry the frame.
NOSE, TEMPLE, EAR = (0.0, 0.004, 0.026), (0.066, 0.009, -0.025), (0.073, 0.007, -0.063)
FRONT, CURVE, TILT = 0.0355, 1.9, 0.05  # depth of the front at the nose, how it bends back, how it leans, 1/m and slope
LEVEL, HALF_BRIDGE, BRIDGE_LEVEL = -0.005, 0.0088, 0.004  # middle of the lenses, inner edge of the rims, the bridge
HINGE, HINGE_LEVEL = 0.0695, 0.0095
BEHIND_EAR = ((0.0775, 0.0095, -0.068), (0.0775, 0.0085, -0.078), (0.0765, -0.002, -0.090), (0.0750, -0.016, -0.097))
AROUND, ACROSS, RINGS = 40, 6, 2  # corners of a rim, of the profile of a bar, rings of a lens
BULGE = 0.0022  # of a lens
NOSE_ROOM = 0.0050  # by how much lenses give way to the nose at their lower inner corners
PICTURE_WIDTH = 0.20  # metres of a frame that a picture of its material spans


@dataclass(frozen=True)
class Shape:
    """A lens's outline: a superellipse, narrower below by `taper` and raised at its outer corner; and its frame."""

    width: float
    height: float
    power: float
    bar: float  # height of the bars, metres
    taper: float = 0.0
    raised: float = 0.0


@dataclass(frozen=True)
class Finish:
    """Linear RGB of a frame, of its spots if it has some, and whether it is metal."""

    colour: tuple[float, float, float]
    spots: tuple[float, float, float] | None = None
    metal: float = 0.0


SHAPES = {
    "round": Shape(0.048, 0.046, 2.0, 0.0016),
    "panto": Shape(0.050, 0.044, 2.3, 0.0034, taper=0.10),
    "rectangle": Shape(0.054, 0.033, 4.5, 0.0024, taper=0.04),
    "square": Shape(0.054, 0.040, 5.0, 0.0046, taper=0.05),
    "cat_eye": Shape(0.056, 0.036, 2.4, 0.0042, taper=0.10, raised=0.011),
    "aviator": Shape(0.058, 0.050, 2.6, 0.0015, taper=0.14),
    "wayfarer": Shape(0.056, 0.043, 3.4, 0.0052, taper=0.17, raised=0.006),
}
FINISHES = {
    "black": Finish((0.010, 0.010, 0.011)),
    "tortoise": Finish((0.30, 0.110, 0.028), spots=(0.022, 0.010, 0.006)),
    "red": Finish((0.16, 0.010, 0.016)),
    "gold": Finish((0.72, 0.50, 0.24), metal=1.0),
    "silver": Finish((0.62, 0.62, 0.64), metal=1.0),
}
# What each lens lets through, linear RGB; shapes and finishes that are not named have clear ones.
CLEAR = (0.95, 0.96, 0.955)
TINTS = {"aviator": (0.10, 0.12, 0.085), "wayfarer": (0.055, 0.057, 0.062)}
BROWN_TINT = (0.13, 0.075, 0.040)
DARK = 0.5  # a lens that lets less through hides the eye


def finish_of(choice: str) -> str:
    """The finish of a choice: what follows its last underscore."""
    return choice.rpartition("_")[2]


def tint_of(choice: str) -> tuple[float, float, float]:
    """What the lenses of a choice let through, linear RGB."""
    shape, _, finish = choice.rpartition("_")
    return BROWN_TINT if shape in TINTS and finish in ("gold", "tortoise") else TINTS.get(shape, CLEAR)


def parts_of(choice: str) -> dict[str, str]:
    """The parts of the head that show a choice of glasses, by what exporters call them."""
    shape = choice.rpartition("_")[0]
    return {"glasses": f"glasses/{shape}", "lenses": f"lenses/{shape}"}


def picture(finish: str) -> Picture:
    """The surface of a frame [512, 512, 4], sRGB."""
    made = FINISHES[finish]
    linear = np.broadcast_to(np.array(made.colour, np.float32), (512, 512, 3))
    if made.spots is not None:
        noise = np.random.default_rng(8).normal(size=(512, 512)).astype(np.float32)
        broad = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (5.0, 11.0))
        share = (0.5 + 0.9 * np.asarray(broad)).clip(0, 1)[..., None]
        linear = linear + share * (np.array(made.spots, np.float32) - linear)
    return np.dstack([255.0 * np.sqrt(linear) + 0.5, np.full((512, 512), 255.0)]).astype(np.uint8)


def with_glasses(head: Head) -> Head:
    """The head with a frame and lenses of each shape."""
    bars = {f"glasses/{name}": list(_bars(shape)) for name, shape in SHAPES.items()}
    panes = {f"lenses/{name}": [_lens(shape, side) for side in (1, -1)] for name, shape in SHAPES.items()}
    anchors = _anchors(head)
    for name, meshes in (bars | panes).items():
        head = _with_part(head, name, meshes, LENS if name in panes else FRAME, anchors)
    return head


@dataclass(frozen=True)
class _Mesh:
    """points [V, 3], triangles [T, 3] seen counter-clockwise from outside, uvs [V, 2]; `front` or behind the hinges."""

    points: Floats
    triangles: NDArray[np.int64]
    uvs: Floats


def _with_part(head: Head, name: str, meshes: list[_Mesh], material: int, anchors: NDArray[np.int64]) -> Head:
    starts = np.cumsum([0, *(len(mesh.points) for mesh in meshes)])
    points = np.concatenate([mesh.points for mesh in meshes])
    triangles = np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts[:-1], strict=True)])
    uvs = np.concatenate([mesh.uvs for mesh in meshes])[triangles]
    references, weights = _carried(points, anchors)
    offsets = points - (weights[..., None] * head.template[references]).sum(axis=1)
    return head.with_part(
        name,
        references=references,
        weights=weights,
        offsets=offsets,
        triangles=triangles,
        uvs=uvs,
        label=BACKGROUND,
        material=material,
    )


def _anchors(head: Head) -> NDArray[np.int64]:
    """Vertices [2, 3] at nose, temple and ear, on the person's left and right."""
    sides = [[(side * x, y, z) for x, y, z in (NOSE, TEMPLE, EAR)] for side in (1, -1)]
    return np.array([[np.linalg.norm(head.template - place, axis=1).argmin() for place in places] for places in sides])


def _carried(points: Floats, anchors: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
    """What carries points [P, 3]: vertices and weights [P, 3].

    The nose carries the middle of the front and the temples its ends; along a bar the ear takes over.
    """
    outward = (np.abs(points[:, 0]) / HINGE).clip(0.0, 1.0)
    hinge_depth = _depth(HINGE, HINGE_LEVEL)
    along = ((hinge_depth - points[:, 2]) / (hinge_depth - EAR[2])).clip(0.0, 1.0)
    along = np.where(outward > 0.95, along, 0.0)
    front = np.stack([1.0 - outward, outward, np.zeros_like(outward)], axis=1)
    weights = (1.0 - along[:, None]) * front + along[:, None] * [0.0, 0.0, 1.0]
    return anchors[(points[:, 0] < 0).astype(int)], weights


def _depth(across: Floats | float, height: Floats | float) -> Floats:
    """Depth of the front."""
    return FRONT - CURVE * np.square(across) + TILT * (np.asarray(height) - LEVEL)


def _outline(shape: Shape, angle: Floats) -> tuple[Floats, Floats]:
    """Sideways and upward place [N] of the left lens's edge at angles, its outer end first, counter-clockwise."""
    cosine, sine = np.cos(angle), np.sin(angle)
    radius = (np.abs(cosine) ** shape.power + np.abs(sine) ** shape.power) ** (-1.0 / shape.power)
    x, y = radius * cosine, radius * sine
    up = LEVEL + shape.height / 2 * y + shape.raised * (x.clip(0.0) ** 2) * ((y + 1.0) / 2)
    across = HALF_BRIDGE + shape.width / 2 * (1.0 + x * (1.0 + shape.taper * (y - 1.0)))
    return across + NOSE_ROOM * (x.clip(max=0.0) * y.clip(max=0.0)).clip(0.0, 1.0), up


def _bars(shape: Shape) -> Iterator[_Mesh]:
    """Rims, bridge, and from each rim's outer end over the hinge to behind the ear a temple."""
    angle = np.linspace(0.0, 2 * np.pi, AROUND, endpoint=False)
    x, y = _outline(shape, angle)
    thick = max(shape.bar, 0.0022)
    for side in (1, -1):
        rim = np.stack([side * x, y, _depth(x, y)], axis=1)[::side]
        yield _bar(rim, shape.bar, thick, closed=True)
        edge = np.stack(_outline(shape, np.array([0.42])), axis=1)[0]
        start = (edge[0], edge[1], float(_depth(edge[0], edge[1])))
        corner = (HINGE, HINGE_LEVEL, float(_depth(HINGE, HINGE_LEVEL)))
        line = np.array([start, corner, (HINGE + 0.0012, HINGE_LEVEL, corner[2] - 0.006), *BEHIND_EAR])
        yield _bar(_resampled(line, 18) * [side, 1, 1], max(shape.bar, 0.0020), 0.0018)
    inner = np.stack(_outline(shape, np.array([np.pi - 0.45])), axis=1)[0]
    across = np.linspace(-inner[0], inner[0], 9)
    rise = BRIDGE_LEVEL - inner[1]
    height = inner[1] + rise * (1.0 - (across / inner[0]) ** 2)
    yield _bar(np.stack([across, height, _depth(across, height)], axis=1), shape.bar, thick)


def _resampled(line: Floats, count: int) -> Floats:
    """Points [count, 3] spaced evenly along a line."""
    at = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    return np.stack([np.interp(np.linspace(0.0, at[-1], count), at, column) for column in line.T], axis=1)


def _bar(line: Floats, high: float, thick: float, *, closed: bool = False) -> _Mesh:
    """A bar along a line [N, 3], `high` in the plane of the face or upright, `thick` across it."""
    count = len(line)
    ahead, behind = np.roll(line, -1, axis=0), np.roll(line, 1, axis=0)
    if not closed:
        ahead[-1], behind[0] = line[-1], line[0]
    along = _unit(ahead - behind)
    # The profile stands on what is nearest to the view from the side: forward in the front, outward on the temples.
    sideways = np.array([1.0, 0.0, 0.0]) * np.sign(line[:, :1]) * (np.abs(along[:, 2:]) > 0.7)
    forward = np.where(np.abs(along[:, 2:]) > 0.7, sideways, [0.0, 0.0, 1.0])
    across = _unit(np.cross(along, forward))
    forward = _unit(np.cross(across, along))
    turn = np.linspace(0.0, 2 * np.pi, ACROSS, endpoint=False) + np.pi / ACROSS
    up, out = (0.5 * size * wave(turn)[:, None] for size, wave in ((high, np.cos), (thick, np.sin)))
    points = (line[:, None] + up * across[:, None] + out * forward[:, None]).reshape(-1, 3)
    far = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    uvs = np.stack(np.broadcast_arrays(far[:, None] / PICTURE_WIDTH, turn[None] * high / PICTURE_WIDTH), axis=-1)
    triangles = []
    for start in range(count if closed else count - 1):
        one, next_one = start * ACROSS, (start + 1) % count * ACROSS
        for corner in range(ACROSS):
            other = (corner + 1) % ACROSS
            quad = (one + corner, next_one + corner, next_one + other, one + other)
            triangles += [(quad[0], quad[2], quad[1]), (quad[0], quad[3], quad[2])]
    return _Mesh(points, np.array(triangles), uvs.reshape(-1, 2))


def _lens(shape: Shape, side: int) -> _Mesh:
    """A lens that fills its rim, bent outwards."""
    angle = np.linspace(0.0, 2 * np.pi, AROUND, endpoint=False)
    edge = np.stack(_outline(shape, angle), axis=1)
    middle = edge.mean(axis=0)
    share = np.linspace(0.0, 1.0, RINGS + 1)[1:]
    flat = np.concatenate([[middle], *(middle + part * (edge - middle) for part in share)])
    bulge = BULGE * (1.0 - np.concatenate([[0.0], share.repeat(AROUND)]) ** 2)
    points = np.stack([side * flat[:, 0], flat[:, 1], _depth(flat[:, 0], flat[:, 1]) + bulge], axis=1)
    triangles = []
    for corner in range(AROUND):
        other = (corner + 1) % AROUND
        triangles.append((0, 1 + corner, 1 + other))
        for ring in range(RINGS - 1):
            inner, outer = 1 + ring * AROUND, 1 + (ring + 1) * AROUND
            triangles.append((inner + corner, outer + corner, outer + other))
            triangles.append((inner + corner, outer + other, inner + other))
    return _Mesh(points, np.array(triangles)[:, ::side], np.zeros((len(points), 2)))


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
