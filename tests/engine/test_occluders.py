"""Things before a face: they cover what they say, cast no label, move no landmark and look like the light they are
in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import occluders
from engine.head import BACKGROUND, HAIR_LABEL
from engine.renderer import Renderer, Rendering
from engine.scenes import Scenes, load_backgrounds

SIZE = 160


@pytest.fixture(scope="module")
def textures(embedded: Path) -> list[NDArray[np.uint8]]:
    return load_backgrounds(embedded)


@pytest.fixture(scope="module")
def drawn(renderer: Renderer) -> Rendering:
    sliders, choices = renderer.schema.neutral_sliders()[None], renderer.schema.neutral_discrete()[None]
    return renderer.render(sliders, choices, Scenes.game(1), SIZE)


def _only(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(occluders, "OCCLUDERS", {name: occluders.OCCLUDERS[name]})


@pytest.mark.parametrize("name", list(occluders.OCCLUDERS))
def test_each_occluder_hides_the_share_it_states(
    name: str, drawn: Rendering, textures: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only(monkeypatch, name)
    face = (drawn.labels[0] != BACKGROUND) & (drawn.labels[0] != HAIR_LABEL)
    shares = []
    for seed in range(8):
        image, labels, found, share = occluders.occlude(
            drawn.image[0], drawn.labels[0], drawn.landmarks[0], Scenes.game(1), np.random.default_rng(seed),
            (0.02, 0.5), textures,
        )  # fmt: skip
        if found == "none":
            assert share == 0 and (image == drawn.image[0]).all() and (labels == drawn.labels[0]).all()
            continue
        lost = face & (labels == BACKGROUND)
        assert found == name and 0.02 <= share <= 0.5
        assert lost.sum() / face.sum() == pytest.approx(share, abs=1e-6)
        assert not ((labels != drawn.labels[0]) & (labels != BACKGROUND)).any(), "nothing gets another label"
        changed = np.abs(image.astype(int) - drawn.image[0]).max(axis=2) > 3
        assert changed[lost].mean() > 0.75, "what is hidden looks different"
        shares.append(share)
    assert shares, "it never fitted"


def test_the_same_seed_gives_the_same_picture(drawn: Rendering, textures: list) -> None:
    pictures = [
        occluders.occlude(
            drawn.image[0],
            drawn.labels[0],
            drawn.landmarks[0],
            Scenes.game(1),
            np.random.default_rng(7),
            (0, 1),
            textures,
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(pictures[0][0], pictures[1][0])
    assert pictures[0][2:] == pictures[1][2:]


def test_a_microphone_is_lit_from_where_the_light_comes(
    drawn: Rendering, textures: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same one twice, lit from the left and from the right: its sides change their brightness."""
    _only(monkeypatch, "microphone")
    columns = np.arange(SIZE)[None, :].repeat(SIZE, 0)
    balance = []
    for side in (-1.0, 1.0):
        towards = np.array([[side, 0.0, 0.4]], np.float32) / np.hypot(1.0, 0.4).astype(np.float32)
        scene = Scenes.game(1)
        scene = replace(scene, key_direction=towards, sh=scene.sh * 0.2, key_colour=np.full((1, 3), 1.5, np.float32))
        image, labels, name, _ = occluders.occlude(
            drawn.image[0], drawn.labels[0], drawn.landmarks[0], scene, np.random.default_rng(1), (0.001, 1), textures
        )
        hidden = (labels == BACKGROUND) & (drawn.labels[0] != BACKGROUND)
        assert name == "microphone"
        middle = columns[hidden].mean()
        grey = image.mean(axis=2)
        balance.append(grey[hidden & (columns > middle)].mean() - grey[hidden & (columns < middle)].mean())
    assert balance[0] < 0 < balance[1]


def test_a_picture_without_a_face_stays_as_it_is(drawn: Rendering, textures: list) -> None:
    nobody = np.zeros_like(drawn.labels[0])
    image, _, name, share = occluders.occlude(
        drawn.image[0], nobody, drawn.landmarks[0], Scenes.game(1), np.random.default_rng(0), (0, 1), textures
    )
    np.testing.assert_array_equal(image, drawn.image[0])
    assert (name, share) == ("none", 0.0)
