"""Labeled Faces in the Wild (Huang et al., 2007): `lfw/<Name>/<Name>_0001.jpg`, 13,233 photos of 5,749 people.

`pairs.txt` is view 2: ten folds of 300 pairs of one person and 300 of two; its people are only ever scored.
`peopleDevTrain.txt` and `peopleDevTest.txt` are view 1, for choosing between models; the two views share people.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from .base import DatasetPhoto, PhotoSet, Split, VerificationPair, pictures_in, some, subfolders

PEOPLE, PICTURES = 5_749, 13_233
FOLDS, PAIRS_A_FOLD = 10, 300
PAIRS = "pairs.txt"
DEVELOPMENT: dict[str, Split] = {"peopleDevTrain.txt": "train", "peopleDevTest.txt": "test"}


class LfwSet(PhotoSet, frozen=True):
    """LFW by one of its two views."""

    kind: Literal["lfw"] = "lfw"
    view: Literal["pairs", "development"] = "pairs"
    """`pairs`: everybody is tested, by pairs.txt; `development`: the two lists of people, no pairs."""
    images: str = "lfw"
    """Folder of the people's folders inside `path`; others are lfw_funneled and lfw-deepfunneled."""

    @model_validator(mode="after")
    def _pairs_are_tested(self) -> LfwSet:
        if self.view == "pairs" and self.split not in (None, "test"):
            raise ValueError("people of LFW's pairs must be in split test; use view: development to train on LFW")
        return self

    def photos(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        images = self._images(source)
        splits = self._development(source) if self.view == "development" else {}
        if self.view == "pairs":
            self._read_pairs(source)
        people = subfolders(images)
        files = {name: pictures_in(images / name) for name in people}
        self.require(f"people in {self.images}/", len(people), PEOPLE)
        self.require(f"photos in {self.images}/", sum(map(len, files.values())), PICTURES)
        for name in people:
            if wrong := [file for file in files[name] if not file.startswith(f"{name}_")]:
                raise self.error(f"{name}/{wrong[0]}: expected {name}_0001.jpg and so on")
        for name in people:
            if self.view == "development" and name not in splits:
                continue
            for file in files[name]:
                split = splits.get(name, "test")
                place = f"{self.name}/{name}/{file}"
                yield DatasetPhoto(place, self.name, f"{self.name}/{name}", split, images / name / file, focus="centre")

    def pairs(self, source: Path) -> Iterator[VerificationPair]:
        if self.view != "pairs":
            return
        images = self._images(source)
        for fold, first, second, same in self._read_pairs(source):
            missing = [place for place in (first, second) if not (images / place).is_file()]
            if missing and not self.partial:
                raise self.error(f"{PAIRS} names {missing[0]}, which is not in {images}")
            if not missing:
                yield VerificationPair(self.name, fold, f"{self.name}/{first}", f"{self.name}/{second}", same)

    def _images(self, source: Path) -> Path:
        images = self.folder(source) / self.images
        if not images.is_dir():
            raise self.error(f"no folder {images}; `images:` says what it is called")
        return images

    def _read_pairs(self, source: Path) -> list[tuple[int, str, str, bool]]:
        """Fold, the two photos' places and whether they show one person, in the file's order."""
        path = self.folder(source) / PAIRS
        if not path.is_file():
            raise self.error(f"{PAIRS} is missing in {path.parent}; `view: development` does without it")
        header, *lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if len(header) != 2 or not all(field.strip().isdigit() for field in header):
            raise self.error(f"{PAIRS} begins with '{' '.join(header)[:40]}'; expected '10<tab>300'")
        folds, count = int(header[0]), int(header[1])
        self.require(f"folds in {PAIRS}", folds, FOLDS)
        self.require(f"pairs of each kind a fold in {PAIRS}", count, PAIRS_A_FOLD)
        if folds > FOLDS:
            raise self.error(f"{PAIRS} has {folds} folds; expected {FOLDS}")
        if len(lines) != 2 * folds * count:
            raise self.error(f"{PAIRS} has {len(lines):,} pairs; its first line promises {2 * folds * count:,}")
        return [self._pair(row, row // (2 * count), row % (2 * count) < count, line) for row, line in enumerate(lines)]

    def _pair(self, row: int, fold: int, same: bool, line: list[str]) -> tuple[int, str, str, bool]:
        fields = [field.strip() for field in line]
        if len(fields) == 3 and same and fields[1].isdigit() and fields[2].isdigit():
            return fold, _place(fields[0], fields[1]), _place(fields[0], fields[2]), True
        if len(fields) == 4 and not same and fields[1].isdigit() and fields[3].isdigit():
            return fold, _place(fields[0], fields[1]), _place(fields[2], fields[3]), False
        expected = "'Name<tab>1<tab>2'" if same else "'Name<tab>1<tab>Other<tab>1'"
        raise self.error(f"{PAIRS}, line {row + 2}: expected {expected}, found '{' '.join(fields)[:60]}'")

    def _development(self, source: Path) -> dict[str, Split]:
        splits: dict[str, Split] = {}
        for file, split in DEVELOPMENT.items():
            path = self.folder(source) / file
            if not path.is_file():
                raise self.error(f"{file} is missing in {path.parent}; view: development needs it")
            count, *lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            names = [line.split("\t")[0].strip() for line in lines]
            if not count.strip().isdigit() or int(count) != len(names):
                raise self.error(f"{file} promises {count.strip()} people, and lists {len(names):,}")
            if both := set(names) & set(splits):
                raise self.error(f"people in both lists of view 1: {some(both)}")
            splits |= dict.fromkeys(names, split)
        return splits


def _place(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"
