"""Photos made worse in known steps: blur, noise, darkness and things before the face."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
COVER = 90  # grey value of what stands before a face


@dataclass(frozen=True)
class Degradation:
    """One way to spoil an aligned picture [H, W, 3].

    `apply(picture, strength, landmarks [68, 2], rng)`; the generator is the same for all strengths of one picture, so
    that a stronger step spoils what a weaker one did, and more.
    """

    name: str
    unit: str
    strengths: tuple[int, ...]
    apply: Callable[[Picture, float, NDArray, np.random.Generator], Picture]


def blurred(picture: Picture, sigma: float, landmarks: NDArray, rng: np.random.Generator) -> Picture:
    """Gaussian blur; `sigma` in pixels of a picture of 256."""
    return cv2.GaussianBlur(picture, (0, 0), sigma * len(picture) / 256).astype(np.uint8)


def noisy(picture: Picture, sigma: float, landmarks: NDArray, rng: np.random.Generator) -> Picture:
    """Independent Gaussian noise in every pixel and colour; `sigma` in steps of 8 bits."""
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    return np.rint(picture + sigma * noise).clip(0, 255).astype(np.uint8)


def darkened(picture: Picture, stops: float, landmarks: NDArray, rng: np.random.Generator) -> Picture:
    """Exposure lower by `stops`, in linear light (IEC 61966-2-1), then 8 bits again: shadows lose their steps."""
    encoded = np.arange(256) / 255.0
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4) / 2.0**stops
    display = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(display * 255).astype(np.uint8)[picture]


def covered(picture: Picture, percent: float, landmarks: NDArray, rng: np.random.Generator) -> Picture:
    """A flat grey thing with a straight edge, from a random side, over `percent` of the face (the hull of its
    landmarks) and over everything on that side of the edge."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    along = columns * np.cos(angle) + rows * np.sin(angle)
    edge = np.quantile(along[hull(landmarks, picture.shape[:2])], 1.0 - percent / 100)
    return np.where((along > edge)[..., None], np.uint8(COVER), picture)


def hull(landmarks: NDArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels [H, W] lie in the convex hull of landmarks [68, 2]."""
    inside = np.zeros(shape, np.uint8)
    points = cv2.convexHull(np.rint(landmarks).astype(np.int32))
    cv2.fillConvexPoly(inside, points, 1)
    return inside.astype(bool)


DEGRADATIONS = (
    Degradation("blur", "sigma in pixels of a face picture of 256", (1, 2, 4, 8), blurred),
    Degradation("noise", "sigma in 8-bit steps", (8, 16, 32, 64), noisy),
    Degradation("darkness", "stops of exposure taken away", (1, 2, 3, 4), darkened),
    Degradation("occlusion", "percent of the face covered", (10, 20, 40, 60), covered),
)
