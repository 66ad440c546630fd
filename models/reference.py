"""The reference frame: where the average face's landmarks lie in it, and transforms of points.

Coordinates and landmarks are those of `alignment`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_REFERENCE_FILE = Path(__file__).with_name("reference.json")
REFERENCE: NDArray = np.asarray(json.loads(_REFERENCE_FILE.read_text())["points"], np.float64)
"""The average face's landmarks in the square crop, [68, 2] in [0, 1]."""


def five_points(landmarks: NDArray) -> NDArray:
    """Eye centres, nose tip and mouth corners of 68 landmarks, the image's left first: [5, 2]."""
    left_eye, right_eye = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    return np.stack([left_eye, right_eye, landmarks[30], landmarks[48], landmarks[54]])


def fit_similarity(source: NDArray, target: NDArray) -> NDArray:
    """The rotation, uniform scale and shift that bring `source` [N, 2] closest to `target` in least squares: [2, 3]
    (Umeyama 1991).

    In the plane the optimum is one complex factor, the regression of the centred target on the centred source.
    """
    p, q = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    p_mean, q_mean = p.mean(), q.mean()
    spread = (np.abs(p - p_mean) ** 2).sum()
    if spread < 1e-12:
        raise ValueError("all points coincide: no similarity can be fitted")
    factor = ((p - p_mean).conj() * (q - q_mean)).sum() / spread
    shift = q_mean - factor * p_mean
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def apply(matrix: NDArray, points: NDArray) -> NDArray:
    """A [2, 3] transform applied to points [N, 2]."""
    return points @ matrix[:, :2].T + matrix[:, 2]
