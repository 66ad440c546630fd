"""What a face at rest looks like to MediaPipe: do renders of people hold their brows as the people themselves do?

Two figures of a picture, both of somebody who looks into the camera and does nothing in particular: how high the inner
ends of the brows stand above the line through the eyes, as a share of the eyes' distance, and MediaPipe's own
coefficient of lowered brows (`browDown`, [0, 1]). A character whose brows lie low looks stern whatever its owner did.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# Landmarks of MediaPipe's face mesh (478 points): the corners of each eye, and the inner end of each brow.
EYES = ((33, 133), (362, 263))
BROW_ENDS = ((55, 107), (285, 336))  # lower and upper edge
COMPARED = ("brow_height", "brow_down")
CALM = 0.2  # MediaPipe's coefficient of a smile, below which a photo counts as calm

Measures = dict[str, float]


class Expressions:
    """Measures pictures; use it in a `with` block. `model`: path of `face_landmarker.task`."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self._task: Any = None

    def __enter__(self) -> Self:
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self.model)), output_face_blendshapes=True
        )
        self._task = vision.FaceLandmarker.create_from_options(options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.close()

    def measure(self, picture: NDArray[np.uint8]) -> Measures | None:
        """The figures of one picture, RGB uint8 [H, W, 3]; None where MediaPipe finds no face."""
        import mediapipe

        found = self._task.detect(
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        )
        if not found.face_landmarks:
            return None
        height, width = picture.shape[:2]
        points = np.array([(p.x * width, p.y * height) for p in found.face_landmarks[0]])
        right, left = (points[list(corners)].mean(axis=0) for corners in EYES)
        across = left - right
        distance = float(np.hypot(*across))
        up = np.array([across[1], -across[0]]) / distance
        ends = [points[list(edge)].mean(axis=0) for edge in BROW_ENDS]
        heights = [float((end - eye) @ up) / distance for end, eye in zip(ends, (right, left), strict=True)]
        score = {shape.category_name: shape.score for shape in found.face_blendshapes[0]}
        return {
            "brow_height": float(np.mean(heights)),
            "brow_down": (score["browDownLeft"] + score["browDownRight"]) / 2,
            "smile": (score["mouthSmileLeft"] + score["mouthSmileRight"]) / 2,
        }


def compared(photos: Sequence[Measures | None], renders: Sequence[Measures | None]) -> dict[str, Any]:
    """Medians over those in whose pictures MediaPipe finds a face: over all, and over those who do not smile."""
    pairs = [(photo, render) for photo, render in zip(photos, renders, strict=True) if photo and render]
    calm = [pair for pair in pairs if pair[0]["smile"] < CALM]
    return {name: _medians(some) for name, some in (("everybody", pairs), ("calm", calm)) if some}


def _medians(pairs: Sequence[tuple[Measures, Measures]]) -> dict[str, Any]:
    figures = {
        name: {
            "photos": float(np.median([photo[name] for photo, _ in pairs])),
            "renders": float(np.median([render[name] for _, render in pairs])),
        }
        for name in COMPARED
    }
    return {"n": len(pairs), **figures}
