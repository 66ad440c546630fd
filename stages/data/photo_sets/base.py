"""What every reader of a published photo set gives, and what it may be told in a profile.

A set lies below the observed folder of photos, so that every byte that is read counts for its version. A reader
validates the whole layout before it yields its first photo, and opens no picture.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, Protocol

from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from engine.words import a_few
from stages.data import source_files

Split = Literal["train", "val", "test"]
Focus = Literal["largest", "centre", "labels"] | tuple[float, float]
"""Which face of a photo is meant: the largest, the one in the middle, the labelled one or the one at (x, y) pixels."""

NAMED = 5  # how many offenders an error names


class PhotoSetError(ValueError):
    """A photo set is not what its authors publish; the message says what was expected and what was found."""


class LabelMap(Protocol):
    """Where a photo's label map comes from; small enough to be sent to another process."""

    sides_known: ClassVar[bool]
    """Whether left and right are the person's own; if not, the face's landmarks say which is which."""

    def load(self) -> NDArray:
        """Class ids of models.face_parts.CLASSES, uint8 [H, W]. Raises images.BadImage."""
        ...

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of all that `load` reads. Raises OSError."""
        ...


@dataclass(frozen=True, slots=True)
class DatasetPhoto:
    """One photo of a set, not yet opened."""

    id: str
    """Unique in the project: the set's name, a slash and the photo's place in it."""
    source: str
    """The set's name."""
    person: str
    """Unique in the project; two sets that show the same people give them the same name."""
    split: str
    picture: Path | bytes
    labels: LabelMap | None = None
    focus: Focus = "largest"


@dataclass(frozen=True, slots=True)
class VerificationPair:
    """Two photos of a verification protocol, by their ids."""

    source: str
    fold: int
    """0 to 9: the threshold for a fold is chosen on the others."""
    first: str
    second: str
    same: bool


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """What one person says of one photo, by columns of stages.data.appearance_labels."""

    id: str
    annotator: str
    values: Mapping[str, str]


class PhotoSet(BaseModel, ABC, frozen=True, extra="forbid"):
    """What all kinds of sets have in common."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Column `source` of the set's rows and the beginning of their ids."""
    path: str
    """Folder (or file) of the set below data/photos, with / between its parts."""
    split: Split | None = None
    """Puts all of the set into one split; None: what the set itself says."""
    partial: bool = False
    """Admit a set of which files are missing; without it a wrong count is an error."""
    limit: int | None = Field(default=None, ge=1)
    """Take only so many people (for trials); which ones depends on their names alone."""

    @field_validator("name")
    @classmethod
    def _not_portraits(cls, name: str) -> str:
        if name == "portraits":
            raise ValueError("'portraits' is the name of the synthetic ones; call the set something else")
        return name

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path} does not lie below data/photos: give a path inside it")
        return path

    @abstractmethod
    def photos(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        """All photos in an order that depends on the files alone. `source`: the folder of all photos; `others`: where
        other sets lie, whose photos are not this one's. Raises PhotoSetError before the first photo.
        """

    def pairs(self, source: Path) -> Iterator[VerificationPair]:
        """The verification pairs of the set, if it has any. Raises PhotoSetError."""
        return iter(())

    def labelled(self, source: Path, others: Collection[Path] = ()) -> Iterator[LabelledPhoto]:
        """What people say of the set's photos, if anybody does. Raises PhotoSetError."""
        return iter(())

    def selected(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        """The photos with the configured limit and split applied."""
        chosen = self.chosen(source, others)
        for photo in self.photos(source, others):
            if chosen is None or photo.person in chosen:
                yield replace(photo, split=self.split) if self.split else photo

    def selected_pairs(self, source: Path) -> Iterator[VerificationPair]:
        """The pairs of which both photos are selected."""
        if self.limit is None:
            yield from self.pairs(source)
            return
        ids = {photo.id for photo in self.selected(source)}
        yield from (pair for pair in self.pairs(source) if pair.first in ids and pair.second in ids)

    def chosen(self, source: Path, others: Collection[Path] = ()) -> set[str] | None:
        """The people that the limit leaves; None without a limit."""
        if self.limit is None:
            return None
        people = {photo.person for photo in self.photos(source, others)}
        return set(heapq.nsmallest(self.limit, people, key=lambda person: share_of("limit", person)))

    @property
    def places(self) -> tuple[str, ...]:
        """Everything the set reads, below data/photos."""
        return (self.path,)

    def folder(self, source: Path) -> Path:
        """The set's own folder. Raises PhotoSetError when there is none."""
        folder = source / self.path
        if not folder.is_dir():
            raise self.error(f"no folder {folder}; lay the set out there, or take it out of photo_sets")
        return folder

    def error(self, text: str) -> PhotoSetError:
        """An error that names the set."""
        return PhotoSetError(f"photo set {self.name}: {text}")

    def require(self, what: str, found: int, expected: int) -> None:
        """Raises PhotoSetError when a count is not the published one and the set is not said to be partial."""
        if found != expected and not self.partial:
            raise self.error(
                f"{what}: expected {expected:,}, found {found:,}; `partial: true` admits a part of the set"
            )


def share_of(seed: object, person: str) -> float:
    """A number in [0, 1) that depends on the seed and the name alone, so that new people move nobody else."""
    digest = hashlib.blake2b(f"{seed}/{person}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def split_by_people(seed: int, person: str, val_share: float, test_share: float) -> Split:
    """Held out or not, by the person's name."""
    share = share_of(seed, person)
    return "test" if share < test_share else "val" if share < test_share + val_share else "train"


def find(root: Path, name: str, folders: Sequence[str] = ()) -> Path | None:
    """A file or folder of a set, in its root or in one of the folders that some downloads add."""
    return next((path for path in (root / name, *(root / folder / name for folder in folders)) if path.exists()), None)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, but for what programs left there."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if source_files.is_folder(entry)]
    return sorted(name for name in names if source_files.is_utf8(name) and not source_files.photos_alone(name, None))


def pictures_in(folder: Path) -> list[str]:
    """Names of the photos in a folder, sorted."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if source_files.is_file(entry) and source_files.is_utf8(entry.name)]
    return sorted(name for name in names if not source_files.photos_alone(name, folder / name))


def some(names: Collection[str]) -> str:
    """The first few names in order, for an error."""
    return a_few(sorted(names), NAMED)
