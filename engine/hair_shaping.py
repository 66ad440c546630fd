"""How hair is moved and cut: functions of places [..., 3] of the template, from which styles are made
(engine/hair.py).

Y is up from the eyes, +X the person's left, +Z forward; lengths are metres, angles radians.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.floating]

SKULL = np.array([0.0, 0.03, -0.085])  # the middle of the head above the ears


def ramp(value: Places, start: float | Places, end: float | Places) -> Places:
    """0 at `start`, 1 at `end`, smooth between and level beyond."""
    share = ((value - start) / (np.asarray(end) - start)).clip(0, 1)
    return share * share * (3 - 2 * share)


def _azimuth(place: Places) -> Places:
    """The direction seen from above, radians: 0 in front, positive to the person's left."""
    return np.arctan2(place[..., 0] - SKULL[0], place[..., 2] - SKULL[2])


def _locks(place: Places, finest: float) -> Places:
    """A number in [-1, 1] for each lock of hair, which differs from that of its neighbours `finest` metres away."""
    across = 0.11 * _azimuth(place)
    waves = [np.sin(across * 2 * np.pi / finest * scale + shift) for scale, shift in ((1, 0), (0.43, 1.3), (0.19, 2.1))]
    return np.sum(waves, axis=0) / 3


# ---- moves ----


def swelled(place: Places, share: float, crown: float = 0.0, below: float = 0.5) -> Places:
    """More volume (less where `share` is negative): away from the middle of the head by a share of the distance, by
    `crown` more on top. The hairline stays; what hangs below the ears goes sideways only, by `below` of it."""
    _, y, z = np.moveaxis(place[..., None], -2, 0)
    around = (
        (place - SKULL) * (share + crown * ramp(y, 0.05, 0.11)) * (1 - ramp(z, -0.055, 0.005) * ramp(y, -0.01, 0.01))
    )
    hanging = ramp(y, -0.01, -0.07)
    return place + around * (1 - hanging) + around * [below, 0.0, below] * hanging


def waved(place: Places, amplitude: float, length: float, start: float, turns: float = 3.0) -> Places:
    """Waves of this length down the strands, from 5 cm below `start` on in full; locks of an angle differ in phase."""
    angle = _azimuth(place)[..., None]
    phase = 2 * np.pi * place[..., 1:2] / length + 1.6 * np.sin(turns * angle) + 0.7 * np.sin(7.0 * angle + 1.0)
    outward = np.concatenate([np.sin(angle), 0 * angle, np.cos(angle)], axis=-1)
    along = np.concatenate([np.cos(angle), 0 * angle, -np.sin(angle)], axis=-1)
    strength = amplitude * ramp(place[..., 1:2], start, start - 0.05)
    return place + strength * ((0.5 + 0.5 * np.sin(phase)) * outward + 0.6 * np.cos(phase) * along)


def parted(place: Places, angle: float) -> Places:
    """A middle parting turned over the top of the head by an angle, radians; the hair below the temples stays."""
    x, y = place[..., 0], place[..., 1] - SKULL[1]
    old = np.arctan2(x, y)
    new = old + angle * ramp(np.abs(old), 1.3, 0.1)
    wide, high = 0.085, 0.100  # the section of the head is about an ellipse
    longer = np.hypot(np.sin(old) / wide, np.cos(old) / high) / np.hypot(np.sin(new) / wide, np.cos(new) / high)
    radius = np.hypot(x, y) * longer
    return np.stack([radius * np.sin(new), radius * np.cos(new) + SKULL[1], place[..., 2]], axis=-1)


def opened(place: Places, parting: float, width: float, low: float, high: float) -> Places:
    """Hair before the face drawn aside from a parting at azimuth `parting`, until ±`width` radians are free below
    `low`; above `high` it stays."""
    angle = _azimuth(place)
    radius = np.hypot(place[..., 0], place[..., 2] - SKULL[2])
    right = angle < parting
    edge, end = np.where(right, -width, width), np.where(right, -np.pi, np.pi)
    share = (angle - parting) / (end - parting)
    aside = edge + (end - edge) * share
    # Only what lies before the face is pressed together; beyond a right angle nothing moves.
    weight = ramp(place[..., 1], high, low) * ramp(np.abs(angle), 2.2, 1.3)
    new = angle + (aside - angle) * weight
    moved = place.copy()
    moved[..., 0] = radius * np.sin(new)
    moved[..., 2] = SKULL[2] + radius * np.cos(new)
    return moved


