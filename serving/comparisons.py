"""Comparisons of two versions on photos that were served: numbers alone, in files that only grow.

Every process of the service writes files of its own, so that several on one shared folder never meet. A row has neither
photo nor embedding nor parameters nor any id, and its time is the hour's: nobody's photo can be told from it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from serving.configuration import ServiceSettings
from serving.releases import Release

Outcome = Literal["compared", "unread", "late", "failed"]
"""unread: the candidate could not read what production read; late: it was not done in time; failed: it ended its
process."""
FILES = 16
"""In how many files the room for comparisons is laid out, so that deleting the oldest leaves most."""


class Served(BaseModel, frozen=True):
    """A registered version: its number, and its run in MLflow, for another registry may have the same number."""

    version: int
    run: str

    @classmethod
    def of(cls, release: Release) -> Served:
        """The version of a release."""
        return cls(version=release.version, run=str(release.origin["run"]))


class Comparison(BaseModel, frozen=True):
    """What two versions made of one photo."""

    hour: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
    production: Served
    candidate: Served
    outcome: Outcome
    parameters: float | None = None
    """Mean absolute difference of the sliders, in [0, 1]."""
    largest: float | None = None
    choices: dict[str, bool] | None = None
    """Of each group, whether the two choose differently."""
    similarity: float | None = None
    """Cosine of the recogniser's embeddings of the two renders."""
    drawn_by: Literal["engine", "imitator"] | None = None
    seconds: float | None = None
    """Processor time in which the candidate read the photo."""
    production_seconds: float | None = None


@dataclass
class ComparisonLog:
    """All comparisons in a folder. Every call blocks on the disk and raises OSError when that is full or gone."""

    folder: Path
    most_bytes: int
    _file: Path | None = None
    _bytes: int = 0

    @classmethod
    def of(cls, service: ServiceSettings, character: str, home: Path) -> ComparisonLog:
        """That of one character's versions. `home`: where the service keeps what it made of this character."""
        folder = service.shadow_store / character if service.shadow_store else home / "comparisons"
        return cls(folder, round(service.shadow_megabytes * 1e6))

    def add(self, comparison: Comparison) -> None:
        """At the end of this process's file; at the end of a file, the oldest ones go."""
        line = comparison.model_dump_json(exclude_none=True).encode() + b"\n"
        if self._file is None or self._bytes + len(line) > self.most_bytes // FILES:
            self._begin_file()
        assert self._file is not None
        with self._file.open("ab") as file:
            file.write(line)
        self._bytes += len(line)

    def read(self) -> Iterator[Comparison]:
        """All of them, the oldest files first; the half line that a killed process left is passed over."""
        for path in self._files():
            for line in path.read_bytes().splitlines():
                try:
                    yield Comparison.model_validate_json(line)
                except ValidationError:
                    continue

    def _begin_file(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        room = self.most_bytes - self.most_bytes // FILES
        for path in reversed(self._files()):
            room -= path.stat().st_size
            if room < 0:
                path.unlink(missing_ok=True)
        began = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        self._file, self._bytes = self.folder / f"{began}-{secrets.token_hex(4)}.jsonl", 0

    def _files(self) -> list[Path]:
        """The oldest first."""
        return sorted(self.folder.glob("*.jsonl"))
