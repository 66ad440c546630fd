"""Which model answers: the release that is in production, as whoever runs the service knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class SourceDown(Exception):
    """The registry does not answer; the message says why."""


class NothingReleased(Exception):
    """No version is in production; the message says what to do."""


class ReleaseBroken(Exception):
    """A release cannot be fetched or loaded; the message says why."""


@dataclass(frozen=True)
class Release:
    """One registered version of an encoder."""

    model: str
    version: int
    origin: Mapping[str, Any]
    """What a character.json says of its provenance."""

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"


class ReleaseSource(Protocol):
    """Where releases come from. Its calls block, and are made in a thread."""

    def current(self) -> Release:
        """The release in production. Raises NothingReleased or SourceDown."""
        ...

    def last(self) -> Release | None:
        """The release that was fetched last and still lies here: to start with while the registry is down."""
        ...

    def fetch(self, release: Release) -> Path:
        """A folder with the release as MLflow saved it, brought here; always the same one. Raises SourceDown or
        ReleaseBroken."""
        ...

    def hold(self, release: Release) -> bool:
        """Say that a release is used: whoever deletes what nobody uses leaves it. False: it lies here no more."""
        ...
