"""VGGFace2 (Cao et al., FG 2018): `train/` and `test/` with a folder a person, `n000001/0001_01.jpg`, and lists.

8,631 people train and 500 others test; a photo is a loose crop with the person in the middle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from .base import DatasetPhoto, PhotoSet, Split, find, pictures_in, share_of, some, subfolders

PEOPLE: dict[str, int] = {"train": 8631, "test": 500}


class VggFace2Set(PhotoSet, frozen=True):
    """The official train and test people; some of the training people choose between models."""

    kind: Literal["vggface2"] = "vggface2"
    val_share: float = Field(default=0.02, ge=0, lt=1)
    seed: int = 0

    def photos(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        root = self.folder(source)
        people = {part: self._people(root, part) for part in PEOPLE}
        if both := set(people["train"]) & set(people["test"]):
            raise self.error(f"people in train/ and in test/: {some(both)}; expected none")
        for part, names in people.items():
            self._check_list(root, part, names)
        for part, names in people.items():
            for name in names:
                person = f"{self.name}/{name}"
                split = self._split(part, person)
                for file in pictures_in(root / part / name):
                    place = f"{self.name}/{part}/{name}/{file}"
                    yield DatasetPhoto(place, self.name, person, split, root / part / name / file, focus="centre")

    def _split(self, part: str, person: str) -> Split:
        if part == "test":
            return "test"
        return "val" if share_of(self.seed, person) < self.val_share else "train"

    def _people(self, root: Path, part: str) -> list[str]:
        if not (root / part).is_dir():
            if self.partial:
                return []
            raise self.error(f"no folder {root / part}; expected train/ and test/ (`partial: true` admits one of them)")
        names = subfolders(root / part)
        self.require(f"people in {part}/", len(names), PEOPLE[part])
        return names

    def _check_list(self, root: Path, part: str, names: list[str]) -> None:
        """Compare the number of photos of each person with the list, where there is one."""
        listed_in = find(root, f"{part}_list.txt", ("data", "meta"))
        if listed_in is None or not names:
            return
        with listed_in.open() as lines:
            listed = Counter(line.split("/", 1)[0].strip() for line in lines if line.strip())
        if unknown := set(names) - set(listed):
            raise self.error(f"people in {part}/ that {listed_in.name} does not list: {some(unknown)}")
        for name in sorted(listed):
            found = len(pictures_in(root / part / name)) if (root / part / name).is_dir() else 0
            self.require(f"photos of {part}/{name} (by {listed_in.name})", found, listed[name])
