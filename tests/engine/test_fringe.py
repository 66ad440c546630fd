"""The fringe that code makes."""

from pathlib import Path

import numpy as np

from engine import fringe
from engine.head import Head


def test_it_hangs_before_the_forehead_and_faces_outwards(embedded: Path) -> None:
    skin = Head.load(embedded / "character").template
    references, weights, offsets, triangles, uvs = fringe.sheet(skin)
    places = (weights[..., None] * skin[references]).sum(axis=1) + offsets
    tips = places[-fringe.ACROSS - 1 :]
    assert 0.0 < tips[:, 1].min() < tips[:, 1].max() < 0.03 < places[:, 1].max()
    a, b, c = (places[corner] for corner in triangles.T)
    assert ((np.cross(b - a, c - a) * ((a + b + c) / 3 - fringe.SKULL)).sum(axis=1) > 0).all()
    assert (uvs >= fringe.CORNER - 1e-9).all() and (uvs <= fringe.CORNER + fringe.EXTENT + 1e-9).all()


def test_strands_cover_the_middle_and_end_one_by_one() -> None:
    layer = np.zeros((512, 512, 4), np.uint8)
    fringe.lay(layer)
    (left, low), (right, high) = np.round(np.array([fringe.CORNER, fringe.CORNER + fringe.EXTENT]) * 512).astype(int)
    laid = layer[512 - high : 512 - low, left:right]
    assert layer.any(axis=2).sum() <= laid[..., 0].size
    middle, tips = laid[60:90, 60:-60, 3], laid[-18:-8, 60:-60, 3]
    assert middle.mean() > 240 and 20 < tips.mean() < 200 and tips.std() > 30
