"""Beards stand off the skin where they grow, follow it, and are told from it in every colour of hair."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import beards, expressions
from engine.head import BACKGROUND, FACE
from engine.renderer import Renderer
from engine.scenes import Scenes
from engine.worn import worn_parts

SIDE = 256


def bearded(renderer: Renderer, beard: str, colour: str = "dark_brown") -> tuple[NDArray, NDArray]:
    """The average man with a beard and no hair."""
    schema = renderer.schema
    sliders, choices = schema.neutral_sliders()[None].copy(), schema.neutral_discrete()[None].copy()
    sliders[0, schema.slider_index["sex"]] = 1.0
    for group, choice in (("beard", beard), ("hair_colour", colour), ("hair", "none"), ("glasses", "none")):
        choices[0, schema.group_index[group]] = schema.choice(group, choice)
    return sliders, choices


def drawn(renderer: Renderer, beard: str, colour: str = "dark_brown") -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Its picture and its labels."""
    made = renderer.render(*bearded(renderer, beard, colour), Scenes.game(1), SIDE)
    return made.image[0], made.labels[0]


def test_every_beard_but_stubble_has_shells(renderer: Renderer) -> None:
    choices = renderer.schema.group("beard").choices
    assert set(beards.LENGTHS) < set(choices)
    for choice in choices:
        (part,) = worn_parts("beard", choice).values()
        assert (part in renderer.head.part) == (choice in beards.LENGTHS)


def test_a_full_beard_widens_the_jaw_and_is_part_of_the_face(renderer: Renderer) -> None:
    """Skin of the neck has the label of the background: what stands before it is the beard."""
    bare, full = (drawn(renderer, beard)[1] for beard in ("none", "full"))
    assert set(np.unique(full)) <= set(np.unique(bare))
    grown = (full == FACE) & (bare == BACKGROUND)
    assert grown.sum() > 400
    assert np.median(np.nonzero(grown)[0]) > 0.7 * SIDE, "below the mouth"
    assert ((drawn(renderer, "stubble")[1] == FACE) & (bare == BACKGROUND)).sum() == 0


@pytest.mark.parametrize("colour", ["black", "blond", "white"])
def test_a_beard_has_strands_in_every_colour(renderer: Renderer, colour: str) -> None:
    image, _ = drawn(renderer, "full", colour)
    chin = image[int(0.80 * SIDE) : int(0.86 * SIDE), int(0.42 * SIDE) : int(0.58 * SIDE)].astype(float).mean(axis=2)
    assert chin.std() / chin.mean() > 0.05, "no painted mask"


def test_shells_follow_the_jaw(renderer: Renderer) -> None:
    part = renderer.head.part["beard/full"]
    opened = expressions.weights_of({"jawOpen": 0.5}, renderer.blend.actions)
    places = []
    for acting in (0 * opened, opened):
        base = renderer.blend(bearded(renderer, "full")[0], acting[None])[0]
        first = part.first_vertex - renderer.head.n_base
        bound = slice(first, first + part.n_vertices)
        carried = (renderer.head.weights[bound][..., None] * base[renderer.head.references[bound]]).sum(axis=1)
        places.append(carried + renderer.head.offsets[bound])
    moved = places[0][:, 1] - places[1][:, 1]
    chin = places[0][:, 1] < -0.09
    assert moved[chin].mean() > 0.002 and moved[chin].max() > 0.01, "metres down"
