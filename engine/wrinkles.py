"""What age draws on a face: folds, wrinkles, bags under the eyes, spots, pale lips.

Lines run over the template, seen from the front, and are the same on both sides but for a little disorder. Lengths are
metres.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Line:
    """A crease through points (side, height): how wide it is, how dark, and how far its shade reaches beyond it."""

    points: Points
    width: float
    depth: float
    shade: float = 0.0


# Nothing between the brows: it makes who is old look angry.
LINES = (
    # From the wings of the nose past the corners of the mouth, and from these down.
    Line(((0.0165, -0.034), (0.0235, -0.043), (0.0295, -0.054), (0.033, -0.066), (0.0335, -0.077)), 0.0016, 1.0, 0.006),
    Line(((0.0265, -0.069), (0.029, -0.078), (0.029, -0.092)), 0.0014, 0.7, 0.005),
    # Before the jowls, and above the chin.
    Line(((0.033, -0.093), (0.040, -0.097), (0.050, -0.091)), 0.003, 0.5, 0.006),
    Line(((0.000, -0.085), (0.009, -0.0855), (0.017, -0.090)), 0.0018, 0.5, 0.003),
    # Two arcs under the eye: the lid's own, and that of the bag.
    Line(((0.013, -0.006), (0.020, -0.0125), (0.030, -0.015), (0.042, -0.011)), 0.001, 0.6),
    Line(((0.013, -0.009), (0.020, -0.018), (0.030, -0.0225), (0.042, -0.020), (0.050, -0.014)), 0.0017, 0.8, 0.0045),
    # At the outer corner of the eye.
    Line(((0.049, 0.002), (0.054, 0.006), (0.061, 0.013)), 0.001, 0.5, 0.002),
    Line(((0.0495, -0.001), (0.056, 0.000), (0.064, 0.002)), 0.001, 0.6, 0.002),
    Line(((0.049, -0.004), (0.055, -0.007), (0.062, -0.011)), 0.001, 0.5, 0.002),
    Line(((0.046, -0.008), (0.052, -0.013), (0.057, -0.021)), 0.001, 0.4, 0.002),
    # Across the forehead.
    Line(((0.000, 0.039), (0.012, 0.041), (0.025, 0.045), (0.038, 0.042)), 0.0012, 0.5, 0.003),
    Line(((0.000, 0.049), (0.013, 0.051), (0.027, 0.054), (0.042, 0.051)), 0.0013, 0.55, 0.0035),
    Line(((0.000, 0.060), (0.014, 0.062), (0.028, 0.063), (0.040, 0.060)), 0.0012, 0.4, 0.003),
    # Over the upper lip.
    *(Line(((x, -0.0505), (1.06 * x, -0.0565)), 0.0007, 0.35) for x in (0.006, 0.0105, 0.015, 0.0195)),
)  # fmt: skip
STRENGTH = {"young": 0.0, "middleage": 0.6, "old": 1.15}
# What a crease, its shade, a spot and a lip are beside the skin around them, CIELAB.
CREASE, SHADE, SPOT, LIP = (-11.0, 2.5, -1.0), (-7.0, 1.5, 0.0), (-7.0, 1.5, 3.0), (3.0, -6.0, -1.0)
SPOTS, LARGEST = 70, 0.0032
RIDGE, GROOVE = 16.0, 60.0  # of the relief, 255 the whole of it
DISORDER, UNEVEN = 0.0012, 0.35  # how far lines stray, and by what share their depth varies


class Wrinkles:
    """Made once for the texels at `place` [512, 512, 3] of the template; `bare` [512, 512] is where skin can fold."""

    def __init__(self, place: Floats, bare: Floats, lips: Floats) -> None:
        front = bare * (place[..., 2] > -0.04) * (np.abs(place[..., 1]) < 1)
        self.crease, self.shade = (field * front for field in _fields(place))
        self.spots = _spots(place) * front
        self.lips = lips

    def colour(self, age: str) -> Floats:
        """What an age adds to the skin's colour, CIELAB [512, 512, 3]."""
        fields = np.stack([self.crease, self.shade, self.spots, self.lips], axis=-1)
        return STRENGTH[age] * fields @ np.array([CREASE, SHADE, SPOT, LIP], np.float32)

    def relief(self, age: str) -> Floats:
        """What an age adds to the skin's height [512, 512]."""
        return STRENGTH[age] * (RIDGE * self.shade - GROOVE * self.crease)


def _fields(place: Floats) -> tuple[Floats, Floats]:
    """How deep in a crease, and in a shade, each texel [512, 512] lies; in [0, 1]."""
    from scipy.interpolate import make_interp_spline

    x, y = (place[..., axis] + DISORDER * _smooth(31 + axis) for axis in (0, 1))
    uneven = 1.0 + UNEVEN * _smooth(33)
    crease, shade = np.zeros(x.shape, np.float32), np.zeros(x.shape, np.float32)
    for line in LINES:
        points = np.array(line.points)
        share = np.linspace(0.0, 1.0, 60)
        degree = min(2, len(points) - 1)
        drawn = make_interp_spline(np.linspace(0.0, 1.0, len(points)), points, degree)(share)
        reach = 3.0 * max(line.width, line.shade)
        near = (np.abs(x) > points[:, 0].min() - reach) & (np.abs(x) < points[:, 0].max() + reach)
        near &= (y > points[:, 1].min() - reach) & (y < points[:, 1].max() + reach)
        apart = np.hypot(np.abs(x[near])[:, None] - drawn[:, 0], y[near][:, None] - drawn[:, 1])
        nearest = apart.argmin(axis=1)
        distance = apart.min(axis=1)
        # A line that starts on the middle of the face goes on to the other side; others run out.
        begins = 1.0 if points[0, 0] == 0 else (share[nearest] / 0.2).clip(0.15, 1.0)
        strength = line.depth * uneven[near] * begins * ((1.0 - share[nearest]) / 0.35).clip(0.0, 1.0)
        crease[near] = np.maximum(crease[near], strength * np.exp(-((distance / line.width) ** 2)))
        if line.shade:
            shade[near] = np.maximum(shade[near], strength * np.exp(-((distance / line.shade) ** 2)))
    return crease.clip(0, 1), shade.clip(0, 1)


def _spots(place: Floats) -> Floats:
    """Brown spots on forehead, temples and cheeks [512, 512], in [0, 1]."""
    rng = np.random.default_rng(35)
    spots = np.zeros(place.shape[:2], np.float32)
    side, height = rng.uniform(-0.075, 0.075, SPOTS), rng.uniform(-0.08, 0.085, SPOTS)
    radius, strength = rng.uniform(0.3, 1.0, SPOTS) ** 2 * LARGEST, rng.uniform(0.3, 1.0, SPOTS)
    ragged = 1.0 + 0.3 * _smooth(36, 2.0)
    for x, y, size, weight in zip(side, height, radius, strength, strict=True):
        away = np.hypot(place[..., 0] - x, place[..., 1] - y) * ragged / size
        outer = abs(x) > 0.03 or y > 0.035  # hardly any in the middle of the face
        spots = np.maximum(spots, weight * (1.0 if outer else 0.25) * np.exp(-(away**4)))
    return spots


def _smooth(seed: int, scale: float = 9.0) -> Floats:
    """Smooth noise [512, 512] over so many texels, with deviation 1."""
    noise = np.random.default_rng(seed).normal(size=(512, 512)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), scale)
    return np.asarray(noise / noise.std(), np.float32)
