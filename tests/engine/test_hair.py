"""Heads of hair that are made from others."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import hair
from engine.head import HAIR, HAIR_MATERIAL, Head
from engine.schema import Schema


@pytest.fixture(scope="module")
def head(embedded: Path) -> Head:
    return Head.load(embedded / "character")


def shown(head: Head, name: str) -> NDArray[np.float32]:
    """Places [V, 3] of a part that is bound to the base."""
    part = head.part[name]
    return head.bound_vertices[part.first_vertex - head.n_base :][: part.n_vertices]


def test_the_ten_of_makehuman_come_first_and_are_what_new_ones_are_like(head: Head) -> None:
    group = Schema.load(Path(__file__).resolve().parents[2] / "characters" / "embedded").group("hair")
    first = ("none", *HAIR)
    assert group.choices == (*first, *hair.STYLES), "saved characters and registered models count on the order"
    assert set(group.like) == set(hair.STYLES) and set(group.like.values()) <= set(first)
    parts = [part.name for part in head.parts]
    assert parts[-len(hair.STYLES) + len(hair.PAINTED) :] == [s for s in hair.STYLES if s not in hair.PAINTED]


def test_every_style_is_a_sound_mesh_around_the_head(head: Head) -> None:
    for name in set(hair.STYLES) - hair.PAINTED:
        part = head.part[name]
        drawn = slice(part.first_triangle, part.first_triangle + part.n_triangles)
        corners = head.triangles[drawn]
        assert part.n_triangles > 300 and (head.materials[drawn] == HAIR_MATERIAL).all()
        assert corners.min() == part.first_vertex and corners.max() == part.first_vertex + part.n_vertices - 1
        assert head.uvs[drawn].min() > -0.01 and head.uvs[drawn].max() < 1.01
        assert np.isfinite(shown(head, name)).all() and np.abs(shown(head, name)).max() < 0.7
    assert len(head.regions) == head.n_vertices and len(head.labels) == len(head.triangles)


@pytest.mark.parametrize(
    ("name", "lowest"), [("bob05", -0.11), ("shoulder01", -0.17), ("long03", -0.31), ("long02", -0.6)]
)
def test_hair_is_cut_where_it_says(head: Head, name: str, lowest: float) -> None:
    part = head.part[name]
    drawn = slice(part.first_triangle, part.first_triangle + part.n_triangles)
    middles = head.bound_vertices[head.triangles[drawn] - head.n_base].mean(axis=1)
    u, v = (head.uvs[drawn].mean(axis=1) * [511, -511] + [0, 511]).round().astype(int).T
    kept = hair.opacity(head, name)[v, u] > 0.5
    assert middles[kept, 1].min() == pytest.approx(lowest, abs=0.035)


def test_a_mirrored_style_is_the_mirror_image(head: Head) -> None:
    style = hair.STYLES["pixie01"]
    moved = style.placed(shown(head, style.base).astype(np.float64))
    mirrored = shown(head, "pixie01") * [-1, 1, 1]
    np.testing.assert_allclose(np.sort(mirrored[:, 0]), np.sort(moved[:, 0]), atol=1e-3)
