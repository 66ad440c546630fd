"""The face at rest: brows lie higher and leveller than MakeHuman's, on the skin, and nothing else moves far."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.head import BROWS, Head
from engine.rest import BROW_LIFT, at_rest


@pytest.fixture(scope="module")
def heads(embedded: Path) -> tuple[Head, Head]:
    head = Head.load(embedded / "character")
    return head, at_rest(head)


def points(head: Head, name: str) -> NDArray[np.float32]:
    part = head.part[name]
    return head.bound_vertices[part.first_vertex - head.n_base :][: part.n_vertices]


@pytest.mark.parametrize("name", BROWS)
def test_brows_rise_and_fall_less_towards_the_nose(heads: tuple[Head, Head], name: str) -> None:
    before, after = (points(head, name) for head in heads)
    side = np.abs(before[:, 0])
    inner, middle = side < np.quantile(side, 0.2), np.abs(side - np.median(side)) < 0.006
    fall = [brow[middle, 1].mean() - brow[inner, 1].mean() for brow in (before, after)]
    assert (after[:, 1] > before[:, 1]).all()
    assert BROW_LIFT * 0.8 < np.median(after[:, 1] - before[:, 1]) < 0.008
    assert fall[1] < fall[0]


def test_both_sides_are_mirror_images_and_skin_moves_little(heads: tuple[Head, Head]) -> None:
    before, after = heads
    moved = np.linalg.norm(after.template - before.template, axis=1)
    assert 0.001 < moved.max() < 0.005
    brow = points(after, "eyebrow001")
    left, right = (brow[brow[:, 0] * side > 0] for side in (1, -1))
    np.testing.assert_allclose(left[:, 1].mean(), right[:, 1].mean(), atol=3e-4)
