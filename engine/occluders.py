"""What stands between a camera and a face: hands, scarves, caps, microphones, loose hair, things in the foreground.

Each is a height field over the picture, placed by the landmarks, lit by the scene's own light and laid over the render.
Glasses are not among them: they are the character's own (engine/glasses.py).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.head import BACKGROUND, FACE, HAIR_LABEL
from engine.lights import sh_basis, tone_map
from engine.occluder_shapes import OCCLUDERS, FaceFrame, Layer, Pictures, smooth, to_float32, to_linear
from engine.scenes import Scenes

ATTEMPTS = 4
SHADOW_DEPTH = 0.45  # how much of the light the shadow beside an occluder takes


def occlude(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    scene: Scenes,
    rng: np.random.Generator,
    cover: tuple[float, float],
    textures: Pictures,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str, float]:
    """Lay a random occluder over a render [H, W, 3] and its label map [H, W], where it becomes background.

    `landmarks` [68, 2] pixels, `scene` the one that was drawn, `cover` the share of the face that may be hidden,
    `textures` pictures that cloth is cut from. Returns image, labels, the occluder's name and the share of the face
    it covers; the name is "none" when nothing that fits was found.
    """
    face = (labels != BACKGROUND) & (labels != HAIR_LABEL)
    if face.sum() < 16:
        return image, labels, "none", 0.0
    frame = _frame(image, labels, landmarks)
    names = list(OCCLUDERS)
    chances = np.array([OCCLUDERS[name][0] for name in names])
    for _ in range(ATTEMPTS):
        name = names[int(rng.choice(len(names), p=chances / chances.sum()))]
        layer = OCCLUDERS[name][1](frame, rng, textures)
        hidden = layer.alpha > 0.5
        share = float((hidden & face).sum() / face.sum())
        if cover[0] <= share <= cover[1]:
            return _laid_over(image, layer, frame, scene), np.where(hidden, np.uint8(BACKGROUND), labels), name, share
    return image, labels, "none", 0.0


def _frame(image: NDArray[np.uint8], labels: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> FaceFrame:
    root, chin = landmarks[27].astype(np.float32), landmarks[8].astype(np.float32)
    unit = max(float(np.linalg.norm(chin - root)), 4.0)
    down = (chin - root) / unit
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32) + 0.5
    columns, rows = columns - root[0], rows - root[1]
    x, y = (columns * down[1] - rows * down[0]) / unit, (columns * down[0] + rows * down[1]) / unit
    forehead = x[(labels == FACE) & (y > -0.35) & (y < 0.0)]
    left, right = np.percentile(forehead, [1, 99]) if forehead.size else (-0.6, 0.6)
    skin = np.median(to_linear(image[labels == FACE]), axis=0) if (labels == FACE).any() else np.full(3, 0.2)
    has_hair = (labels == HAIR_LABEL).sum() > 50
    hair = np.median(to_linear(image[labels == HAIR_LABEL]), axis=0) if has_hair else skin * np.array([0.2, 0.16, 0.13])
    head = (labels != BACKGROUND).astype(np.uint8)
    inside = cv2.distanceTransform(head, cv2.DIST_L2, 3) - cv2.distanceTransform(1 - head, cv2.DIST_L2, 3)
    return FaceFrame(
        x,
        y,
        unit,
        smooth(to_float32(inside / unit), 1.0),
        float(left),
        float(right),
        skin.astype(np.float32),
        hair.astype(np.float32),
    )


def _laid_over(image: NDArray[np.uint8], layer: Layer, frame: FaceFrame, scene: Scenes) -> NDArray[np.uint8]:
    """Light the layer, throw its shadow on the picture and put it on top."""
    light = _light_on(layer.height, frame, scene)
    if layer.lit_as_face:
        light = light / np.maximum(_light_from(np.array([[[0.0, 0.0, 1.0]]], np.float32), scene), 1e-3)
    display = to_float32(255.0 * tone_map(layer.albedo * light))
    reach = 0.05 * frame.unit
    towards = scene.key_direction[0]
    shift = np.array([[1, 0, -towards[0] * 1.5 * reach], [0, 1, (towards[1] + 0.3) * 1.5 * reach]], np.float32)
    shadow = cv2.warpAffine(cv2.GaussianBlur(layer.alpha, (0, 0), reach), shift, layer.alpha.shape[::-1])
    dimmed = image * (1.0 - SHADOW_DEPTH * layer.shadow * shadow)[..., None]
    alpha = layer.alpha[..., None]
    return (dimmed * (1.0 - alpha) + display * alpha + 0.5).clip(0, 255).astype(np.uint8)


def _light_on(height: NDArray[np.float32], frame: FaceFrame, scene: Scenes) -> NDArray[np.float32]:
    """Light [H, W, 3] on a height field."""
    pixels = height * frame.unit
    slope_x, slope_y = (
        cv2.Sobel(pixels, cv2.CV_32F, 1, 0, scale=0.125),
        cv2.Sobel(pixels, cv2.CV_32F, 0, 1, scale=0.125),
    )
    normals = np.dstack([-slope_x, slope_y, np.ones_like(pixels)])
    return _light_from(normals / np.linalg.norm(normals, axis=2, keepdims=True), scene)


def _light_from(normals: NDArray[np.float32], scene: Scenes) -> NDArray[np.float32]:
    """What a white surface sends back [H, W, 3]: the surroundings in spherical harmonics and the key light."""
    around = (sh_basis(normals) @ scene.sh[0]).clip(0.0)
    facing = (normals @ scene.key_direction[0]).clip(0.0)
    return ((around + facing[..., None] * scene.key_colour[0]) * scene.exposure[0]).astype(np.float32)
