"""The baseline of hobby tools: sliders from distances between landmarks, with colours, hair and beard left as they are.

What each slider does to the distances of the average face is measured once; a photo's distances are then explained by
the likeliest sliders, with independent priors: x = P Jᵀ (J P Jᵀ + R)⁻¹ d, the mean of a Gaussian posterior.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.engines import EmbeddedEngine
from engine.scenes import Scenes
from models.alignment import FaceLandmarker, NoFace
from models.images import decode_photo

SIZE, STEP = 256, 0.2
SPREAD, NOISE = 0.165, 0.03
"""Standard deviations: of a slider among people, and of a distance's logarithm as a landmark task measures it."""
UNIT = (36, 45)
"""The outer corners of the eyes: all other distances are measured by theirs."""
DISTANCES = (
    *((0, 16), (2, 14), (4, 12), (6, 10), (8, 57), (8, 27), (27, 33), (31, 35), (39, 42), (36, 39), (42, 45), (37, 41)),
    *((44, 46), (48, 54), (51, 57), (51, 62), (66, 57), (33, 51), (19, 37), (24, 44), (17, 21), (22, 26), (21, 22)),
)
"""Pairs of the 68 iBUG landmarks."""


def distances(landmarks: NDArray) -> NDArray[np.float64]:
    """Logarithms [..., K] of distances between landmarks [..., 68, 2], in units of the eyes' outer distance."""
    a, b = np.array(DISTANCES).T
    along = np.linalg.norm(landmarks[..., a, :] - landmarks[..., b, :], axis=-1)
    unit = np.linalg.norm(landmarks[..., UNIT[0], :] - landmarks[..., UNIT[1], :], axis=-1, keepdims=True)
    return np.log(np.maximum(along / unit, 1e-3))


class LandmarkFit:
    """Fits the embedded character. `landmarker`: path of MediaPipe's face landmark model."""

    def __init__(self, engine: EmbeddedEngine, landmarker: Path) -> None:
        self.schema, self.landmarker = engine.schema, landmarker
        neutral, choices = self.schema.neutral_sliders(), self.schema.neutral_discrete()
        moved = np.repeat(neutral[None], len(neutral) + 1, axis=0)
        steps = np.where(neutral + STEP <= 1, STEP, -STEP).astype(np.float32)
        moved[np.arange(len(neutral)), np.arange(len(neutral))] += steps
        drawn = engine.renderer.render(moved, np.repeat(choices[None], len(moved), 0), Scenes.game(len(moved)), SIZE)
        found = distances(drawn.landmarks)
        jacobian = ((found[:-1] - found[-1]) / steps[:, None]).T  # [K, S]
        covariance = SPREAD**2 * jacobian @ jacobian.T + NOISE**2 * np.eye(len(jacobian))
        self.gain = SPREAD**2 * jacobian.T @ np.linalg.inv(covariance)  # [S, K]
        # Found in its picture, as those of photos are: the task's own habits fall out.
        self.average = self._found([drawn.image[-1]])[0]

    def _found(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """The distances [N, K] of pictures; NaN where there is no face."""
        rows = []
        with FaceLandmarker(self.landmarker) as task:
            for picture in pictures:
                try:
                    rows.append(distances(task.find(picture)[0].landmarks))
                except NoFace:
                    rows.append(np.full(len(DISTANCES), np.nan))
        return np.stack(rows)

    def fit(self, photos: list[bytes]) -> NDArray[np.float32]:
        """Parameter vectors [N, width] of photos; neutral where there is no face."""
        apart = np.nan_to_num(self._found([decode_photo(photo) for photo in photos]) - self.average)
        sliders = np.clip(self.schema.neutral_sliders() + apart @ self.gain.T, 0, 1).astype(np.float32)
        return self.schema.pack(sliders, np.repeat(self.schema.neutral_discrete()[None], len(photos), axis=0))
