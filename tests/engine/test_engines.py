"""What draws a character: the one answer for stages, service and command line."""

from pathlib import Path

import numpy as np
import pytest

from engine.character import Character, CharacterError
from engine.engines import CustomEngine, EmbeddedEngine, open_engine
from engine.picture_options import PictureOptions
from engine.renderer import Renderer
from tests.marble import EXAMPLE

SCHEMA = """
name: mine
label: Mine
renderer: {python: "studio:draw", batch: 2}
sliders: [{name: a, part: p, label: A}]
"""
# Draws the parameter as a grey value; where it is above a half, in another size.
STUDIO = """
import numpy as np

def draw(rows, size):
    assert len(rows) <= 2
    return [np.full((size + (row["a"] > 0.5), size, 3), row["a"] * 100, np.uint8) for row in rows]
"""


@pytest.fixture
def mine(tmp_path: Path) -> CustomEngine:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "schema.yaml").write_text(SCHEMA)
    (folder / "studio.py").write_text(STUDIO)
    engine = open_engine(Character.load(folder), tmp_path / "none")
    assert isinstance(engine, CustomEngine)
    return engine


@pytest.mark.slow
def test_the_embedded_engine_draws_what_its_renderer_draws(renderer: Renderer, character: Path, embedded: Path) -> None:
    engine = open_engine(Character.load(character), embedded)
    assert isinstance(engine, EmbeddedEngine)
    parameters = engine.schema.neutral_sliders()[None], engine.schema.neutral_discrete()[None]
    image, labels = engine.draw(*parameters, 64)
    assert labels is not None and labels.shape == image.shape[:3] == (1, 64, 64)
    np.testing.assert_array_equal(engine.picture(*parameters, 64), renderer.picture(*parameters, 64))


def test_without_its_data_the_embedded_engine_says_what_to_do(character: Path, tmp_path: Path) -> None:
    with pytest.raises(CharacterError, match="run `likeness inputs`"):
        open_engine(Character.load(character), tmp_path / "none")


def test_a_studios_renderer_draws_in_batches_without_our_data(mine: CustomEngine) -> None:
    sliders, choices = np.linspace(0, 0.5, 5, dtype=np.float32)[:, None], np.zeros((5, 0), np.int16)
    image, labels = mine.draw(sliders, choices, 8)
    assert image.shape == (5, 8, 8, 3) and labels is None
    assert image[:, 0, 0, 0].tolist() == [0, 12, 25, 37, 50]
    np.testing.assert_array_equal(mine.picture(sliders[4:], choices[4:], 8), image[4])
    with pytest.raises(ValueError, match="as its own camera shows it alone"):
        mine.picture(sliders[4:], choices[4:], 8, PictureOptions(yaw=20))


def test_pictures_of_two_sizes_are_refused(mine: CustomEngine) -> None:
    with pytest.raises(CharacterError, match="different sizes"):
        mine.draw(np.array([[0.1], [0.2], [0.9]], np.float32), np.zeros((3, 0), np.int16), 8)


def test_exported_pairs_alone_are_drawn_by_nothing(tmp_path: Path) -> None:
    assert open_engine(Character.load(EXAMPLE), tmp_path) is None
