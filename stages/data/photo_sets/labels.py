"""Other people's label maps in the project's classes.

Authors do not say whose left they mean, and copies of one set that were mirrored keep the names of their classes. So a
side is never taken from a class's name: each eye and brow pixel goes to the eye or brow whose landmarks are nearer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from models import images
from models.face_parts import CLASSES
from models.images import BadImage
from models.orientation import ACROSS, UPRIGHT, turn

CLASS = {name: number for number, name in enumerate(CLASSES)}
# Landmarks of the person's right (the image's left on an upright face) and left, for both kinds of paired parts.
PAIRED = (
    ("right_brow", "left_brow", slice(17, 22), slice(22, 27)),
    ("right_eye", "left_eye", slice(36, 42), slice(42, 48)),
)
WITHOUT_SIDE = (
    (("right_eye", "left_eye"), slice(36, 48)),
    (("nose",), slice(27, 36)),
    (("upper_lip", "teeth", "lower_lip"), slice(48, 68)),
)
NEAR = 0.5
"""Of the distance between the eyes: parts of a map may lie so far from the face's own, on average."""
ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class StoredLabels:
    """A PNG that this project wrote: classes and sides are its own."""

    data: bytes

    sides_known: ClassVar[bool] = True

    def load(self) -> NDArray:
        return images.decode_labels(self.data)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        yield "labels", self.data


def read_map(path: Path) -> NDArray:
    """A picture of numbers as it is stored, uint8 [H, W]. Raises BadImage."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot read the label map {path.name}: {error.strerror or error}") from error
    try:
        return images.decode_map(data)
    except BadImage as error:
        raise BadImage(f"the label map {path.name} is damaged: {error}") from error


def table(mapping: Mapping[int, str]) -> NDArray:
    """A lookup table [256] from a set's class numbers to ours; 255 marks numbers that the set does not have."""
    lookup = np.full(256, 255, np.uint8)
    for number, name in mapping.items():
        lookup[number] = CLASS[name]
    return lookup


def translate(labels: NDArray, lookup: NDArray, file: str) -> NDArray:
    """A label map in our classes. Raises BadImage for a number that the set does not have."""
    ours = lookup[labels]
    if (unknown := ours == 255).any():
        raise BadImage(f"the label map {file} has the unknown class {int(labels[unknown][0])}")
    return ours


def fit(labels: NDArray, height: int, width: int) -> NDArray:
    """A label map at its photo's size (some sets store it smaller), ids unmixed. Raises BadImage for another shape."""
    if labels.shape == (height, width):
        return labels
    if not _has_shape(labels, height, width):
        raise BadImage(f"the label map has {labels.shape[1]} x {labels.shape[0]} pixels, the photo {width} x {height}")
    return cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def upright(labels: NDArray, height: int, width: int, orientation: int) -> list[NDArray]:
    """A label map on its photo, which is stored as [height, width] and was turned by its orientation: every way in
    which it may be meant, the likeliest first. Authors label pixels as they are stored, so the map is turned along;
    some labelled what a viewer shows. Raises BadImage where the shape is neither's.
    """
    if orientation == UPRIGHT:
        return [fit(labels, height, width)]
    shown = (width, height) if orientation in ACROSS else (height, width)
    if not _has_shape(labels, *shown):
        return [turn(fit(labels, height, width), orientation)]
    as_shown = fit(labels, *shown)
    if not _has_shape(labels, height, width):
        return [as_shown]
    return [turn(fit(labels, height, width), orientation), as_shown]


def _has_shape(labels: NDArray, height: int, width: int) -> bool:
    return abs(labels.shape[1] / labels.shape[0] * height / width - 1) <= ASPECT_TOLERANCE


def lie_on(labels: NDArray, landmarks: NDArray) -> bool:
    """Whether a map's eyes, nose and mouth are where the face [68, 2] has them, as far as it has any."""
    apart = float(np.linalg.norm(landmarks[36:42].mean(0) - landmarks[42:48].mean(0)))
    distances = []
    for names, points in WITHOUT_SIDE:
        y, x = np.nonzero(np.isin(labels, [CLASS[name] for name in names]))
        if len(x):
            place = np.array([x.mean() + 0.5, y.mean() + 0.5])
            distances.append(float(np.linalg.norm(place - landmarks[points].mean(0))))
    return not distances or float(np.mean(distances)) <= NEAR * apart


def with_own_sides(labels: NDArray, landmarks: NDArray) -> NDArray:
    """The map with each eye and brow pixel [H, W] on the side whose landmarks [68, 2] it is nearer to."""
    ours = labels.copy()
    for right, left, right_points, left_points in PAIRED:
        y, x = np.nonzero((labels == CLASS[right]) | (labels == CLASS[left]))
        points = np.stack([x, y], 1) + 0.5
        distances = [((points - landmarks[part].mean(0)) ** 2).sum(1) for part in (right_points, left_points)]
        ours[y, x] = np.where(distances[0] <= distances[1], CLASS[right], CLASS[left])
    return ours


def centre(labels: NDArray, without: Sequence[str] = ("background", "hair")) -> tuple[float, float] | None:
    """Mean place (x, y) of the labelled face in pixels; None where no face is labelled."""
    y, x = np.nonzero(~np.isin(labels, [CLASS[name] for name in without]))
    return (float(x.mean()) + 0.5, float(y.mean()) + 0.5) if len(x) else None
