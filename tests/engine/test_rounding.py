"""Four triangles for each one of what is soft, and what that does to a picture."""

import numpy as np
import pytest

from engine import sampler
from engine.head import EYE, HAIR_MATERIAL, SKIN
from engine.renderer import DETAILED, Renderer
from engine.rounding import SOFT, RoundedHead, rounded
from engine.scenes import Scenes


@pytest.fixture(scope="module")
def made(renderer: Renderer) -> RoundedHead:
    return rounded(renderer.head)


def test_soft_surfaces_have_four_triangles_for_one_and_the_others_are_as_they_were(
    renderer: Renderer, made: RoundedHead
) -> None:
    before, after = np.bincount(renderer.head.materials), np.bincount(made.head.materials)
    expected = [4 * count if material in SOFT else count for material, count in enumerate(before)]
    assert after.tolist() == expected and before[SKIN] and before[HAIR_MATERIAL]
    eyes = renderer.head.materials == EYE
    np.testing.assert_array_equal(made.head.triangles[made.head.materials == EYE], renderer.head.triangles[eyes])


def test_each_part_has_its_own_triangles_and_middles(made: RoundedHead) -> None:
    first = 0
    for part in made.head.parts:
        assert part.first_triangle == first
        first += part.n_triangles
        own = np.unique(made.head.triangles[part.first_triangle : first])
        from_edge, edges = made.spans[part.name]
        middles = own[own >= made.head.n_vertices] - made.head.n_vertices
        np.testing.assert_array_equal(middles, np.arange(from_edge, from_edge + edges))
        vertices = own[own < made.head.n_vertices]
        assert np.isin(made.ends[from_edge : from_edge + edges], vertices).all()
    assert first == len(made.head.triangles)


def test_the_four_cover_the_one(renderer: Renderer, made: RoundedHead) -> None:
    """By area in the texture, where nothing is bent."""

    def areas(uvs: np.ndarray) -> np.ndarray:
        (a, b), (c, d) = (uvs[:, 1] - uvs[:, 0]).T, (uvs[:, 2] - uvs[:, 0]).T
        return a * d - b * c

    of_one = areas(renderer.head.uvs[renderer.head.materials == SKIN].astype(np.float64))
    of_four = areas(made.head.uvs[made.head.materials == SKIN].astype(np.float64)).reshape(-1, 4)
    np.testing.assert_allclose(of_four, np.repeat(of_one[:, None] / 4, 4, axis=1), atol=1e-8)


def test_large_pictures_show_the_same_face_with_fewer_corners(renderer: Renderer) -> None:
    sliders, choices = sampler.plausible(renderer.schema, 1, np.random.default_rng(3))
    drawn = renderer.render(sliders, choices, Scenes.game(1), DETAILED)
    held = renderer.__dict__.pop("rounded")
    renderer.__dict__["rounded"] = renderer.coarse
    try:
        straight = renderer.render(sliders, choices, Scenes.game(1), DETAILED)
    finally:
        renderer.__dict__["rounded"] = held
    assert 0.001 < (drawn.labels != straight.labels).mean() < 0.01
    np.testing.assert_array_equal(drawn.landmarks, straight.landmarks)
    inside = (drawn.labels > 0) & (straight.labels > 0)
    assert np.abs(drawn.image.astype(int) - straight.image)[inside].mean() < 3
    # What sticks out of the straight outline is more than what is missing: a head is round.
    assert (drawn.labels > 0).sum() > (straight.labels > 0).sum()


def test_a_large_picture_is_the_same_after_small_ones(renderer: Renderer) -> None:
    """They share memory."""
    sliders, choices = sampler.plausible(renderer.schema, 2, np.random.default_rng(4))
    first = renderer.render(sliders, choices, Scenes.game(2), DETAILED)
    small = renderer.render(sliders, choices, Scenes.game(2), 64)
    again = renderer.render(sliders, choices, Scenes.game(2), DETAILED)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(small.image, renderer.render(sliders, choices, Scenes.game(2), 64).image)
