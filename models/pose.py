"""How a head is turned, from the shape of its landmarks alone: the same pixels give the same pose wherever in a picture
they lie. (The pose matrix that MediaPipe offers supposes a camera that looks at the middle of the picture.)
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CANONICAL: NDArray = np.asarray(json.loads(Path(__file__).with_name("canonical.json").read_text())["points"])
"""The first 48 of the 68 landmarks (all but the mouth, which moves) on MediaPipe's canonical face model, [48, 3] in
centimetres: x right, y up, z towards the camera.
"""

DEPTH = 0.8
"""MediaPipe's depths are that much too large: with it, yaw has the right slope on portraits whose pose is known."""


def angles(landmarks: NDArray) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of landmarks [68, 3] in pixels (x right, y down, z away from the camera).

    Yaw is positive for a head turned towards the image's right, pitch for one that looks up, roll for one tilted
    counter-clockwise. The rotation is the one that brings the canonical face closest to the landmarks (Kabsch 1976).
    """
    seen = landmarks[: len(CANONICAL)] * (1, -1, -DEPTH)
    u, _, v = np.linalg.svd((seen - seen.mean(0)).T @ (CANONICAL - CANONICAL.mean(0)))
    rotation = u @ np.diag((1, 1, np.linalg.det(u @ v))) @ v
    forward, right = rotation[:, 2], rotation[:, 0]
    yaw = np.arctan2(forward[0], forward[2])
    pitch = np.arcsin(np.clip(forward[1], -1, 1))
    roll = np.arctan2(right[1], np.hypot(right[0], right[2]))
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))
