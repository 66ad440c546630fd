"""Tints of hair and skin."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.schema import Schema
from engine.textures import HAIR_COLOURS, hair_colours, skin_tints
from engine.tints import REACH


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.load(Path(__file__).resolve().parents[2] / "characters" / "embedded")


def lab(linear: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.asarray(linear, np.float32).reshape(1, 1, 3), cv2.COLOR_LRGB2LAB)[0, 0]


def test_neutral_tints_leave_every_colour_as_it_is(schema: Schema) -> None:
    names = schema.group("hair_colour").choices
    choices = np.tile(schema.neutral_discrete(), (len(names), 1))
    choices[:, schema.group_index["hair_colour"]] = np.arange(len(names))
    sliders = np.tile(schema.neutral_sliders(), (len(names), 1))
    found = hair_colours(schema, sliders, choices)
    np.testing.assert_allclose(found, [HAIR_COLOURS[name] for name in names], atol=2e-4)
    np.testing.assert_allclose(skin_tints(schema, sliders, choices), 1.0, atol=1e-3)


@pytest.mark.parametrize(("slider", "channel"), [("hair_lightness", 0), ("hair_warmth", 2)])
def test_a_tint_moves_its_own_channel_by_its_reach_and_no_further(schema: Schema, slider: str, channel: int) -> None:
    choices = schema.neutral_discrete()[None].copy()
    choices[0, schema.group_index["hair_colour"]] = schema.choice("hair_colour", "blond")
    sliders = np.tile(schema.neutral_sliders(), (2, 1))
    sliders[:, schema.slider_index[slider]] = 0.0, 1.0
    low, high = (lab(colour)[channel] for colour in hair_colours(schema, sliders, np.repeat(choices, 2, axis=0)))
    assert high - low == pytest.approx(2 * REACH[slider][channel], rel=0.05)


def test_characters_from_before_there_were_tints_are_read_as_neutral(schema: Schema) -> None:
    document = schema.to_document(schema.neutral())
    for name in REACH:
        del document["parameters"][name]
    x = schema.from_document(document["parameters"], document["discrete"])
    np.testing.assert_allclose(x, schema.neutral(), atol=1e-4)
