"""From a photo to an upright face in the reference frame: landmarks, pose, quality, warping.

Coordinates are (x, y) in pixels, y down, continuous: the centre of the top left pixel is (0.5, 0.5), so that a point
keeps its place when a picture is resized. Landmarks are the 68 iBUG points, [68, 2].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .images import shrink
from .pose import angles
from .reference import REFERENCE, apply, fit_similarity, five_points
from .way_up import SIDE, WayUp

IBUG_68 = np.array(
    [
        *[
            162,
            234,
            93,
            58,
            172,
            136,
            149,
            148,
            152,
            377,
            378,
            365,
            397,
            288,
            323,
            454,
            389,
        ],  # jaw, from the image's left
        *[71, 63, 105, 66, 107, 336, 296, 334, 293, 301],  # brows
        *[168, 197, 5, 4, 75, 97, 2, 326, 305],  # nose ridge, then its base
        *[33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380],  # eyes
        *[61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181],  # outer lips
        *[78, 82, 13, 312, 308, 317, 14, 87],  # inner lips
    ]
)
"""For each of the 68 points, the vertex of MediaPipe's 478-point mesh that lies there."""

MIRROR_68 = np.array(
    [
        *[*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)],
        *[45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40],
        *[54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65],
    ]
)
"""Index of each point's partner on the other side of the face."""


LOOKED_AT = 1280
"""Longer side of the copy of a photo in which faces are looked for, pixels."""
DOUBTFUL_SCORE = 0.7
"""A face that the detector is less sure of is doubtful: of 152 upright photos none is below 0.8."""
CLEAR = 0.05
"""One way up is clearly better than another when its score is higher by this much."""
SIDE_OF_CONTEXT = 0.25
"""A face that takes less of a picture's longer side is looked at again, in a part of the picture around it."""


class NoFace(ValueError):
    """No face was found in a photo."""


