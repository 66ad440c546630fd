"""Fix the project's reference frame: the 68 landmarks of the embedded character's average face.

MediaPipe finds the landmarks on the engine's render of the average face. Their places in the picture become
`models/reference.json`, to which every photo is aligned; their places on the mesh become
`characters/embedded/landmarks.json`, so that every render knows its own landmarks. Both files are committed.
Registered models were trained in the frame of the first: where only the looks of the average face change, keep it and
commit the second alone.

Command: `python -m stages.data.reference` (after `likeness inputs`; only when the mesh or the game camera changes).
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.head import SKIN, TEETH
from engine.renderer import LANDMARKS_FILE, Renderer
from engine.scenes import PIVOT, Scenes
from models.alignment import MIRROR_68, FaceLandmarker

ROOT = Path(__file__).resolve().parents[2]
SIZE = 768


def run(root: Path = ROOT) -> None:
    """Write both files below `root`."""
    character = root / "characters" / "embedded"
    renderer = Renderer(character, root / "data" / "embedded")
    schema = renderer.schema
    sliders, choices = schema.neutral_sliders()[None], schema.neutral_discrete()[None]
    scene = Scenes.game(1)
    image = renderer.render(sliders, choices, scene, SIZE, samples=3).image[0]
    with FaceLandmarker(root / "data" / "embedded" / "landmarks" / "face_landmarker.task") as landmarker:
        found = landmarker.find(image)[0].landmarks
    points = symmetric(found / SIZE)
    reference = {"character": schema.name, "points": points.round(5).tolist()}
    (root / "models" / "reference.json").write_text(json.dumps(reference) + "\n")
    triangles, weights = anchor(renderer, points, scene)
    anchors = {"triangles": triangles.tolist(), "weights": weights.round(5).tolist()}
    (character / LANDMARKS_FILE).write_text(json.dumps(anchors) + "\n")


def symmetric(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of 68 points [68, 2] in [0, 1] and their mirror image; the average face is symmetric, a detector is
    not."""
    mirrored = points[MIRROR_68] * [-1, 1] + [1, 0]
    return (points + mirrored) / 2


def anchor(
    renderer: Renderer, points: NDArray[np.float64], scene: Scenes
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The triangle of the skin that shows at each point of the frontal picture, and the point's weights inside it."""
    head, schema = renderer.head, renderer.schema
    vertices = renderer.vertices(schema.neutral_sliders()[None], schema.neutral_discrete()[None])[0]
    view = vertices - PIVOT + scene.translation[0]
    picture = np.stack(
        [0.5 + view[:, 0] * scene.focal[0] / -view[:, 2], 0.5 - view[:, 1] * scene.focal[0] / -view[:, 2]], axis=1
    )
    skin = np.flatnonzero((head.materials == SKIN) & (head.labels != TEETH))
    a, b, c = (picture[head.triangles[skin, k]] for k in range(3))
    area = _cross(b - a, c - a)
    front = area < 0  # picture rows run downwards
    skin, a, b, c, area = skin[front], a[front], b[front], c[front], area[front]
    depth = -view[head.triangles[skin]].mean(axis=1)[:, 2]
    chosen, weights = [], []
    for point in points:
        w = (
            np.stack([_cross(b - point, c - point), _cross(c - point, a - point), _cross(a - point, b - point)], 1)
            / area[:, None]
        )
        outside = np.maximum(-w.min(axis=1), 0.0) * np.sqrt(np.abs(area))
        # Inside if there is such a triangle, else (eye openings, silhouette) the nearest one.
        best = int(np.argmin(outside * 1e3 + depth))
        chosen.append(skin[best])
        clipped = w[best].clip(0.0, 1.0)
        weights.append(clipped / clipped.sum())
    return np.array(chosen), np.array(weights)


def _cross(u: NDArray, v: NDArray) -> NDArray:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


if __name__ == "__main__":
    run()
