"""The shapes of what stands before a face: hands, scarves, caps, headbands, microphones, loose hair, blurred things.

Each is drawn in the frame of the face as cover, height and colour; engine/occluders.py lights it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.scenes import random_crop

Pictures = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class FaceFrame:
    """A picture seen in units of its face: 1 is the way from the nose's root to the chin, y points there."""

    x: NDArray[np.float32]  # [H, W] to the picture's right on an upright face
    y: NDArray[np.float32]  # [H, W] 0 at the nose's root, 1 at the chin
    unit: float  # pixels
    inside: NDArray[np.float32]  # [H, W] signed distance to the outline of face and hair, positive inside
    left: float  # where the forehead ends
    right: float
    skin: NDArray[np.float32]  # [3] median colour of the face, linear
    hair: NDArray[np.float32]  # [3] median colour of the hair, linear; of dark hair when there is none


@dataclass(frozen=True)
class Layer:
    """An occluder before light falls on it."""

    alpha: NDArray[np.float32]  # [H, W] cover
    height: NDArray[np.float32]  # [H, W] towards the camera, in units of the frame
    albedo: NDArray[np.float32]  # [H, W, 3] linear
    shadow: float = 1.0  # 0 where it is too far from the face to throw one
    lit_as_face: bool = False  # the albedo is a colour seen in the picture, already lit


