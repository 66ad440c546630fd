"""How a picture that people look at differs from the game's own: turned, with an expression, closer, before another
background."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine import expressions, rest
from engine.scenes import FRAME_WIDTH, GAME_DISTANCE, PIVOT, Scenes, head_rotation

Crop = Literal["portrait", "face"]
TRANSPARENT = "transparent"
FOLLOWS = 0.4  # of the turn of the head that the eyes undo, to look at who looks
COLOUR = re.compile("[0-9a-fA-F]{6}")
MOST_YAW, MOST_PITCH = 90.0, 30.0
"""Degrees; the head has no back of the neck to be seen from below or above."""
CLOSER = {"portrait": (1.0, 0.46), "face": (1.4, 0.44)}
"""How much larger the face is than in the game's picture, and how far from the top the eyes stand, as a share."""


@dataclass(frozen=True)
class PictureOptions:
    """The defaults are the game's own picture. Raises ValueError, in words for whoever asked.

    yaw, pitch: degrees by which the head is turned towards the picture's right, and up. expression: weights of face
    actions in [0, 1]. background: six hexadecimal digits, "transparent", or "" for the game's own. resting: the face
    smiles a little where the expression says nothing, and the eyes of a turned head follow the camera; otherwise it is
    MakeHuman's straight face that looks ahead.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    expression: Mapping[str, float] = field(default_factory=dict)
    background: str = ""
    crop: Crop = "portrait"
    resting: bool = True

    def __post_init__(self) -> None:
        for name, most in (("yaw", MOST_YAW), ("pitch", MOST_PITCH)):
            if not abs(getattr(self, name)) <= most:
                raise ValueError(f"{name} is -{most:g} to {most:g} degrees, not {getattr(self, name):g}")
        if self.background not in ("", TRANSPARENT) and not COLOUR.fullmatch(self.background):
            raise ValueError(f"a background is rrggbb in hexadecimal digits, or {TRANSPARENT}: not {self.background}")

    def scene(self, actions: Mapping[str, int]) -> Scenes:
        """The scene of one picture; before a transparent background, of two: before black, and before white.

        actions: the column of each face action.
        """
        colours = ("000000", "ffffff") if self.background == TRANSPARENT else (self.background,)
        count = len(colours)
        weights, gaze = expressions.weights_of(self.expression, actions), np.zeros(2, np.float32)
        if self.resting:
            weights, gaze = expressions.turn_gaze(weights, actions, -FOLLOWS * self.yaw, FOLLOWS * self.pitch)
        else:
            weights -= rest.smile(actions)
        larger, level = CLOSER[self.crop]
        pivot = (PIVOT[0], PIVOT[1] + (0.5 - level) * FRAME_WIDTH / larger, PIVOT[2] - GAME_DISTANCE)
        scene = replace(
            Scenes.game(count),
            rotation=np.tile(head_rotation(self.yaw, self.pitch), (count, 1, 1)),
            translation=np.tile(np.array(pivot, np.float32), (count, 1)),
            focal=np.full(count, larger * GAME_DISTANCE / FRAME_WIDTH, np.float32),
            expression=np.tile(weights, (count, 1)),
            gaze=np.tile(gaze, (count, 1)),
        )
        return replace(scene, background=np.stack([_plain(colour) for colour in colours])) if colours[0] else scene


AS_IN_GAME = PictureOptions()


def with_alpha(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same picture before black and before white [2, H, W, 3] -> RGBA [H, W, 4], not multiplied by alpha.

    What lies before the background covers the share a of a pixel: C = a F + (1 - a) B in each channel, so that
    1 - a is the difference of the two pictures.
    """
    black, white = pictures.astype(np.float32) / 255
    alpha = (1 - (white - black).mean(-1, keepdims=True)).clip(0, 1)
    colour = np.divide(black, alpha, out=np.zeros_like(black), where=alpha > 0).clip(0, 1)
    return np.rint(255 * np.concatenate([colour, alpha], -1)).astype(np.uint8)


def _plain(colour: str) -> NDArray[np.uint8]:
    return np.broadcast_to(np.frombuffer(bytes.fromhex(colour), np.uint8), (64, 64, 3))