def brushed(place: Places, up: float, back: float) -> Places:
    """The front of the hair on top raised and drawn back."""
    front = ramp(place[..., 2], -0.07, 0.03) * ramp(place[..., 1], 0.055, 0.085)
    return place + front[..., None] * [0.0, up, -back]


def raised(place: Places, amount: float, low: float, high: float) -> Places:
    """What hangs over the forehead between `low` and `high` drawn up by a share of the distance to `high`."""
    front = ramp(place[..., 2], -0.03, 0.01) * (place[..., 1] < high) * (place[..., 1] > low - 0.05)
    moved = place.copy()
    moved[..., 1] += front * amount * (high - place[..., 1]).clip(0.0, high - low)
    return moved


def before(place: Places, share: float = 1.0) -> Places:
    """What hangs beside the neck laid over the shoulders, on the chest."""
    x, y, z = np.moveaxis(place, -1, 0)
    chest = np.interp(y, [-0.60, -0.26, -0.20, -0.16, -0.10, -0.05], [0.005, 0.005, -0.008, -0.020, -0.035, -0.055])
    weight = share * ramp(y, -0.03, -0.14) * ramp(np.abs(x), 0.045, 0.080)
    moved = place.copy()
    moved[..., 2] += weight * np.maximum(chest + 0.22 * (z + 0.12) - z, 0.0)
    moved[..., 0] += weight * np.sign(x) * (0.085 - np.abs(x)).clip(-0.05, 0.05) * 0.6
    return moved


def coiled(place: Places, centre: tuple[float, float, float], radius: float, start: float, end: float) -> Places:
    """A tail that hangs behind the head from height `start` to `end`, wound into a bun around `centre`."""
    x, y, z = np.moveaxis(place, -1, 0)
    # All that lies outside of the hair on the head.
    beyond = (x / 0.085) ** 2 + ((y - SKULL[1]) / 0.105) ** 2 + ((z - SKULL[2]) / 0.098) ** 2
    tail = (z < -0.12) & (beyond > 1.12)
    share = ((start - y) / (start - end)).clip(0, 1)
    level = np.round(y * 40) / 40
    middle = {h: z[tail & (level == h)].mean() for h in np.unique(level[tail])}
    depth = z - np.vectorize(lambda h: middle.get(h, 0.0))(level)
    angle = 2 * np.pi * (1.35 * share + 0.25)
    reach = radius * (1 - 0.5 * share) + 0.9 * x
    wound = np.stack(
        [
            centre[0] + reach * np.cos(angle),
            centre[1] + reach * np.sin(angle),
            centre[2] - 1.1 * depth.clip(-0.02, 0.02) - 0.016 * share,
        ],
        axis=-1,
    )
    return np.where(tail[..., None], wound, place)


# ---- cuts ----


def above(place: Places, height: float, soft: float = 0.012, ragged: float = 0.006) -> Places:
    """Cut off below a height: every lock ends a little elsewhere, and thins out over `soft`."""
    level = height + ragged * _locks(place, 0.011) + 0.5 * ragged * _locks(place, 0.0031)
    return ramp(place[..., 1], level - soft, level)


def receded(place: Places, depth: float, corners: float) -> Places:
    """The hairline moved back by `depth` in the middle of the forehead and by `corners` more above the temples."""
    x, y, z = np.moveaxis(place, -1, 0)
    line = 0.014 - depth - corners * ramp(np.abs(x), 0.016, 0.055) + 0.003 * _locks(place, 0.007)
    return 1 - ramp(z, line - 0.022, line + 0.004) * ramp(y, 0.035, 0.060)


def bare_crown(place: Places) -> Places:
    """No hair on top: a wreath from temple to temple is left."""
    _, y, z = np.moveaxis(place, -1, 0)
    line = np.interp(z, [-0.17, -0.12, -0.06, 0.0], [0.030, 0.050, 0.058, 0.050]) + 0.004 * _locks(place, 0.007)
    return ramp(-y, -line, -line + 0.012)


def top_only(place: Places, height: float = 0.045) -> Places:
    """The sides clipped: hair above a height only, thinning out over 2 cm."""
    level = height + 0.35 * (place[..., 2] + 0.07).clip(-0.08, 0.0) + 0.003 * _locks(place, 0.005)
    return ramp(place[..., 1], level - 0.010, level + 0.014)