def to_linear(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Display to linear as the renderer's tone curve has it."""
    return np.square(colours.astype(np.float32) / 255.0)


def to_float32(values: NDArray) -> NDArray[np.float32]:
    """Values in single precision."""
    return values.astype(np.float32)


def smooth(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """A picture [H, W] blurred by a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def _edge(distance: NDArray, frame: FaceFrame, softness: float = 0.012) -> NDArray[np.float32]:
    """Cover of a shape from its signed distance (positive inside), soft over `softness` units but at least a pixel."""
    width = max(softness, 0.7 / frame.unit)
    return (distance / (2 * width) + 0.5).clip(0.0, 1.0).astype(np.float32)


def _capsule(
    frame: FaceFrame, start: NDArray, end: NDArray, radii: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Signed distance (positive inside) and radius [H, W] of a rounded limb between two points."""
    axis = end - start
    along = ((frame.x - start[0]) * axis[0] + (frame.y - start[1]) * axis[1]) / max(float(axis @ axis), 1e-6)
    along = along.clip(0.0, 1.0)
    away = np.hypot(frame.x - start[0] - along * axis[0], frame.y - start[1] - along * axis[1])
    radius = radii[0] + along * (radii[1] - radii[0])
    return (radius - away).astype(np.float32), radius.astype(np.float32)


def _round(distance: NDArray[np.float32], radius: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """Height of a limb whose section is a circle."""
    return np.sqrt((np.square(radius) - np.square(radius - distance.clip(0.0))).clip(0.0)).astype(np.float32)


def _cloth(frame: FaceFrame, rng: np.random.Generator, textures: Pictures) -> NDArray[np.float32]:
    """Albedo [H, W, 3] of dyed cloth: a plain colour, stripes, or a piece of a picture."""
    shape = frame.x.shape
    hue, grey = rng.random(3), rng.random()
    colour = (0.02 + 0.55 * rng.random() ** 1.5) * (grey + (1 - grey) * 1.6 * hue / max(hue.mean(), 0.2))
    kind = rng.random()
    if kind < 0.4:
        pattern = np.ones((*shape, 1), np.float32)
    elif kind < 0.6:
        angle, width = rng.uniform(0, np.pi), rng.uniform(0.05, 0.2)
        wave = np.sin((frame.x * np.cos(angle) + frame.y * np.sin(angle)) * 2 * np.pi / width)
        pattern = (0.6 + 0.5 * (wave * 4).clip(-1, 1))[..., None]
    else:
        pattern = 0.15 + 1.6 * _piece(shape, rng, textures, 1.0)
    weave = 1.0 + rng.normal(size=shape).astype(np.float32)[..., None] * 0.05
    return (pattern * weave * colour.astype(np.float32)).clip(0.005, 0.9).astype(np.float32)


def _piece(shape: tuple[int, ...], rng: np.random.Generator, textures: Pictures, blur: float) -> NDArray[np.float32]:
    """A random part of a random picture [H, W, 3], linear."""
    part = random_crop(textures, rng, (0.2, 0.7), (shape[1], shape[0]))
    return cv2.GaussianBlur(to_linear(part), (0, 0), blur).astype(np.float32)


def _hand(frame: FaceFrame, rng: np.random.Generator, textures: Pictures) -> Layer:
    """Two to four fingers, a thumb now and then, and the back of a hand, from below or from a side."""
    side = -1.0 if rng.random() < 0.5 else 1.0
    angle = np.radians(rng.uniform(-10, 75)) * side  # where the hand comes from: 0 below, 90 the side
    inward, across = np.array([-np.sin(angle), -np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    tip = np.array([side * rng.uniform(0.0, 0.5), rng.uniform(0.1, 0.75)])  # the longest finger's
    fingers, length, thick = int(rng.integers(2, 5)), rng.uniform(0.6, 0.75), rng.uniform(0.078, 0.095)
    knuckles, wrist = tip - inward * length, tip - inward * (length + 0.75)
    spread, bend = rng.uniform(0.0, 0.08), rng.uniform(-0.1, 0.1)
    distance, height = np.full(frame.x.shape, -1.0, np.float32), np.zeros(frame.x.shape, np.float32)

    def add(start: NDArray, end: NDArray, radii: tuple[float, float]) -> None:
        limb, radius = _capsule(frame, start, end, radii)
        np.maximum(distance, limb, out=distance)
        np.maximum(height, _round(limb, radius), out=height)

    for finger in range(4):
        place = finger - 1.5
        base = knuckles + across * place * thick * 1.95 - inward * 0.03 * place**2
        add(wrist + across * place * thick * 1.5, base, (thick * 1.6, thick * 1.35))
        curled = finger >= fingers
        reach = length * (0.3 if curled else 1.0 - 0.06 * abs(place + 0.3) ** 1.5 - 0.05 * rng.random())
        heading = inward + across * place * spread
        joint, end = base + heading * reach * 0.5, base + heading * reach + across * bend * reach
        add(base, joint, (thick * 1.08, thick))
        add(joint, end, (thick, thick * 0.8))
    if rng.random() < 0.5:
        root = wrist - across * side * thick * 2.5 + inward * 0.25
        add(root, root + (inward * 0.8 - across * side * 0.6) * 0.5, (thick * 1.5, thick * 0.95))
    add(wrist, wrist - inward * 1.5, (thick * 3.0, thick * 3.2))
    height = smooth(height, 0.015 * frame.unit + 0.3)
    rough = smooth(rng.normal(size=distance.shape).astype(np.float32), 0.03 * frame.unit + 0.5)
    # Blood shows at the finger tips, less light between the fingers.
    redness = np.exp(-np.hypot(frame.x - tip[0], frame.y - tip[1]) / 0.3)[..., None] * np.array([0.04, -0.08, -0.06])
    between = (0.55 + 0.45 * (distance / (0.6 * thick)).clip(0.0, 1.0) + 0.3 * rough)[..., None]
    tone = frame.skin * np.array([1.0, 0.93, 0.9]) * rng.uniform(0.8, 1.05)
    return Layer(_edge(distance, frame), height, (tone * (1 + redness) * between).astype(np.float32), lit_as_face=True)


def _scarf(frame: FaceFrame, rng: np.random.Generator, textures: Pictures) -> Layer:
    """A scarf or a high collar: cloth from chin or mouth down."""
    middle = (frame.left + frame.right) / 2
    level, slope = rng.uniform(0.5, 0.95), rng.normal() * 0.08
    x = (frame.x - middle).astype(np.float32)
    half, rise = (frame.right - frame.left) / 2 + rng.uniform(0.2, 0.45), rng.uniform(0.35, 0.6)
    rim = level + slope * x + 0.02 * np.sin(x * rng.uniform(4, 12)) - rng.uniform(0.0, 0.12) * np.square(x)
    below = frame.y - rim
    # A rounded roll of cloth above, shoulders below.
    roll = (1.0 - np.hypot(x / half, (1.0 - below / rise).clip(0.0))) * rise
    distance = np.where(below > rise, (half + 0.9 * (below - rise) - np.abs(x)), roll)
    angle, pitch = rng.uniform(-0.6, 0.6), rng.uniform(0.12, 0.3)
    folds = np.sin((below * np.cos(angle) + x * np.sin(angle)) * 2 * np.pi / pitch + 2 * np.sin(2.5 * x))
    height = 0.10 * np.sqrt((distance / 0.10).clip(0.0, 1.0)) + 0.25 * np.sqrt((1 - np.square(x / half)).clip(0.0, 1.0))
    cloth = _cloth(frame, rng, textures) * (0.75 + 0.25 * folds)[..., None]
    return Layer(_edge(distance, frame), to_float32(height + pitch * 0.08 * folds), to_float32(cloth))


def _cap(frame: FaceFrame, rng: np.random.Generator, textures: Pictures) -> Layer:
    """A cap with a brim, or a woollen hat, over forehead and hair."""
    middle, half = (frame.left + frame.right) / 2, (frame.right - frame.left) / 2 + 0.1
    x = (frame.x - middle) / half
    rim = rng.uniform(-0.45, -0.25) + rng.uniform(-0.04, 0.06) * np.square(x).clip(0, 3)
    snug = frame.inside + rng.uniform(0.03, 0.08)
    distance = np.minimum(snug, rim - frame.y)
    round_off = 0.45
    height = round_off * np.sqrt((1 - np.square(1 - (snug / round_off).clip(0.0, 1.0))).clip(0.0))
    cloth = _cloth(frame, rng, textures)
    if rng.random() < 0.6:
        depth, lean = rng.uniform(0.12, 0.22), rng.normal() * 0.1
        away = (frame.y - rim + 0.03 - lean * x) / depth
        brim = (1.0 - np.hypot(x / 0.95, away)) * depth
        height = np.where(brim > 0, 0.5 + 0.3 * np.sqrt(brim.clip(0) / depth) - 0.5 * away * depth, height)
        cloth = np.where((brim > 0)[..., None], cloth * 0.7, cloth)
        distance = np.maximum(distance, brim)
    else:
        ribs = np.sin(x * half * 2 * np.pi / rng.uniform(0.04, 0.08))
        cloth = cloth * (0.85 + 0.15 * ribs)[..., None]
    return Layer(_edge(distance, frame), smooth(to_float32(height), 0.02 * frame.unit + 0.3), to_float32(cloth))


def _headband(frame: FaceFrame, rng: np.random.Generator, textures: Pictures) -> Layer:
    """A band of cloth round the forehead."""
    middle, half = (frame.left + frame.right) / 2, (frame.right - frame.left) / 2
    x = (frame.x - middle) / half
    centre = rng.uniform(-0.5, -0.28) + rng.uniform(-0.06, 0.08) * np.square(x) + rng.normal() * 0.04 * x
    band = rng.uniform(0.07, 0.16)
    distance = np.minimum(band - np.abs(frame.y - centre), frame.inside + 0.015)
    height = 0.35 * np.sqrt((1 - np.square(1 - (frame.inside / 0.35).clip(0.0, 1.0))).clip(0.0))
    height = height + 0.05 * np.sqrt((distance / band).clip(0.0, 1.0))
    return Layer(_edge(distance, frame), smooth(to_float32(height), 0.5), to_float32(_cloth(frame, rng, textures)))


def _microphone(frame: FaceFrame, rng: np.random.Generator, textures: Pictures) -> Layer:
    """The head of a microphone before the chin and its handle."""
    head = np.array([rng.normal() * 0.25, rng.uniform(0.68, 1.05)])
    lean, size = rng.normal() * 0.5, rng.uniform(0.15, 0.24)
    ball = size - np.hypot(frame.x - head[0], frame.y - head[1])
    handle, radius = _capsule(
        frame, head, head + np.array([np.sin(lean), np.cos(lean)]) * 2.5, (size * 0.6, size * 0.42)
    )
    height = np.maximum(_round(ball.astype(np.float32), size), _round(handle, radius))
    mesh = np.sin(frame.x * 2 * np.pi / 0.03) * np.sin(frame.y * 2 * np.pi / 0.03)
    shade = np.where(ball > 0, rng.uniform(0.03, 0.35) * (1 + 0.4 * mesh), rng.uniform(0.01, 0.08))
    albedo = np.repeat(shade[..., None], 3, axis=2).astype(np.float32)
    return Layer(_edge(np.maximum(ball, handle).astype(np.float32), frame), height, albedo, shadow=0.5)


def _strands(frame: FaceFrame, rng: np.random.Generator, textures: Pictures) -> Layer:
    """Loose hair that falls across the face from the parting."""
    shape = frame.x.shape
    alpha, sheen = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    side = -1.0 if rng.random() < 0.5 else 1.0
    root, end = side * rng.uniform(-0.2, 0.3), np.array([side * rng.uniform(0.15, 0.75), rng.uniform(0.3, 1.1)])
    to_pixels = _pixels_of(frame)
    for _ in range(int(rng.integers(25, 110))):
        jitter = rng.normal(size=(3, 2)) * [[0.07, 0.03], [0.07, 0.08], [0.10, 0.12]]
        control = np.array([[root, -0.75], [(root + end[0]) / 2 + side * 0.2, -0.1], end]) + jitter
        t = np.linspace(0, 1, 24)[:, None]
        curve = (1 - t) ** 2 * control[0] + 2 * t * (1 - t) * control[1] + t**2 * control[2]
        points = np.round(to_pixels(curve) * 16).astype(np.int32)
        one = np.zeros(shape, np.uint8)
        cv2.polylines(one, [points], False, 255, max(1, round(0.012 * frame.unit)), cv2.LINE_AA, 4)
        cover = one.astype(np.float32) / 255 * rng.uniform(0.4, 0.95)
        sheen = np.where(cover > 0.05, rng.uniform(0.6, 1.6), sheen)
        alpha = alpha + cover * (1 - alpha)
    albedo = frame.hair * sheen[..., None]
    return Layer(to_float32(alpha), np.zeros(shape, np.float32), to_float32(albedo), shadow=0.6, lit_as_face=True)


def _pixels_of(frame: FaceFrame) -> Callable[[NDArray], NDArray]:
    """The way from the frame's coordinates [P, 2] back to pixels [P, 2]."""
    right = np.array([frame.x[0, 1] - frame.x[0, 0], frame.x[1, 0] - frame.x[0, 0]])
    down = np.array([frame.y[0, 1] - frame.y[0, 0], frame.y[1, 0] - frame.y[0, 0]])
    inverse = np.linalg.inv(np.stack([right, down]))
    origin = np.array([frame.x[0, 0], frame.y[0, 0]])
    return lambda points: (points - origin) @ inverse.T + 0.5


def _foreground(frame: FaceFrame, rng: np.random.Generator, textures: Pictures) -> Layer:
    """Something out of focus that enters from a border of the picture."""
    height, width = frame.x.shape
    angle = rng.uniform(0, 2 * np.pi)
    towards = np.array([np.cos(angle), np.sin(angle)])
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    along = ((columns / width - 0.5) * towards[0] + (rows / height - 0.5) * towards[1]).astype(np.float32)
    across = ((columns / width - 0.5) * -towards[1] + (rows / height - 0.5) * towards[0]).astype(np.float32)
    bulge = rng.uniform(-1.5, 1.5) * np.square(across - rng.normal() * 0.15)
    inside = along - rng.uniform(0.12, 0.42) - bulge
    blur = rng.uniform(0.01, 0.05)
    cover = (inside / (2 * blur) + 0.5).clip(0, 1)
    albedo = _piece((height, width), rng, textures, blur * width) * rng.uniform(0.3, 1.0)
    alpha = (cover * cover * (3 - 2 * cover)).astype(np.float32)
    return Layer(alpha, np.zeros_like(alpha), albedo, shadow=0.0)


# How often each comes, and what draws it.
OCCLUDERS: dict[str, tuple[float, Callable[[FaceFrame, np.random.Generator, Pictures], Layer]]] = {
    "hand": (0.28, _hand),
    "scarf": (0.16, _scarf),
    "cap": (0.18, _cap),
    "headband": (0.08, _headband),
    "microphone": (0.08, _microphone),
    "strands": (0.12, _strands),
    "foreground": (0.10, _foreground),
}
