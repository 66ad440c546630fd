"""A character's pictures in the project's reference frame, whatever draws them.

Each character has a camera of its own. Its reference points fix one similarity from its picture into the reference
frame, and every picture passes through it before a network sees it, so that photo, render and drawing overlap.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.character import Character, CharacterError, Reference
from engine.engines import Engine, RenderBatch, open_engine
from models.alignment import warp
from models.reference import REFERENCE, fit_similarity, five_points

Picture = NDArray[np.uint8]
MAX_OVERSIZE = 4.0  # an engine whose face is small is asked for a picture this much larger at the most


class FrameTransform:
    """From a character's own picture into the reference frame."""

    def __init__(self, reference: Reference) -> None:
        assert reference.size is not None
        self.width, self.height = reference.size
        self.points = np.asarray(reference.points, np.float64)
        self.target = REFERENCE if len(self.points) == len(REFERENCE) else five_points(REFERENCE)
        matrix = fit_similarity(self.points / self.height, self.target)
        self.enlargement = float(np.hypot(matrix[0, 0], matrix[1, 0]))

    def refusal(self, picture: Picture) -> str | None:
        """Why this picture cannot come from the camera that the points were measured in; None when it can."""
        height, width = picture.shape[:2]
        if abs(width - height * self.width / self.height) > 1:
            return (
                f"the picture has {width} x {height} pixels, the reference face was measured in "
                f"{self.width} x {self.height}: export all pictures with one camera, in one shape"
            )
        return None

    def __call__(self, picture: Picture, size: int) -> Picture:
        """A picture [H, W, 3] of the character's camera → [size, size, 3]. Raises CharacterError for another shape."""
        if reason := self.refusal(picture):
            raise CharacterError(reason)
        points = self.points * (picture.shape[0] / self.height)
        return warp(picture, fit_similarity(points, self.target * size), size)

    def wanted(self, size: int) -> int:
        """How high the engine's picture should be, so that the face in the reference frame is not enlarged."""
        return int(np.ceil(size * np.clip(self.enlargement, 1.0, MAX_OVERSIZE)))


class AlignedEngine:
    """What draws a character, its pictures in the reference frame. Raises CharacterError while the frame is unknown."""

    def __init__(self, character: Character, engine: Engine) -> None:
        self.schema, self.picture, self.engine = character.schema, engine.picture, engine
        # The embedded engine's camera is the reference frame.
        self.frame = None if character.is_embedded else FrameTransform(character.require_reference())

    @classmethod
    def open(cls, character: Character, embedded: Path, device: str) -> "AlignedEngine | None":
        """None where there are only pairs. Raises CharacterError."""
        engine = open_engine(character, embedded, device)
        return cls(character, engine) if engine else None

    def draw(self, sliders: NDArray[np.float32], choices: NDArray[np.int16], size: int) -> RenderBatch:
        """Sliders [B, S] and choice numbers [B, G] as pictures [B, size, size, 3]."""
        if self.frame is None:
            return self.engine.draw(sliders, choices, size)
        own = self.engine.draw(sliders, choices, self.frame.wanted(size)).image
        return RenderBatch(np.stack([self.frame(picture, size) for picture in own]), None)


@cache
def engine_of(folder: Path, embedded: Path, device: str) -> AlignedEngine | None:
    """What draws the character in a folder, opened once in a process."""
    return AlignedEngine.open(Character.load(folder), embedded, device)


def found_points(pictures: Sequence[Picture], landmarker: Path) -> tuple[NDArray[np.float64] | None, int]:
    """The median of the 68 landmarks [68, 2] in pictures of one camera and size, and in how many a face was found."""
    from models.alignment import FaceLandmarker, NoFace

    found = []
    with FaceLandmarker(landmarker) as finder:
        for picture in pictures:
            try:
                found.append(finder.find(picture)[0].landmarks)
            except NoFace:  # a stylised face may escape the detector in one picture and not in the next
                continue
    return (np.median(found, axis=0) if found else None), len(found)
