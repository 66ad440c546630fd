"""What hides a face, by its label map."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.covered import covered
from models.face_parts import CLASSES
from models.reference import REFERENCE

OUTLINES = {"left_eye": range(42, 48), "right_eye": range(36, 42), "upper_lip": range(48, 60)}
SIDE = 32


def face(**changed: NDArray) -> NDArray:
    """The label map [K, 32, 32] of a face, on which classes lie where `changed` says."""
    labels = np.full((SIDE, SIDE), CLASSES.index("face"), np.uint8)
    for name, numbers in OUTLINES.items():
        hull = cv2.convexHull((REFERENCE[list(numbers)] * SIDE).astype(np.float32))[:, 0]
        cv2.fillPoly(labels, [np.round(hull * 8).astype(np.int32)], CLASSES.index(name), shift=3)
    for name, where in changed.items():
        labels[where] = CLASSES.index(name)
    return np.eye(len(CLASSES), dtype=np.float32)[labels].transpose(2, 0, 1)


def codes(labels: NDArray, is_frontal: bool = True) -> list[str]:
    return [code for code, _ in covered(labels, is_frontal)]


def test_a_free_face_has_no_remark() -> None:
    assert codes(face()) == []


def test_a_mouth_that_is_not_seen_is_remarked_where_the_eyes_are() -> None:
    rows = np.mgrid[:SIDE, :SIDE][0]
    masked = face(background=rows > 19)
    assert codes(masked) == ["mask"]
    blind = face(face=rows >= 0)
    assert codes(blind) == [], "a parser that finds no eyes either knows no face"


def test_hair_before_the_face_is_remarked_of_a_head_that_looks_to_the_camera() -> None:
    columns = np.mgrid[:SIDE, :SIDE][1]
    hidden = face(hair=(columns > 10) & (columns < 15))
    assert codes(hidden) == ["hair_before_face"]
    assert codes(hidden, is_frontal=False) == []
