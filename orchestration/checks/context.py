"""What a check looks at: one version of an asset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.config.catalog import Stage
from orchestration.config.check_rules import Rules

if TYPE_CHECKING:
    from engine.schema import Schema
    from orchestration.checks.production import Production
    from orchestration.storage.run_pictures import RunPictures


def _cpu() -> str:
    return "cpu"


def _no_progress(what: str, done: int, total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class CheckContext:
    """A version that was just made, or one that is judged again. Folders are fetched when a check asks for them."""

    stage: Stage
    character: str | None
    md5: str
    rules: Rules
    production: Production
    config: Mapping[str, Any] = field(default_factory=dict)
    """The stage's configuration, as it was resolved."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    fetch: Callable[[], Path] = Path
    """The folder that has this version."""
    fetch_character: Callable[[], Path] | None = None
    """The folder of the character that it was drawn with, where it was."""
    pictures: RunPictures | None = None
    """Where pictures of failing rows are kept; None where no MLflow run made this version."""
    fetch_input: Callable[[str], Path] | None = None
    """The folder of an input that it was made from, by the stage's name for it."""
    cache: Path | None = None
    """A folder for what can always be computed anew; None: nothing is kept."""
    pick_device: Callable[[], str] = _cpu
    """Asked where a network has to be run: to know a GPU takes a second."""
    progress: Callable[[str, int, int], None] = _no_progress

    @cached_property
    def folder(self) -> Path:
        """Where the version lies, fetched when it is first asked for."""
        return self.fetch()

    @cached_property
    def schema(self) -> Schema | None:
        """What the parameters mean, None where the table is not one character's."""
        from engine.schema import Schema

        return Schema.load(self.fetch_character()) if self.fetch_character else None
