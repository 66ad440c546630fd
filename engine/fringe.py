"""A fringe, made by code: a sheet from the crown to the brows, and strands drawn for it where long01's texture has
room.

Directions are seen from the middle of the head: azimuth 0 in front, positive to the person's left. Lengths are metres.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.hair_shaping import SKULL, ramp

Floats = NDArray[np.float64]

CORNER, EXTENT = np.array([0.635, 0.005]), np.array([0.36, 0.27])  # its rectangle (u, v) of the texture
ACROSS, DOWN = 24, 14  # quads of the sheet
WIDTH, ROOT, TIP, SIDES_LOWER = 0.95, 60.0, -7.5, 8.0  # azimuth, rad; elevations in the middle, degrees
# How far it lies from the middle of the head: just outside of the hair on top, then of the skin;
# at its sides under the hair.
ELEVATIONS, AZIMUTHS = (-20.0, -6.0, 0.0, 12.0, 25.0, 40.0, 55.0, 70.0), (0.0, 0.35, 0.7, 1.0)
RADII = np.array(
    [
        [0.1170, 0.1130, 0.1150, 0.1000],
        [0.1185, 0.1135, 0.1110, 0.0990],
        [0.1190, 0.1140, 0.1085, 0.0965],
        [0.1195, 0.1160, 0.1075, 0.0945],
        [0.1185, 0.1170, 0.1060, 0.0930],
        [0.1150, 0.1145, 0.1060, 0.0930],
        [0.1095, 0.1110, 0.1060, 0.0960],
        [0.1050, 0.1065, 0.1050, 0.0980],
    ]
)
GREY, STRANDS = 204.0, 24.0  # mean brightness and its deviation, of 255


def sheet(skin: NDArray[np.floating]) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray]:
    """References [P, 3] into the skin's places [V, 3], weights, offsets, and triangles [T, 3] with UVs [T, 3, 2]."""
    from scipy.interpolate import RectBivariateSpline
    from scipy.spatial import KDTree

    down, across = np.meshgrid(np.linspace(0, 1, DOWN + 1), np.linspace(-1, 1, ACROSS + 1), indexing="ij")
    azimuth = WIDTH * across
    elevation = ROOT + (TIP - SIDES_LOWER * across**2 - ROOT) * down
    radius = RectBivariateSpline(ELEVATIONS, AZIMUTHS, RADII, kx=2, ky=2)(elevation, np.abs(azimuth), grid=False)
    angle = np.radians(elevation)
    towards = [np.sin(azimuth) * np.cos(angle), np.sin(angle), np.cos(azimuth) * np.cos(angle)]
    places = SKULL + (radius * towards).reshape(3, -1).T
    distance, references = KDTree(skin).query(places, k=3)
    weights = 1.0 / distance / (1.0 / distance).sum(axis=1, keepdims=True)
    offsets = places - (weights[..., None] * skin[references]).sum(axis=1)
    number = np.arange(places.shape[0]).reshape(down.shape)
    upper, right, lower, left = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((upper, left, lower), (upper, lower, right))])
    uvs = CORNER + EXTENT * np.stack([(across + 1) / 2, 1 - down], axis=-1).reshape(-1, 2)
    return np.asarray(references), weights, offsets, triangles, uvs[triangles]


def lay(layer: NDArray[np.uint8]) -> None:
    """Draw its strands into the layer [512, 512, 4]: they end one by one, and begin softly on the hair on top and at
    the sides."""
    side = layer.shape[0]
    (left, low), (right, high) = (np.round(edge * side).astype(int) for edge in (CORNER, CORNER + EXTENT))
    rows, columns = high - low, right - left
    rng = np.random.default_rng(41)
    down, across = np.meshgrid(np.linspace(0, 1, rows), np.arange(columns), indexing="ij")
    # Locks lean a little, and part towards their ends.
    across = across + 2.5 * np.sin(0.11 * across + 1.5) * down**2

    def noise(scale: float) -> Floats:
        values = cv2.GaussianBlur(rng.normal(size=(1, columns + 40)), (0, 0), scale)[0]
        return np.interp(across, np.arange(-20, columns + 20), values / values.std())

    fine, locks, ends = noise(0.8), noise(2.2), noise(2.0)
    bright = GREY + STRANDS * (0.85 * fine + 0.4 * locks) - 25.0 * ramp(down, 0.75, 1.0)
    end = 0.955 + 0.010 * ends + 0.012 * fine
    thin = ramp(0.9 * fine + 0.9 * locks - 5.0 * (down - end + 0.02) / 0.16, -1.0, 0.6)
    alpha = ramp(end - down, 0.0, 0.05) * np.maximum(thin, ramp(end - down, 0.06, 0.20))
    alpha *= ramp(down + 0.03 * fine, 0.04, 0.22)
    edge = 1 - np.abs(np.linspace(-1, 1, columns))
    alpha *= ramp(edge + 0.08 * fine, 0.02, 0.40 - 0.25 * down)
    drawn = np.dstack([bright, bright, bright, 255.0 * alpha])
    layer[side - high : side - low, left:right] = (cv2.GaussianBlur(drawn, (0, 0), 0.5) + 0.5).clip(0, 255)
