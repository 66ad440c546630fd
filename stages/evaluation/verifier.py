"""A face recogniser that takes no part in training: dlib's ResNet, 128-d, trained on other data by other people."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.images import decode

PADDING = 0.25  # dlib's own margin around a face
NAMES = ("dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat")


class IndependentVerifier:
    """Describes aligned faces. `folder` is `data/embedded/judge`."""

    def __init__(self, folder: Path) -> None:
        self.dlib: Any = importlib.import_module("dlib")  # it has no types
        recogniser, predictor = (str(folder / name) for name in NAMES)
        self.recogniser = self.dlib.face_recognition_model_v1(recogniser)
        self.predictor = self.dlib.shape_predictor(predictor)

    def describe(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The descriptor [128] of one face [H, W, 3] in the reference frame."""
        side = image.shape[0]
        # Where dlib's own detector puts its box: brows to chin.
        box = self.dlib.rectangle(int(0.27 * side), int(0.33 * side), int(0.73 * side), int(0.84 * side))
        shape = self.predictor(image, box)
        return np.array(self.recogniser.compute_face_descriptor(image, shape, 0, PADDING))

    def all_of(self, images: Iterable[bytes | NDArray[np.uint8]]) -> NDArray[np.float64]:
        """The descriptors [N, 128] of faces, encoded or not."""
        return np.stack([self.describe(decode(image) if isinstance(image, bytes) else image) for image in images])
