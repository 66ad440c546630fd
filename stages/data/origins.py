"""What the project did not make itself: whose it is, under which terms, and what trained weights learned from.

`origins.yaml` is the one place for it. `tools/origins.py` writes NOTICE and two tables from it, model cards quote it.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from functools import cache
from pathlib import Path, PurePosixPath

import yaml
from pydantic import BaseModel

FILE = Path(__file__).with_name("origins.yaml")
MANIFEST = Path(__file__).with_name("manifest.sha256")
EMBEDDED = "data/embedded/"


class Part(BaseModel, frozen=True, extra="forbid"):
    """Files of one origin."""

    files: tuple[str, ...]
    """Patterns of paths in the project; some are no files of it but say where something is used."""
    origin: str
    """The package that brings it, with its version."""
    name: str
    by: str
    license: str
    weights: str = ""
    """What trained weights do in this project; empty for all that was not trained."""
    backbone: str = ""
    """The word in `identity_model.backbone` that makes them part of a model."""
    trained_on: str | None = None
    """What is known of the photos that weights learned from; None: nothing."""
    note: str = ""

    def of(self, names: Iterable[str]) -> list[str]:
        """Which of these files of data/embedded, by their names in it, are this part's."""
        patterns = [file.removeprefix(EMBEDDED) for file in self.files if file.startswith(EMBEDDED)]
        return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


class ExamplePhoto(BaseModel, frozen=True, extra="forbid"):
    """A photo that comes with the project, wherever somebody laid it."""

    file: str
    md5: str
    person: str
    by: str
    license: str
    inside: str = ""
    """The package that holds it; empty: examples/photos."""


class PublishedSet(BaseModel, frozen=True, extra="forbid"):
    """Photo sets that others publish, under one wording of terms."""

    sets: str
    kinds: tuple[str, ...]
    """The `kind` in a profile by which they are read."""
    names: tuple[str, ...] = ()
    """Of the files, where one kind reads sets under several terms."""
    terms: str

    def is_meant(self, kind: str, path: str) -> bool:
        """Whether a photo set of this kind, at this path below data/photos, is one of these."""
        told_apart = kind == "verification_bin" and self.names
        return kind in self.kinds and (not told_apart or PurePosixPath(path).stem in self.names)


class Origins(BaseModel, frozen=True, extra="forbid"):
    """The whole file."""

    parts: tuple[Part, ...]
    examples: tuple[ExamplePhoto, ...]
    photo_sets: tuple[PublishedSet, ...]

    def terms(self, kind: str, path: str) -> str:
        """Under which terms a photo set was published, "" where nothing is known of it: it is the user's own."""
        found = [f"{known.sets}: {known.terms}" for known in self.photo_sets if known.is_meant(kind, path)]
        return "; ".join(found)


@cache
def load() -> Origins:
    """All that is known."""
    return Origins.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def manifest() -> dict[str, str]:
    """sha256 by file name relative to `data/embedded/`."""
    return {name: digest for digest, name in (line.split("  ", 1) for line in MANIFEST.read_text().splitlines())}
