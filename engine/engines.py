"""What draws a character: the embedded engine, the studio's own renderer, or nothing where there are only pairs."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.character import Character, CharacterError, CommandRenderer, PythonRenderer
from engine.custom_engine import Picture, open_renderer
from engine.picture_options import AS_IN_GAME, PictureOptions
from engine.scenes import Scenes
from engine.schema import Schema


class RenderBatch(NamedTuple):
    """Pictures [B, H, W, 3] and, from the embedded engine, their label maps [B, H, W]."""

    image: Picture
    labels: Picture | None


class Engine(Protocol):
    """Draws any parameters of a character as its own camera shows them."""

    schema: Schema

    def draw(self, sliders: NDArray[np.float32], choices: NDArray[np.int16], size: int) -> RenderBatch:
        """Sliders [B, S] and choice numbers [B, G], `size` pixels high. Raises CharacterError."""
        ...

    def picture(
        self,
        sliders: NDArray[np.float32],
        choices: NDArray[np.int16],
        size: int,
        options: PictureOptions = AS_IN_GAME,
    ) -> Picture:
        """One character (sliders [1, S], choice numbers [1, G]) for people to look at [H, W, 3], with a transparent
        background [H, W, 4]. Raises CharacterError; ValueError for options that cannot be drawn.
        """
        ...


class EmbeddedEngine:
    """The embedded engine. `embedded` is `data/embedded`. Raises CharacterError when there is no such folder."""

    def __init__(self, character: Path, embedded: Path, device: str) -> None:
        from engine.renderer import Renderer

        if not embedded.is_dir():
            raise CharacterError(f"there is no {embedded}: run `likeness inputs`")
        self.renderer = Renderer(character, embedded, device)
        self.schema = self.renderer.schema

    def draw(self, sliders: NDArray[np.float32], choices: NDArray[np.int16], size: int) -> RenderBatch:
        """See Engine."""
        drawn = self.renderer.render(sliders, choices, Scenes.game(len(sliders)), size)
        return RenderBatch(drawn.image, drawn.labels)

    def picture(
        self,
        sliders: NDArray[np.float32],
        choices: NDArray[np.int16],
        size: int,
        options: PictureOptions = AS_IN_GAME,
    ) -> Picture:
        """See Engine."""
        return self.renderer.picture(sliders, choices, size, options)


class CustomEngine:
    """A studio's own renderer, a batch at a time."""

    def __init__(self, character: Character) -> None:
        assert isinstance(character.source, PythonRenderer | CommandRenderer)
        self.schema, self.batch = character.schema, character.source.batch
        self.renderer = open_renderer(character)

    def draw(self, sliders: NDArray[np.float32], choices: NDArray[np.int16], size: int) -> RenderBatch:
        """See Engine."""
        rows = self.schema.to_engine(sliders, choices)
        batches = (rows[start : start + self.batch] for start in range(0, len(rows), self.batch))
        pictures = [picture for batch in batches for picture in self.renderer(batch, size)]
        if len({picture.shape for picture in pictures}) > 1:
            raise CharacterError("the renderer gave pictures of different sizes")
        return RenderBatch(np.stack(pictures), None)

    def picture(
        self,
        sliders: NDArray[np.float32],
        choices: NDArray[np.int16],
        size: int,
        options: PictureOptions = AS_IN_GAME,
    ) -> Picture:
        """See Engine."""
        if options != AS_IN_GAME:
            raise ValueError(f"{self.schema.name} is drawn by an engine of its own, as its own camera shows it alone")
        return self.draw(sliders, choices, size).image[0]


def open_engine(character: Character, embedded: Path, device: str = "cpu") -> EmbeddedEngine | CustomEngine | None:
    """What draws this character; None where there are only pairs.

    `embedded` is `data/embedded`; only the embedded engine reads it. Raises CharacterError or OSError when the engine
    cannot be loaded.
    """
    if character.is_embedded:
        return EmbeddedEngine(character.folder, embedded, device)
    return CustomEngine(character) if character.has_engine else None
