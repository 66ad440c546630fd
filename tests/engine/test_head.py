"""The head: parts by the names of the choices, sliders that move it, proportions that stay."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import hair
from engine.blend import MorphBlend
from engine.head import Head
from engine.scenes import N_ACTIONS
from engine.schema import Schema
from engine.tints import REACH


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.load(Path(__file__).resolve().parents[2] / "characters" / "embedded")


@pytest.fixture(scope="module")
def head(embedded: Path) -> Head:
    return Head.load(embedded / "character")


@pytest.fixture(scope="module")
def blend(head: Head, schema: Schema) -> MorphBlend:
    return MorphBlend(head, schema)


def base(blend: MorphBlend, schema: Schema, **values: float) -> NDArray[np.float32]:
    """Vertices [V, 3] of the neutral face with some sliders set."""
    sliders = schema.neutral_sliders()[None].copy()
    for name, value in values.items():
        sliders[0, schema.slider_index[name]] = value
    return blend(sliders, np.zeros((1, N_ACTIONS), np.float32))[0]


def test_every_choice_that_is_worn_is_a_part_of_that_name(head: Head, schema: Schema) -> None:
    for group in ("hair", "brows", "lashes"):
        for choice in schema.groups[schema.group_index[group]].choices:
            assert choice in ("none", *hair.PAINTED) or choice in head.part


@pytest.mark.slow
def test_every_slider_moves_the_head_by_a_millimetre_at_its_ends(blend: MorphBlend, schema: Schema) -> None:
    neutral = base(blend, schema)
    for slider in schema.sliders:
        if slider.name in REACH:
            continue  # a colour
        ends = (0.0, 1.0) if slider.neutral > 0 else (1.0,)
        moved = max(np.linalg.norm(base(blend, schema, **{slider.name: e}) - neutral, axis=1).max() for e in ends)
        assert moved > 0.0009, f"{slider.name} moves nothing by a millimetre"


def test_every_change_of_head_face_and_ears_has_a_slider(head: Head, schema: Schema) -> None:
    """Left out: sideways shifts that asymmetry sliders repeat, and a second neck length and one more neck height."""
    driven = {morph for slider in schema.sliders for morph in (*slider.negative, *slider.positive)}
    free = [name for name in head.morph_names if not name.startswith(("macro/", "action/")) and name not in driven]
    repeated = ("trans-in", "trans-out", "measure-neck-height-decr", "measure-neck-height-incr")
    assert [name for name in free if not name.endswith(repeated)] == ["neck/neck-trans-down", "neck/neck-trans-up"]


def test_weight_blends_between_three_bodies(blend: MorphBlend, head: Head, schema: Schema) -> None:
    names = [name for name in head.morph_names if name.startswith("macro/")]
    bodies = np.array(["universal" in name for name in names])
    for value, kind in ((0.0, "minweight"), (0.5, "averageweight"), (1.0, "maxweight")):
        sliders = schema.neutral_sliders()[None].copy()
        sliders[0, schema.slider_index["weight"]] = value
        weights = blend.macro_weights(sliders)[0]
        chosen = np.array([kind in name for name in names])
        assert weights[chosen].sum() == pytest.approx(1.0, abs=1e-5)
        assert weights[bodies & ~chosen].sum() == pytest.approx(0.0, abs=1e-6)
    neck = base(blend, schema, weight=1.0) - base(blend, schema, weight=0.0)
    assert np.linalg.norm(neck, axis=1).max() > 0.01


def test_reach_scales_what_a_slider_does_at_its_ends(head: Head, schema: Schema) -> None:
    name = "forehead_bossing"
    halved = schema.model_copy(
        update={
            "local": tuple(s.model_copy(update={"reach": s.reach / 2}) if s.name == name else s for s in schema.local)
        }
    )
    whole, half = (base(MorphBlend(head, s), s, **{name: 1.0}) - base(MorphBlend(head, s), s) for s in (schema, halved))
    np.testing.assert_allclose(half, whole / 2, atol=1e-6)


def test_eyes_stay_before_the_camera_when_neck_and_body_change(blend: MorphBlend, head: Head, schema: Schema) -> None:
    eyes = head.part["eyes"]
    proxy = slice(eyes.first_vertex - head.n_base, eyes.first_vertex - head.n_base + eyes.n_vertices)

    def centre(**values: float) -> NDArray[np.float32]:
        vertices = base(blend, schema, **values)
        return (head.weights[proxy, :, None] * vertices[head.references[proxy]]).sum(axis=1).mean(axis=0)

    for name in ("neck_height", "head_position", "head_forward", "neck_forward", "weight"):
        for value in (0.0, 1.0):
            assert np.linalg.norm(centre(**{name: value}) - centre()) < 0.0015, name


def test_morphs_below_the_neck_are_left_out(head: Head) -> None:
    assert not any("breast" in name or "trunk" in name for name in head.morph_names)