@dataclass(frozen=True)
class Face:
    """One detected face, in pixels of the photo it was found in."""

    landmarks: NDArray
    """[68, 2] float64."""
    box: tuple[float, float, float, float]
    """left, top, right, bottom of all 478 mesh points."""
    yaw: float
    """Degrees; positive: turned towards the image's right."""
    pitch: float
    """Degrees; positive: looking up."""
    roll: float
    """Degrees in (-180, 180]; positive: tilted counter-clockwise as seen in the image."""
    score: float = 1.0
    """How much the part of the photo looks like a face that stands as this one was read, [0, 1]."""
    lead: float = 1.0
    """How much more than like a face that stands any other way up."""

    @property
    def doubtful(self) -> bool:
        """It looks little like a face, or more like one that stands another way up."""
        return self.score < DOUBTFUL_SCORE or self.lead < -CLEAR

    @property
    def upright(self) -> bool:
        """Nearer to upright than to any other quarter turn. A steep pitch is also what is read of a sideways face."""
        return abs(self.roll) <= 45 and abs(self.pitch) <= 45

    @property
    def stands(self) -> bool:
        """Clearly a face, and clearly upright."""
        return self.upright and self.score >= DOUBTFUL_SCORE and self.lead >= CLEAR

    @property
    def size(self) -> float:
        """Width times height of the box, pixels squared."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


class FaceLandmarker:
    """MediaPipe's face landmark task; a context manager, because a task left to the garbage collector can deadlock
    another.

    `model`: path of `face_landmarker.task`. `max_faces`: more faces than this in one photo are not counted.
    """

    def __init__(self, model: Path | str, max_faces: int = 5, max_side: int = LOOKED_AT) -> None:
        self.model, self.max_faces, self.max_side = Path(model), max_faces, max_side
        self._task: Any = None
        self._image: Any = None
        self._way_up = WayUp(self.model)

    def __enter__(self) -> FaceLandmarker:
        import mediapipe  # slow to import; who only warps pictures does not need it
        from mediapipe.tasks.python import BaseOptions, vision

        if not self.model.is_file():
            raise FileNotFoundError(f"no face landmark model at {self.model}")
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self.model)), num_faces=self.max_faces
        )
        self._task = vision.FaceLandmarker.create_from_options(options)
        self._image = lambda rgb: mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
        self._way_up.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self._way_up.__exit__(kind, error, trace)
        if task is not None:
            task.close()

    def find(self, image: NDArray) -> list[Face]:
        """All faces of a photo (RGB uint8 [H, W, 3]), the largest first. Raises NoFace when there is none.

        The detector sees a small copy, so a face that fills the frame or is tiny in it can escape: then the photo is
        tried again with a margin around it, and in overlapping enlarged parts. A photo that lies on its side or on its
        head is read in the turn that brings its first face upright, so that it gives what the upright photo gives.
        """
        small, scale = shrink(image, self.max_side)
        for look in (
            self._detect,
            self._with_margin,
            partial(self._in_parts, share=0.6),
            partial(self._in_parts, share=0.3),
        ):
            turn, faces = self._upright(look, small)
            if faces:
                faces = [_moved(face, 1 / scale) for face in faces]
                faces[0] = self._refined(np.rot90(image, turn), faces[0], scale)
                return [_turned_back(face, turn, image.shape) for face in faces]
        raise NoFace("no face was found in the photo")

    def _upright(self, look: Callable[[NDArray], list[Face]], image: NDArray) -> tuple[int, list[Face]]:
        """How many quarter turns (counter-clockwise) bring the first face upright, and all faces of the picture so
        turned; the picture as it is unless a turned one is clearly better.
        """
        first = self._judged(look, image)
        if first and first[0].stands:
            return 0, first
        best = 0, first
        # One that lies on its side is read better upright; one that may stand has to be beaten as clearly as it leads.
        bar = DOUBTFUL_SCORE
        if first:
            bar = first[0].score + (min(first[0].lead, CLEAR) if first[0].upright else -CLEAR)
        for turn in (2, 1, 3):
            faces = self._judged(look, np.rot90(image, turn))
            if faces and faces[0].upright and faces[0].lead >= -CLEAR and faces[0].score > bar:
                best, bar = (turn, faces), faces[0].score
        return best

    def _judged(self, look: Callable[[NDArray], list[Face]], image: NDArray) -> list[Face]:
        """The faces of one look, the largest first, after them those that stand another way up than they were read."""
        return sorted(
            (self._scored(image, face) for face in look(image)), key=lambda face: (face.lead < -CLEAR, -face.size)
        )

    def _scored(self, image: NDArray, face: Face) -> Face:
        score, best_other = self._way_up.scores(_straightened(image, face))
        return replace(face, score=score, lead=score - best_other)

    def _detect(self, image: NDArray) -> list[Face]:
        if self._task is None:
            raise RuntimeError("use FaceLandmarker in a `with` block")
        result = self._task.detect(self._image(np.ascontiguousarray(image)))
        height, width = image.shape[:2]
        faces = []
        for mesh in result.face_landmarks:
            points = np.array([(p.x * width, p.y * height, p.z * width) for p in mesh])
            (left, top, _), (right, bottom, _) = points.min(0), points.max(0)
            box = (float(left), float(top), float(right), float(bottom))
            faces.append(Face(points[IBUG_68, :2], box, *angles(points[IBUG_68])))
        return sorted(faces, key=lambda face: -face.size)

    def _refined(self, image: NDArray, face: Face, scale: float) -> Face:
        """Look again, at full resolution, when the face was small in the small copy or in the picture."""
        left, top, right, bottom = face.box
        side = max(right - left, bottom - top)
        # The landmark network sees 256 pixels, a quarter of them margin; the detector that says where sees 128.
        coarse = scale < 1.0 and side * scale < 192
        if not coarse and side >= SIDE_OF_CONTEXT * max(image.shape[:2]):
            return face
        x0, y0 = max(0, int(left - side)), max(0, int(top - side))
        part = image[y0 : int(bottom + side) + 1, x0 : int(right + side) + 1]
        small, zoom = shrink(part, self.max_side)
        again = [_moved(found, 1 / zoom, x0, y0) for found in self._detect(small)]
        overlapping = [found for found in again if _overlap(found.box, face.box) > 0.5]
        return replace(overlapping[0], score=face.score, lead=face.lead) if overlapping else face

    def _with_margin(self, image: NDArray) -> list[Face]:
        height, width = image.shape[:2]
        margin = max(height, width) // 2
        wide = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(128, 128, 128))
        return [_moved(face, 1.0, -margin, -margin) for face in self._detect(wide)]

    def _in_parts(self, image: NDArray, share: float) -> list[Face]:
        """Look at overlapping square parts, `share` of the shorter side wide, enlarged."""
        height, width = image.shape[:2]
        part = int(min(height, width) * share)
        if part < 32:
            return []
        zoom = max(1.0, 640 / part)
        faces: list[Face] = []
        for y in _starts(height, part):
            for x in _starts(width, part):
                tile = cv2.resize(image[y : y + part, x : x + part], None, fx=zoom, fy=zoom)
                for face in self._detect(tile):
                    moved = _moved(face, 1 / zoom, x, y)
                    if all(_overlap(moved.box, known.box) < 0.3 for known in faces):
                        faces.append(moved)
        return sorted(faces, key=lambda face: -face.size)


def _starts(length: int, part: int) -> list[int]:
    """Where parts begin so that they cover a side and overlap by at least a third."""
    count = 1 if length <= part else int(np.ceil((length - part) / (part * 2 / 3))) + 1
    return [int(v) for v in np.linspace(0, length - part, count)]


def _moved(face: Face, scale: float, x: float = 0.0, y: float = 0.0) -> Face:
    left, top, right, bottom = face.box
    box = (left * scale + x, top * scale + y, right * scale + x, bottom * scale + y)
    return replace(face, landmarks=face.landmarks * scale + (x, y), box=box)


def _straightened(image: NDArray, face: Face) -> NDArray:
    """The part of a picture around a face, twice as wide as its box, with the eyes level: [SIDE, SIDE, 3]."""
    left, top, right, bottom = face.box
    centre, half = np.array([left + right, top + bottom]) / 2, max(right - left, bottom - top)
    left_eye, right_eye = five_points(face.landmarks)[:2]
    across = half * (right_eye - left_eye) / np.linalg.norm(right_eye - left_eye)
    corners = np.array([[0.0, 0.0], [SIDE, 0.0], [SIDE, SIDE], [0.0, SIDE]])
    down = np.array([-across[1], across[0]])
    around = np.stack([centre - across - down, centre + across - down, centre + across + down, centre - across + down])
    # Without area-averaging, which the detector does not do either: this is half of the time.
    return cv2.warpAffine(
        image,
        _pixel_centred(fit_similarity(around, corners)),
        (SIDE, SIDE),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _turned_back(face: Face, turn: int, shape: tuple[int, ...]) -> Face:
    """A face of a picture after `turn` quarter turns, in the picture before them, which is of this shape. Yaw and pitch
    stay: they are the head's own.
    """
    if turn == 0:
        return face
    height, width = shape[:2]

    def back(points: NDArray) -> NDArray:
        x, y = points[:, 0], points[:, 1]
        return np.stack({1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turn], axis=1)

    corners = back(np.array([face.box[:2], face.box[2:]]))
    (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
    roll = (face.roll - 90 * turn + 180) % 360 - 180
    return replace(face, landmarks=back(face.landmarks), box=(left, top, right, bottom), roll=roll)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Shared area over the smaller box."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(width, 0.0) * max(height, 0.0) / max(smaller, 1e-9)


def eye_distance(landmarks: NDArray) -> float:
    """Distance between the eye centres, pixels."""
    points = five_points(landmarks)
    return float(np.linalg.norm(points[1] - points[0]))


def align(image: NDArray, landmarks: NDArray, size: int) -> tuple[NDArray, NDArray]:
    """Warp a photo (RGB uint8) so that its landmarks meet REFERENCE: the crop [size, size, 3] and the [2, 3] matrix
    photo -> crop.
    """
    matrix = fit_similarity(landmarks, REFERENCE * size)
    return warp(image, matrix, size), matrix


def warp(image: NDArray, matrix: NDArray, size: int) -> NDArray:
    """The square crop that `matrix` (photo -> crop, a similarity) cuts out of a photo; a photo that shrinks is
    area-averaged first.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:
        image, matrix = _cut_and_shrink(image, matrix, size, scale)
    # Cubic overshoots at hard edges; at a scale of 1 or more, linear loses next to nothing.
    return cv2.warpAffine(
        image, _pixel_centred(matrix), (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _cut_and_shrink(image: NDArray, matrix: NDArray, size: int, scale: float) -> tuple[NDArray, NDArray]:
    """Area-average the part of the photo that the crop shows, so that the warp which is left does not shrink."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    inside = apply(cv2.invertAffineTransform(matrix), corners)
    margin = 2 / scale
    x0, y0 = (int(np.clip(v, 0, limit - 1)) for v, limit in zip(inside.min(0) - margin, (width, height), strict=True))
    x1, y1 = (int(np.clip(v, 1, limit)) for v, limit in zip(inside.max(0) + margin, (width, height), strict=True))
    part = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    target = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    small = cv2.resize(part, target, interpolation=cv2.INTER_AREA)
    # small -> photo, then photo -> crop
    back = np.array([[part.shape[1] / target[0], 0, x0], [0, part.shape[0] / target[1], y0], [0, 0, 1]])
    return small, matrix @ back


def warp_labels(labels: NDArray, matrix: NDArray, size: int) -> NDArray:
    """A label map (uint8 [H, W]) warped by the photo's matrix; class ids are never mixed. Outside, the border goes on,
    as in the photo.
    """
    return cv2.warpAffine(
        labels, _pixel_centred(matrix), (size, size), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )


def _pixel_centred(matrix: NDArray) -> NDArray:
    """OpenCV counts from the centre of the top left pixel, this project from its corner."""
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2].sum(1) * 0.5 - 0.5
    return shifted


@dataclass(frozen=True)
class Quality:
    """What the pixels of a crop say about it."""

    sharpness: float
    """Variance of the Laplacian of the grey crop; below about 30 at 256 pixels a face looks blurred."""
    brightness: float
    """Mean grey value of the face's middle, [0, 1]."""


def quality(crop: NDArray) -> Quality:
    """Sharpness and brightness of an aligned crop (RGB uint8)."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    size = len(grey)
    middle = grey[int(0.35 * size) : int(0.8 * size), int(0.25 * size) : int(0.75 * size)]
    return Quality(float(cv2.Laplacian(grey, cv2.CV_64F)[int(0.2 * size) :].var()), float(middle.mean() / 255))
