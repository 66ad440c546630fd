"""Random photographers: scenes for the portrait look, and what a camera does to a picture after the lens."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from engine.lights import Panorama
from engine.scenes import FRAME_WIDTH, N_ACTIONS, PIVOT, Scenes

# People who are photographed smile, and often show their teeth.
LAUGH = (
    *("mouthSmileLeft", "mouthSmileRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("mouthLowerDownLeft", "mouthLowerDownRight", "cheekSquintLeft", "cheekSquintRight"),
)
# Face actions that come in pairs move together; those that hide what the face is are left out.
EXPRESSIONS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("mouthSmileLeft", "mouthSmileRight"), 0.9),
    (LAUGH, 0.8),
    (LAUGH, 0.8),
    (("jawOpen",), 0.5),
    (("jawOpen",), 0.5),
    (("browInnerUp",), 0.8),
    (("browDownLeft", "browDownRight"), 0.8),
    (("browOuterUpLeft", "browOuterUpRight"), 0.8),
    (("eyeSquintLeft", "eyeSquintRight"), 0.8),
    (("eyeWideLeft", "eyeWideRight"), 0.5),
    (("eyeBlinkLeft", "eyeBlinkRight"), 0.35),
    (("mouthFrownLeft", "mouthFrownRight"), 0.6),
    (("mouthPressLeft", "mouthPressRight"), 0.6),
    (("mouthUpperUpLeft", "mouthUpperUpRight"), 0.35),
    (("mouthPucker",), 0.3),
    (("cheekSquintLeft", "cheekSquintRight"), 0.8),
    (("mouthDimpleLeft", "mouthDimpleRight"), 0.7),
    (("mouthStretchLeft", "mouthStretchRight"), 0.4),
    (("noseSneerLeft", "noseSneerRight"), 0.4),
)


class Nuisance(BaseModel, frozen=True, extra="forbid"):
    """How much portraits of one person may differ: standard deviations, or ranges where two numbers are given."""

    yaw: float = Field(default=16.0, description="degrees")
    pitch: float = Field(default=7.0, description="degrees")
    roll: float = Field(default=5.0, description="degrees")
    max_yaw: float = Field(default=60.0, description="degrees")
    expression: float = Field(default=0.65, description="chance that a face is not neutral")
    distance: tuple[float, float] = Field(default=(0.55, 2.2), description="camera to face, metres")
    zoom: tuple[float, float] = Field(default=(1.0, 1.3), description="width of the frame, 1 is the game's")
    exposure: float = Field(default=0.18, description="natural logarithm")
    cast: float = Field(default=0.04, description="gain of a colour channel")
    blur: tuple[float, float] = Field(default=(0.0, 1.1), description="sigma, pixels at 256")
    noise: tuple[float, float] = Field(default=(0.0, 7.0), description="of 255")
    jpeg: tuple[int, int] = Field(default=(60, 96), description="quality")


def portrait(
    rng: np.random.Generator,
    nuisance: Nuisance,
    actions: dict[str, int],
    panoramas: Sequence[Panorama],
    backgrounds: Sequence[NDArray[np.uint8]],
) -> tuple[Scenes, dict[str, float | str]]:
    """One random scene and what describes it (degrees, metres). `actions` numbers the face actions by name."""
    yaw = float(np.clip(rng.normal() * nuisance.yaw, -nuisance.max_yaw, nuisance.max_yaw))
    pitch, roll = float(rng.normal() * nuisance.pitch), float(rng.normal() * nuisance.roll)
    distance = float(np.exp(rng.uniform(*np.log(nuisance.distance))))
    focal = distance / (FRAME_WIDTH * float(rng.uniform(*nuisance.zoom)))
    shift = rng.normal(size=2) * 0.010
    panorama, turn = panoramas[int(rng.integers(len(panoramas)))], float(rng.random())
    light = panorama.light(turn)
    expression = _expression(rng, nuisance, actions)
    scene = Scenes(
        rotation=_rotation(yaw, pitch, roll)[None],
        translation=np.array([[PIVOT[0] + shift[0], PIVOT[1] + 0.012 + shift[1], PIVOT[2] - distance]], np.float32),
        focal=np.array([focal], np.float32),
        expression=expression[None],
        gaze=np.radians([[rng.normal() * 6 - yaw * rng.uniform(0, 0.6), rng.normal() * 3]]).astype(np.float32),
        sh=light.sh[None],
        key_direction=light.key_direction[None],
        key_colour=light.key_colour[None],
        exposure=np.array([0.9 * np.exp(rng.normal() * nuisance.exposure)], np.float32),
        background=_background(rng, panorama, turn, backgrounds)[None],
    )
    described = {
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "distance": distance,
        "light": panorama.name,
        "exposure": float(scene.exposure[0]),
    }
    return scene, described


def develop(image: NDArray[np.uint8], rng: np.random.Generator, nuisance: Nuisance) -> tuple[bytes, dict[str, float]]:
    """A render [H,W,3] as a camera would store it: colour cast, blur, noise, JPEG. Returns the file's bytes."""
    gains = 1.0 + rng.normal(size=3) * nuisance.cast
    blur, noise = float(rng.uniform(*nuisance.blur)), float(rng.uniform(*nuisance.noise))
    quality = int(rng.integers(*nuisance.jpeg))
    picture = image.astype(np.float32) * gains.astype(np.float32)
    if blur > 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), blur * image.shape[1] / 256)
    picture += rng.normal(size=image.shape).astype(np.float32) * noise * (0.4 + 0.6 * picture / 255.0)
    stored = cv2.cvtColor((picture + 0.5).clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return encoded.tobytes(), {"blur": blur, "noise": noise, "jpeg": float(quality)}


def _rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float32]:
    """Head to camera, degrees: yaw turns the head to its left (the image's right), pitch up, roll to the image's
    left."""
    y, p, r = np.radians([yaw, -pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (about_z @ about_x @ about_y).astype(np.float32)


def _expression(rng: np.random.Generator, nuisance: Nuisance, actions: dict[str, int]) -> NDArray[np.float32]:
    weights = np.zeros(N_ACTIONS, np.float32)
    if rng.random() < nuisance.expression:
        for number in rng.choice(len(EXPRESSIONS), size=rng.integers(1, 4), replace=False):
            names, most = EXPRESSIONS[number]
            weights[[actions[name] for name in names]] = rng.uniform(0.2, 1.0) * most
    return weights


def _background(
    rng: np.random.Generator, panorama: Panorama, turn: float, backgrounds: Sequence[NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """The surroundings, another picture out of focus, or a plain wall, 96 pixels wide."""
    kind = rng.random()
    if kind < 0.45:
        return panorama.backdrop(turn, 96, float(rng.uniform(0.5, 1.2)))
    if kind < 0.85:
        source = backgrounds[int(rng.integers(len(backgrounds)))]
        side = int(min(source.shape[:2]) * rng.uniform(0.4, 1.0))
        row, column = (int(rng.integers(length - side + 1)) for length in source.shape[:2])
        crop = cv2.resize(source[row : row + side, column : column + side], (96, 96), interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.5, 4.0))).astype(np.uint8)
    return np.broadcast_to(rng.integers(20, 245) + rng.normal(size=3) * 8, (96, 96, 3)).clip(0, 255).astype(np.uint8)
