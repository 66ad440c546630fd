"""What hides a face in the reference frame, by the parser's label map: a mask or a hand before the mouth, hair before
the eyes. Legend: K classes, h x w the parser's grid.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .face_parts import CLASSES
from .reference import REFERENCE

MASK = ("mask", "the mouth is covered, as by a mask or a hand: mouth and chin are guessed")
STRANDS = ("hair_before_face", "hair hangs before the face: what it hides is guessed")
LIPS, EYES = ("upper_lip", "teeth", "lower_lip"), ("left_brow", "right_brow", "left_eye", "right_eye")
NO_LIPS = 0.10
"""Share of the mouth's place that is lips or teeth: of 145 real people one has less, whose hand covers the mouth; of
the same with masks drawn over their photos 98 %; of drawn portraits none without, and 8 % with a scarf, which mostly
hangs lower."""
NO_EYES = 0.04
"""Share of the place of eyes and brows that are found there. Where the parser finds less it knows no face, and what it
does not find says nothing."""
HAIR, MOST = 0.20, 0.85
"""Share of hair that all but 15 % of the places between brows, cheeks and nose have less of: of 145 people the two have
more who have hair before an eye, and nobody else who looks to the camera; of drawn portraits 42 % of those with strands
across the face, many of which hang beside it, and 2 % of others."""


def covered(probabilities: NDArray, is_frontal: bool) -> tuple[tuple[str, str], ...]:
    """What a face's label map [K, h, w] says of it that may make the character unlike the person: codes for programs,
    words for the photo's owner. `is_frontal`: of a head that is turned to the side a beard lies where the cheeks would.
    """
    mouth, eyes, middle = _places(probabilities.shape[-1])
    lips, seen = (probabilities[[CLASSES.index(part) for part in parts]].sum(0) for parts in (LIPS, EYES))
    hair = probabilities[CLASSES.index("hair")]
    knows = float(seen[eyes].mean()) > NO_EYES
    found = [
        (knows and float(lips[mouth].mean()) < NO_LIPS, *MASK),
        (is_frontal and float(np.quantile(hair[middle], MOST)) > HAIR, *STRANDS),
    ]
    return tuple((code, text) for condition, code, text in found if condition)


@cache
def _places(side: int) -> tuple[NDArray, NDArray, NDArray]:
    """Masks [side, side] of the mouth, of eyes and brows, and of what lies between brows, cheeks and nose."""
    points = REFERENCE
    nostrils, jaw, brows = points[[31, 35]], points[[4, 12]], points[[19, 24]] + [0.0, 1.2 / 32]
    cheeks = 0.35 * jaw + 0.65 * nostrils
    outlines = points[48:60], points[np.r_[17:27, 36:48]], np.concatenate([points[[36, 45]], brows, cheeks])
    return tuple(_filled(outline, side) for outline in outlines)  # pyright: ignore[reportReturnType]


def _filled(points: NDArray, side: int) -> NDArray:
    """The convex hull of points in [0, 1] as a mask [side, side]."""
    hull = cv2.convexHull(points.astype(np.float32))[:, 0]
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(hull * side * 8).astype(np.int32)], 1, shift=3)
    return mask.astype(bool)
