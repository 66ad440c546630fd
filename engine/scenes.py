"""Cameras, poses, expressions and light: the fixed *game* look and the random *portrait* look."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import lights

# Metres. The pivot is where the head turns on the neck, in the head's own frame.
PIVOT = (0.0, -0.06, -0.10)
GAME_DISTANCE = 1.1
FRAME_WIDTH = 0.262  # what the frame spans at the eyes, so that they stand .24 of it apart
EYE_LEVEL = 0.46  # from the top, as a share of the frame
N_ACTIONS = 52


@dataclass(frozen=True)
class Scenes:
    """B scenes as arrays; indexing with a slice gives fewer."""

    rotation: NDArray[np.float32]  # [B, 3, 3] head to camera
    translation: NDArray[np.float32]  # [B, 3] where the pivot lies in view space, metres
    focal: NDArray[np.float32]  # [B] focal length in image widths
    expression: NDArray[np.float32]  # [B, 52] weights of the face actions
    gaze: NDArray[np.float32]  # [B, 2] yaw and pitch of the eyes, radians
    sh: NDArray[np.float32]  # [B, 9, 3]
    key_direction: NDArray[np.float32]  # [B, 3]
    key_colour: NDArray[np.float32]  # [B, 3]
    exposure: NDArray[np.float32]  # [B]
    environment: NDArray[np.float32]  # [B, 16, 32, 3] what mirrors show, see engine.lights.Light
    background: NDArray[np.uint8]  # [B, h, w, 3] sRGB, scaled to the picture's size

    def __getitem__(self, chosen: slice) -> "Scenes":
        return Scenes(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def __len__(self) -> int:
        return len(self.focal)

    @classmethod
    def game(cls, count: int) -> "Scenes":
        """The game's own picture: fixed camera and light, neutral face, plain background."""
        light = lights.studio_light((-0.5, 0.42, 0.85), key=0.75, warm=1.03)
        focal = GAME_DISTANCE / FRAME_WIDTH
        rise = (0.5 - EYE_LEVEL) * FRAME_WIDTH

        def each(value: object, dtype: type = np.float32) -> NDArray:
            array = np.asarray(value, dtype=dtype)
            return np.broadcast_to(array, (count, *array.shape)).copy()

        backdrop = np.linspace(150, 110, 64)[:, None, None] * np.array([0.96, 0.99, 1.03])
        return cls(
            rotation=each(np.eye(3)),
            translation=each([PIVOT[0], PIVOT[1] + rise, PIVOT[2] - GAME_DISTANCE]),
            focal=each(focal),
            expression=each(np.zeros(N_ACTIONS)),
            gaze=each([0.0, 0.0]),
            sh=each(light.sh),
            key_direction=each(light.key_direction),
            key_colour=each(light.key_colour),
            exposure=each(1.02),
            environment=each(light.environment),
            background=each(np.broadcast_to(backdrop, (64, 64, 3)), np.uint8),
        )

    @classmethod
    def unmoved(cls, count: int) -> "Scenes":
        """The game's picture with the head left in its own frame, so that view space is that frame."""
        return replace(cls.game(count), translation=np.tile(np.array(PIVOT, np.float32), (count, 1)))

    def backgrounds(self, size: int) -> NDArray[np.uint8]:
        """Backgrounds [B, size, size, 3]."""
        return np.stack([cv2.resize(b, (size, size), interpolation=cv2.INTER_LINEAR) for b in self.background])


def load_panoramas(embedded: Path) -> list[lights.Panorama]:
    """All HDR panoramas below `data/embedded/light`, by name."""
    return [lights.Panorama.load(path) for path in sorted((embedded / "light").glob("*.exr"))]


def load_backgrounds(embedded: Path) -> list[NDArray[np.uint8]]:
    """All background pictures below `data/embedded/backgrounds`, sRGB."""
    images = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in sorted((embedded / "backgrounds").iterdir())]
    return [image.astype(np.uint8) for image in images if image is not None]


def random_crop(
    pictures: Sequence[NDArray[np.uint8]], rng: np.random.Generator, share: tuple[float, float], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """A random square of a random picture, scaled to `size` (width, height). `share` is the range of the square's side
    over the picture's shorter side."""
    source = pictures[int(rng.integers(len(pictures)))]
    side = int(min(source.shape[:2]) * rng.uniform(*share))
    row, column = (int(rng.integers(length - side + 1)) for length in source.shape[:2])
    part = source[row : row + side, column : column + side]
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def head_rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> NDArray[np.float32]:
    """Head to camera [3, 3]; angles in degrees. Yaw turns the head to its left (the image's right), pitch up, roll to
    the image's left."""
    y, p, r = np.radians([yaw, -pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (about_z @ about_x @ about_y).astype(np.float32)
