"""Moves and cuts of hair."""

import numpy as np

from engine import hair_shaping as shaping

PLACES = np.random.default_rng(1).uniform([-0.1, -0.4, -0.2], [0.1, 0.12, 0.03], (500, 3))


def test_a_cut_leaves_what_is_above_and_nothing_below() -> None:
    kept = shaping.above(PLACES, -0.165)
    assert (kept[PLACES[:, 1] > -0.14] == 1).all() and (kept[PLACES[:, 1] < -0.19] == 0).all()


def test_volume_goes_outwards_and_leaves_the_hairline() -> None:
    moved = shaping.swelled(PLACES, 0.1)
    further = np.linalg.norm(moved - shaping.SKULL, axis=1) - np.linalg.norm(PLACES - shaping.SKULL, axis=1)
    assert further[PLACES[:, 1] > 0].min() > -1e-9
    hairline = (PLACES[:, 1] > 0.01) & (PLACES[:, 2] > 0.005)
    np.testing.assert_allclose(moved[hairline], PLACES[hairline])


def test_a_turned_parting_leaves_what_hangs_below_the_temples() -> None:
    low = PLACES[PLACES[:, 1] < 0.0]
    np.testing.assert_allclose(shaping.parted(low, 0.4), low, atol=1e-9)
    top = shaping.parted(np.array([[0.0, 0.13, -0.06]]), 0.4)
    assert top[0, 0] > 0.02


def test_hair_before_the_face_is_drawn_aside() -> None:
    front = np.array([[0.02, 0.0, 0.03], [-0.02, 0.0, 0.03]])
    moved = shaping.opened(front, parting=0.0, width=0.6, low=0.03, high=0.08)
    assert moved[0, 0] > 0.05 and moved[1, 0] < -0.05
