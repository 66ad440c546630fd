"""Which way up a face stands.

MediaPipe's landmark network lays an upright mesh over a face that stands on its head, and is as sure of it as of any
other; its detector, which looks first, is not. Of real photos the detector gives a straightened face 0.80 to 0.96, and
the same face on its head or its side at least 0.07 less.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

SURE = 0.88
"""No face that stood another way up reached this score: the other ways need not be looked at."""
SIDE = 128
"""Of the picture that the detector sees, pixels; a face should take about half of it."""
FAINT = 0.3
"""Lower scores are those of anything."""


class WayUp:
    """The detector inside MediaPipe's `face_landmarker.task`; a context manager, as every task has to be closed."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self._task: Any = None
        self._image: Any = None

    def __enter__(self) -> WayUp:
        import mediapipe  # slow to import
        from mediapipe.tasks.python import BaseOptions, vision

        with zipfile.ZipFile(self.model) as bundle:
            detector = bundle.read("face_detector.tflite")
        options = vision.FaceDetectorOptions(
            base_options=BaseOptions(model_asset_buffer=detector), min_detection_confidence=FAINT
        )
        self._task = vision.FaceDetector.create_from_options(options)
        self._image = lambda rgb: mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.close()

    def scores(self, crop: NDArray) -> tuple[float, float]:
        """How much a picture (RGB uint8 [SIDE, SIDE, 3]) looks like a face in its middle that stands upright, and like
        one that stands any other way up (0 where the first score leaves no doubt), both in [0, 1].
        """
        score = self._score(crop)
        if score >= SURE:
            return score, 0.0
        return score, max(self._score(np.rot90(crop, turn)) for turn in (1, 2, 3))

    def _score(self, crop: NDArray) -> float:
        found = self._task.detect(self._image(np.ascontiguousarray(crop))).detections
        return max((one.categories[0].score for one in found if _in_the_middle(one.bounding_box)), default=0.0)


def _in_the_middle(box: Any) -> bool:
    centre = np.array([box.origin_x + box.width / 2, box.origin_y + box.height / 2])
    return bool(np.abs(centre / SIDE - 0.5).max() < 0.25)
