"""A stand-in for a studio's engine: marble busts, drawn with OpenCV's rasteriser in a camera of its own.

It knows its own parameter names, units and ranges (PARAMETERS, GROUPS) and nothing of the project's; from the project
it borrows a head mesh. As a Python renderer: `renderer: {python: "sculptor:draw"}`. As a command:

    python sculptor.py PARAMETERS.csv OUT_FOLDER SIZE
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

import engine
from engine.head import Head

HEAD_FOLDER = Path(engine.__file__).parents[1] / "data" / "embedded" / "character"
Floats = NDArray[np.float32]


class Parameter(NamedTuple):
    """A parameter of this engine: its range, and the morphs that it drives below and above its middle."""

    low: float
    high: float
    negative: tuple[str, ...]
    positive: tuple[str, ...]


def _both(name: str, down: str, up: str, low: float = -100, high: float = 100) -> Parameter:
    sides = [name.replace("*", side) for side in "lr"] if "*" in name else [name]
    return Parameter(low, high, tuple(f"{s}-{down}" for s in sides), tuple(f"{s}-{up}" for s in sides))


PARAMETERS: dict[str, Parameter] = {
    "Masculinity": Parameter(0, 100, (), ()),
    "Years": Parameter(20, 90, (), ()),
    "SkullWidth": _both("head/head-scale-horiz", "decr", "incr"),
    "SkullHeight": _both("head/head-scale-vert", "decr", "incr"),
    "Fullness": _both("head/head-fat", "decr", "incr"),
    "ForeheadSlope": _both("forehead/forehead-nubian", "decr", "incr"),
    "BrowRidge": _both("eyebrows/eyebrows-trans", "backward", "forward"),
    "BrowTilt": _both("eyebrows/eyebrows-angle", "down", "up", -10, 10),
    "EyeSize": _both("eyes/*-eye-scale", "decr", "incr"),
    "EyeSpacing": _both("eyes/*-eye-trans", "in", "out", -5, 5),
    "NoseWidth": _both("nose/nose-scale-horiz", "decr", "incr"),
    "NoseLength": _both("nose/nose-scale-vert", "decr", "incr", -12, 12),
    "NoseProjection": _both("nose/nose-scale-depth", "decr", "incr", -8, 8),
    "NoseHump": _both("nose/nose-hump", "decr", "incr"),
    "Cheekbones": _both("cheek/*-cheek-bones", "decr", "incr"),
    "MouthWidth": _both("mouth/mouth-scale-horiz", "decr", "incr", -10, 10),
    "LipFullness": _both("mouth/mouth-scale-vert", "decr", "incr"),
    "MouthHeight": _both("mouth/mouth-trans", "down", "up", -6, 6),
    "JawWidth": _both("chin/chin-bones", "decr", "incr"),
    "ChinLength": _both("chin/chin-height", "decr", "incr", -8, 8),
    "ChinProjection": _both("chin/chin-prominent", "decr", "incr", -6, 6),
    "EarSize": _both("ears/*-ear-scale", "decr", "incr"),
}
GROUPS: dict[str, tuple[Any, ...]] = {
    "Stone": ("carrara", "verde", "bronze", "terracotta"),
    "HairMass": (0, 1, 2),  # bald, cropped, curls
    "Pupils": ("blank", "drilled"),
}

# Camera: the bust stands left of the middle, seen a little from below; the picture spans FIELD in height.
DISTANCE, FIELD, RISE, SHIFT, PITCH = 1.6, np.radians(15.2), 0.040, 0.030, np.radians(3.0)
KEY = np.array([-0.55, 0.62, 0.56], np.float32)
LIGHT_DISTANCE, LIGHT_FIELD, LIGHT_SIZE = 3.0, np.radians(16.0), 384
NEAR, FAR = 0.3, 6.0
BACKDROP = np.array([0.33, 0.29, 0.27], np.float32)
SKIN, EYE, SOCLE = 0, 1, 2
NECK_DEPTH = -0.088
VEIN = np.array([[31, 17, 9], [-13, 29, 21], [7, -19, 37]], np.float32)
STONES: dict[str, tuple[Sequence[float], Sequence[float], float]] = {  # linear colour, vein colour, gloss
    "carrara": ((0.74, 0.73, 0.70), (0.30, 0.32, 0.36), 0.2),
    "verde": ((0.16, 0.30, 0.22), (0.52, 0.62, 0.52), 0.35),
    "bronze": ((0.30, 0.17, 0.07), (0.12, 0.22, 0.17), 0.9),
    "terracotta": ((0.52, 0.23, 0.13), (0.42, 0.17, 0.10), 0.05),
}


class Sculptor:
    """The mesh and what is computed from it once."""

    def __init__(self, folder: Path) -> None:
        self.head = Head.load(folder)
        base, eyes = self.head.part["base"], self.head.part["eyes"]
        stop = base.first_triangle + base.n_triangles, eyes.first_triangle + eyes.n_triangles
        triangles = self.head.triangles
        body, balls = triangles[base.first_triangle : stop[0]], triangles[eyes.first_triangle : stop[1]]
        self.socle, socle_triangles = _socle()
        n = self.head.n_vertices
        self.triangles = np.concatenate([body, balls, socle_triangles + n]).astype(np.int32)
        kind = np.full(n + len(self.socle), SKIN, np.float32)
        kind[eyes.first_vertex : eyes.first_vertex + eyes.n_vertices], kind[n:] = EYE, SOCLE
        self.kind = kind
        self.cut = np.zeros((len(kind), 3), np.float32)
        rest = self.geometry({})
        self.cut[: self.head.n_base] = _bust_cut(rest[: self.head.n_base])
        self.rest = self.geometry({})
        self.hair = self._hair_mask(self.rest)

    def geometry(self, values: Mapping[str, float]) -> Floats:
        """Vertices [V, 3] in metres for parameters in the engine's units; what is not given stands in the middle."""
        head = self.head
        weights: dict[str, float] = {}
        for name, parameter in PARAMETERS.items():
            middle = (parameter.low + parameter.high) / 2
            offset = (float(values.get(name, middle)) - middle) / (parameter.high - middle)
            for morph in parameter.positive if offset > 0 else parameter.negative:
                weights[morph] = abs(offset)
        male = float(values.get("Masculinity", 50)) / 100
        old = (float(values.get("Years", 55)) - 20) / 70
        for sex, by_sex in (("female", 1 - male), ("male", male)):
            for age, by_age in (("young", 1 - old), ("old", old)):
                weights[f"macro/caucasian-{sex}-{age}"] = by_sex * by_age
                weights[f"macro/universal-{sex}-{age}-averagemuscle-averageweight"] = by_sex * by_age
        columns = [head.morph_index[name] for name in weights]
        base = head.template + np.tensordot(np.array(list(weights.values()), np.float32), head.morphs[columns], 1)
        bound = (base[head.references] * head.weights[..., None]).sum(axis=1) + head.offsets
        return np.concatenate([base, bound, self.socle]).astype(np.float32) + self.cut

    def _hair_mask(self, rest: Floats) -> Floats:
        """How much of a vertex is under the hair, [V] in [0, 1]: above a slanted hairline, ears left out."""
        head = self.head
        ears = np.zeros(len(rest), np.float32)
        for side in "lr":
            moved = np.linalg.norm(head.morphs[head.morph_index[f"ears/{side}-ear-scale-incr"]], axis=1)
            ears[: len(moved)] += moved / moved.max()
        x, y, z = rest.T
        above = y - (0.062 + 0.62 * (z - 0.0)) + 0.9 * np.maximum(np.abs(x) - 0.045, 0)
        mask = np.clip(above / 0.012, 0, 1) * np.clip(1 - 6 * ears, 0, 1)
        mask[head.n_base :] = 0
        return mask.astype(np.float32)

    def draw(self, row: Mapping[str, Any], size: int) -> NDArray[np.uint8]:
        """One bust as RGB [size, size, 3], drawn at twice the size and averaged."""
        values = {name: float(row[name]) for name in PARAMETERS}
        stone, drilled = str(row["Stone"]), str(row["Pupils"]) == "drilled"
        mass = int(float(row["HairMass"]))
        vertices = self.geometry(values)
        thickness = (0.0, 0.004, 0.013)[mass] * self.hair * (1 + 0.35 * _waves(self.rest, 220.0))
        vertices = (vertices + thickness[:, None] * _normals(vertices, self.triangles)).astype(np.float32)
        normals = _normals(vertices, self.triangles)
        buffers = self._rasterise(vertices, normals, 2 * size)
        shaded = self._shade(buffers, vertices, stone, mass, drilled)
        picture = cv2.resize(shaded, (size, size), interpolation=cv2.INTER_AREA)
        return (np.clip(picture, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)

    def _rasterise(self, vertices: Floats, normals: Floats, size: int) -> dict[str, Floats]:
        """Depth, normals, positions, positions at rest and material as pictures: colours that stand for attributes."""
        camera = _camera()
        extra = np.stack([self.kind / 2, self.hair, np.zeros_like(self.hair)], axis=1)
        attributes = {
            "normal": normals * 0.5 + 0.5, "position": vertices + 0.5, "rest": self.rest + 0.5, "extra": extra,
        }  # fmt: skip
        buffers = {}
        for name, colours in attributes.items():
            colour, depth = np.zeros((size, size, 3), np.float32), np.full((size, size), FAR, np.float32)
            drawn = cv2.triangleRasterize(
                vertices,
                self.triangles,
                colours.astype(np.float32),
                colour,
                depth,
                camera,
                FIELD,
                NEAR,
                FAR,
                _settings(),
            )
            buffers[name], buffers["depth"] = drawn
        return buffers

    def _shade(self, buffers: dict[str, Floats], vertices: Floats, stone: str, mass: int, drilled: bool) -> Floats:
        size = len(buffers["depth"])
        fade = np.linspace(1.15, 0.75, size, dtype=np.float32)[:, None, None]
        picture = np.broadcast_to(BACKDROP**2.2 * fade, (size, size, 3)).copy()
        inside = buffers["depth"] < FAR * 0.99
        normal = buffers["normal"][inside] * 2 - 1
        position, rest = buffers["position"][inside] - 0.5, buffers["rest"][inside] - 0.5
        kind = np.round(buffers["extra"][inside][:, 0] * 2)
        hair = buffers["extra"][inside][:, 1] * (mass > 0)
        normal = normal + (0.55 * hair * (kind == SKIN))[:, None] * _strands(rest, (0.0, 420.0, 300.0)[mass])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        base, vein, gloss = STONES[stone]
        veins = _veins(rest)[:, None]
        albedo = (np.array(base) * (1 - veins) + np.array(vein) * veins).astype(np.float32)
        if drilled:
            albedo = albedo * (1 - 0.85 * self._pupils(position, kind, vertices))[:, None]
        lit = self._lit(position + 0.002 * normal, vertices)
        key = KEY / np.linalg.norm(KEY)
        diffuse = np.clip((normal @ key + 0.25) / 1.25, 0, 1) * (0.25 + 0.75 * lit)
        half = key + np.array([0, 0, 1], np.float32)
        shine = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** (20 + 40 * gloss) * lit
        ambient = 0.34 + 0.20 * normal[:, 1] + 0.10 * normal[:, 0]
        light = 0.78 * diffuse + np.clip(0.8 * ambient, 0.05, 1) * _crevices(buffers["depth"])[inside]
        picture[inside] = albedo * light[:, None] + gloss * 0.35 * shine[:, None]
        return picture

    def _pupils(self, position: Floats, kind: Floats, vertices: Floats) -> Floats:
        """1 inside the drilled pupils of points [P, 3], else 0."""
        eyes = self.head.part["eyes"]
        balls = vertices[eyes.first_vertex : eyes.first_vertex + eyes.n_vertices]
        inside = np.zeros(len(position), np.float32)
        for side in (balls[:, 0] > 0, balls[:, 0] <= 0):
            middle = (balls[side].min(axis=0) + balls[side].max(axis=0)) / 2
            radius = np.linalg.norm(position[:, :2] - middle[:2], axis=1)
            inside = np.maximum(inside, np.clip((0.0036 - radius) / 0.0008, 0, 1))
        return inside * (kind == EYE)

    def _lit(self, points: Floats, vertices: Floats) -> Floats:
        """Share of the key light that reaches points [P, 3], by a shadow map."""
        view = _look_from((KEY * (LIGHT_DISTANCE / np.linalg.norm(KEY))).astype(np.float32))
        depth = np.full((LIGHT_SIZE, LIGHT_SIZE), FAR, np.float32)
        depth = cv2.triangleRasterizeDepth(vertices, self.triangles, depth, view, LIGHT_FIELD, NEAR, FAR, _settings())
        seen = points @ view[:, :3].T + view[:, 3]
        scale = LIGHT_SIZE / 2 / np.tan(LIGHT_FIELD / 2)
        x = LIGHT_SIZE / 2 + scale * seen[:, 0] / -seen[:, 2]
        y = LIGHT_SIZE / 2 - scale * seen[:, 1] / -seen[:, 2]
        shares = []
        for dx, dy in ((0, 0), (1.5, 0), (-1.5, 0), (0, 1.5), (0, -1.5)):
            column = np.clip(x + dx, 0, LIGHT_SIZE - 1).astype(int)
            row = np.clip(y + dy, 0, LIGHT_SIZE - 1).astype(int)
            shares.append(depth[row, column] > -seen[:, 2] - 0.004)
        return np.mean(shares, axis=0).astype(np.float32)


def _camera() -> Floats:
    """World to camera, [3, 4]: a little from below, the bust left of the middle."""
    c, s = np.cos(PITCH), np.sin(PITCH)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.concatenate([turn, [[-SHIFT], [RISE], [-DISTANCE]]], axis=1).astype(np.float32)


def _look_from(eye: Floats) -> Floats:
    """World to camera, [3, 4], of a camera at `eye` that looks at the origin."""
    back = eye / np.linalg.norm(eye)
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(back, right), back])
    return np.concatenate([turn, -(turn @ eye)[:, None]], axis=1).astype(np.float32)


