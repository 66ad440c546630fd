"""Glasses: on every head they stand before eyes and nose, beside the temples, and reach the ears; lenses tint."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import glasses, sampler
from engine.head import BACKGROUND, FACE, LEFT_EYE, RIGHT_EYE, SKIN, TEETH
from engine.renderer import Renderer
from engine.scenes import Scenes


def wearing(renderer: Renderer, *names: str) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """The average face with each of some glasses."""
    schema = renderer.schema
    choices = np.repeat(schema.neutral_discrete()[None], len(names), 0)
    choices[:, schema.group_index["glasses"]] = [schema.choice("glasses", name) for name in names]
    return np.repeat(schema.neutral_sliders()[None], len(names), 0), choices


def test_every_choice_has_a_shape_a_finish_and_parts(renderer: Renderer) -> None:
    for choice in renderer.schema.group("glasses").choices[1:]:
        assert glasses.finish_of(choice) in glasses.FINISHES
        assert {*glasses.parts_of(choice).values()} <= {*renderer.head.part}


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["round", "square", "aviator"])
def test_they_fit_heads_of_all_kinds(renderer: Renderer, shape: str) -> None:
    head, count = renderer.head, 24
    sliders, _ = sampler.plausible(renderer.schema, count, np.random.default_rng(3))
    bases = renderer.blend(sliders, np.zeros((count, len(renderer.blend.actions)), np.float32))
    skin = np.unique(head.triangles[(head.materials == SKIN) & (head.labels != TEETH)])
    anchors = glasses._anchors(head)
    frame, pane = (head.part[f"{kind}/{shape}"] for kind in ("glasses", "lenses"))
    for base in bases:
        bound = (head.weights[..., None] * base[head.references]).sum(axis=1) + head.offsets
        bars, lens = (bound[p.first_vertex - head.n_base :][: p.n_vertices] for p in (frame, pane))
        nose = base[skin][np.abs(base[skin] - base[anchors[0, 0]]).max(axis=1) < 0.005]
        bridge = bars[np.abs(bars[:, 0] - base[anchors[0, 0], 0]) < 0.004]
        assert 0.0 < bridge[:, 2].min() - nose[:, 2].max() < 0.012
        assert (lens[:, 2].min() - head.eye_centres(base[None])[0, :, 2]).min() > 0.018  # eyeballs are 15 mm deep
        for side, ear in zip((1, -1), base[anchors[:, 2]], strict=True):
            assert np.linalg.norm(bars[bars[:, 0] * side > 0] - ear, axis=1).min() < 0.010


def test_clear_lenses_show_the_eyes_and_dark_ones_hide_them(renderer: Renderer) -> None:
    sliders, choices = wearing(renderer, "none", "rectangle_black", "wayfarer_black")
    bare, clear, dark = (renderer.render(sliders[k : k + 1], choices[k : k + 1], Scenes.game(1), 192) for k in range(3))
    eyes = (bare.labels[0] == LEFT_EYE) | (bare.labels[0] == RIGHT_EYE)
    assert (clear.labels[0][eyes] == bare.labels[0][eyes]).mean() > 0.95
    assert (dark.labels[0][eyes] == BACKGROUND).all()
    assert dark.image[0][eyes].mean() < 0.6 * bare.image[0][eyes].mean()
    # Rims are no skin.
    hidden = (bare.labels[0] == FACE) & (clear.labels[0] == BACKGROUND)
    assert 150 < hidden.sum() < 1500 and clear.image[0][hidden].mean() < 0.6 * bare.image[0][hidden].mean()
    np.testing.assert_array_equal(clear.landmarks, bare.landmarks)


def test_a_face_without_glasses_is_drawn_alike_beside_one_with_them(renderer: Renderer) -> None:
    sliders, choices = wearing(renderer, "none", "aviator_gold")
    alone = renderer.render(sliders[:1], choices[:1], Scenes.game(1), 96).image[0]
    np.testing.assert_array_equal(renderer.render(sliders, choices, Scenes.game(2), 96).image[0], alone)


def test_characters_from_before_there_were_glasses_wear_none(renderer: Renderer) -> None:
    schema = renderer.schema
    document = schema.to_document(schema.neutral())
    del document["discrete"]["glasses"]
    np.testing.assert_array_equal(schema.from_document(document["parameters"], document["discrete"]), schema.neutral())
