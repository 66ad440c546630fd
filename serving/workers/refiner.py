"""`?refine=`: what a worker does to make a model's answer more like its photo."""

from __future__ import annotations

import logging
import pkgutil
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import BaseModel

from engine.character import CharacterError
from engine.engines import Engine
from engine.schema import SchemaError

RefinementMethod = Literal["gradient", "engine"]
"""How to search on from an answer: by the networks alone, or with the engine's renders as well."""
log = logging.getLogger("likeness.serving")


class CannotRefine(Exception):
    """This release or this character cannot be refined in this way; the message says why, for whoever asked."""


class RefinerConfig(BaseModel, frozen=True):
    """What draws a character for a search, and how long a search may take."""

    engine: str
    """`module:function` that opens what draws a character in the reference frame, given `character`, `embedded` and a
    device; it gives None where there are only pairs."""
    character: Path
    """The character's folder."""
    embedded: Path
    """The embedded engine's assets."""
    seconds: float
    """A search with the engine that would take longer ends with its best answer so far."""


class Refiner:
    """Refines the answers of one release. The engine is opened when it is first asked for, and kept."""

    def __init__(self, model: Any, config: RefinerConfig) -> None:
        self.model, self.config = model, config

    def refined(self, method: RefinementMethod, aligned: NDArray, x: NDArray) -> NDArray:
        """Parameters [width] more like the aligned photo [H, H, 3] than the answer x [width]. Raises CannotRefine."""
        if not hasattr(type(self.model), "refinement"):
            raise CannotRefine("the model in production was registered before there was `refine`: leave it out")
        if method == "gradient":
            return self.model.refine(aligned, x)
        engine = self.engine  # opened before the search, whose time runs from here
        try:
            return self.model.refine(
                aligned,
                x,
                report=rounds_within(self.config.seconds),
                draw=lambda one: drawn(engine, self.model.schema.to_document(one)),
            )
        except CharacterError as error:
            log.error("%s", error)
            raise CannotRefine("the character's own renderer failed: the service's log says how") from error
        except SchemaError as error:
            log.error("%s", error)
            raise CannotRefine(
                "the character creator has changed since this model was trained: ask for `refine=gradient`"
            ) from error

    @cached_property
    def engine(self) -> Engine:
        """What draws the character in the reference frame. Raises CannotRefine."""
        config = self.config
        try:
            engine = pkgutil.resolve_name(config.engine)(config.character, config.embedded, "cpu")
        except (CharacterError, SchemaError, OSError) as error:
            log.error("the engine cannot be loaded: %s", error)
            raise CannotRefine(
                "the engine that draws this character cannot be loaded: the service's log says why"
            ) from error
        if engine is None:
            name = self.model.schema.name
            raise CannotRefine(
                f"{name} has only pairs that its own engine exported, so nothing can draw a search: "
                "ask for `refine=gradient`"
            )
        return engine


def drawn(engine: Engine, named: Mapping[str, Any]) -> NDArray:
    """The engine's picture [h, h, 3] of parameters and choices by name: the schema may have grown since.

    Raises SchemaError, CharacterError.
    """
    from models.refinement import RENDER_SIZE  # loads torch, which the HTTP process does without

    known = engine.schema.from_document(named["parameters"], named["discrete"])
    return engine.draw(*engine.schema.choose(known[None]), RENDER_SIZE).image[0]


def rounds_within(seconds: float) -> Callable[[int, int], bool]:
    """What a search asks before each of its rounds: whether one that takes as long as the slowest so far still ends
    within so many seconds from now."""
    begun = before = time.monotonic()
    slowest = 0.0

    def fits(round: int, rounds: int) -> bool:
        nonlocal before, slowest
        now = time.monotonic()
        before, slowest = now, max(slowest, now - before)
        return now + slowest <= begun + seconds

    return fits