@cache
def _settings() -> Any:
    settings = cv2.TriangleRasterizeSettings()
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    return settings


def _normals(vertices: Floats, triangles: NDArray[np.int32]) -> Floats:
    """Unit vertex normals [V, 3]."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    faces, normals = np.cross(b - a, c - a), np.zeros_like(vertices)
    for axis in range(3):
        weights = np.repeat(faces[:, axis], 3)
        normals[:, axis] = np.bincount(triangles.ravel(), weights, len(vertices))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _bust_cut(rest: Floats) -> Floats:
    """What brings vertices [V, 3] of the shoulders onto the round neck that a bust ends in."""
    axis = np.array([0.0, NECK_DEPTH], np.float32)
    level = np.maximum(rest[:, 1], -0.15)
    widest = 0.058 + 0.7 * np.maximum(-0.115 - level, 0)
    radius = np.linalg.norm(rest[:, [0, 2]] - axis, axis=1)
    below = np.clip((-0.115 - rest[:, 1]) / 0.02, 0, 1)
    shrink = 1 - below * (1 - np.minimum(widest / np.maximum(radius, 1e-6), 1))
    moved = np.zeros_like(rest)
    moved[:, [0, 2]] = (rest[:, [0, 2]] - axis) * (shrink - 1)[:, None]
    moved[:, 1] = level - rest[:, 1]
    return moved


def _socle(sides: int = 48) -> tuple[Floats, NDArray[np.int32]]:
    """A turned foot below the shoulders: a surface of revolution."""
    profile = np.array(
        [[0.05, -0.10], [0.083, -0.150], [0.090, -0.153], [0.090, -0.168], [0.074, -0.176], [0.074, -0.26]], np.float32
    )
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = [[r * c, y, r * s + NECK_DEPTH] for r, y in profile for c, s in ring]
    k = np.arange(sides)
    rows = []
    for level in range(len(profile) - 1):
        a, b = level * sides + k, level * sides + (k + 1) % sides
        rows += [np.stack([a, b, a + sides], axis=1), np.stack([b, b + sides, a + sides], axis=1)]
    return np.array(points, np.float32), np.concatenate(rows).astype(np.int32)


def _waves(p: Floats, frequency: float) -> Floats:
    """Smooth bumps in [-1,1] at points [P, 3]."""
    bend = 0.8 * np.sin(p[:, [1, 2, 0]] * frequency * 0.31 + 1.7)
    return np.sin(p * frequency + 2 * bend).prod(axis=1) * 1.6


def _strands(p: Floats, frequency: float) -> Floats:
    """The slope [P, 3] of a chiselled surface."""
    if not frequency:
        return np.zeros_like(p)
    step = np.eye(3, dtype=np.float32) * 0.15 / frequency
    middle = _waves(p, frequency)
    return np.stack([middle - _waves(p + delta, frequency) for delta in step], axis=1) * 3


def _veins(p: Floats) -> Floats:
    """How much of the vein colour shows at points [P, 3], in [0, 1]."""
    warped = p + 0.016 * np.sin(p @ VEIN.T) + 0.005 * np.sin(p @ VEIN.T * 3.1 + 2.0)
    broad, fine = np.abs(np.sin(warped @ VEIN[0] * 0.9 + 0.4)), np.abs(np.sin(warped @ VEIN[1] * 2.3 + 1.0))
    return 0.55 * np.clip(1 - broad * 3.2, 0, 1) ** 2 + 0.35 * np.clip(1 - fine * 5, 0, 1) ** 2


def _crevices(depth: Floats) -> Floats:
    """Darkening where a point lies deeper than its surroundings (Luft et al. 2006), [H, W] in [0, 1]."""
    near = np.minimum(depth, DISTANCE + 0.2)
    reach = len(depth) / 48
    return np.clip(1 - 22 * np.maximum(near - cv2.GaussianBlur(near, (0, 0), reach), 0), 0.3, 1)


@cache
def _sculptor(folder: Path) -> Sculptor:
    return Sculptor(folder)


def draw(rows: Sequence[Mapping[str, Any]], size: int) -> list[NDArray[np.uint8]]:
    """Pictures [size, size, 3] RGB of rows of parameters by name, in this engine's units."""
    sculptor = _sculptor(HEAD_FOLDER)
    return [sculptor.draw(row, size) for row in rows]


def main(parameters: Path, out: Path, size: int) -> None:
    """Draw each row of a CSV as OUT/<picture>."""
    with parameters.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, image in zip(rows, draw(rows, size), strict=True):
        cv2.imwrite(str(out / row["picture"]), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
