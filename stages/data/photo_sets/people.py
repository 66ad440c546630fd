"""One folder a person, nothing else: CASIA-WebFace (`0000045/001.jpg`) and whatever is laid out like it.

CASIA-WebFace (Yi et al., "Learning Face Representation from Scratch", 2014) has 10,575 people in 494,414 photos of
250x250 pixels with the person in the middle, and no split of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.data import source_files

from .base import DatasetPhoto, PhotoSet, pictures_in, split_by_people, subfolders


class PeopleSet(PhotoSet, frozen=True):
    """Folders of people, split by person."""

    kind: Literal["people"] = "people"
    val_share: float = Field(default=0.02, ge=0, lt=1)
    """Share of the people who choose between trained models."""
    test_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the people who are only scored."""
    seed: int = 0
    people: int | None = None
    """How many people there must be; CASIA-WebFace: 10575."""
    pictures: int | None = None
    """How many photos there must be; CASIA-WebFace: 494414."""

    def photos(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        folder = self.folder(source)
        people = subfolders(folder)
        if stray := pictures_in(folder):
            raise self.error(f"{stray[0]} lies in no person's folder; expected {self.path}/<person>/<photo>")
        if not people:
            raise self.error(f"no person's folder in {folder}; expected {self.path}/<person>/<photo>")
        if self.people is not None:
            self.require(f"people in {self.path}", len(people), self.people)
        if self.pictures is not None:
            self.require(f"photos in {self.path}", sum(len(pictures_in(folder / p)) for p in people), self.pictures)
        for name in people:
            person = f"{self.name}/{source_files.identity(name)}"
            split = split_by_people(self.seed, person, self.val_share, self.test_share)
            for file in pictures_in(folder / name):
                place = f"{self.name}/{name}/{file}"
                yield DatasetPhoto(place, self.name, person, split, folder / name / file, focus="centre")
