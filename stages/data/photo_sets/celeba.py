"""CelebA (Liu et al., ICCV 2015): 202,599 photos of 10,177 people, in the wild or aligned, with the official split.

The partition is by identity, which is checked with that of all sets. The licence is for non-commercial research.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal

from .base import DatasetPhoto, Focus, PhotoSet, PhotoSetError, Split, find, pictures_in, some

PICTURES = 202_599
SPLITS: tuple[Split, ...] = ("train", "val", "test")  # 0, 1 and 2 of list_eval_partition.txt
FOLDERS = ("Img", "Anno", "Eval", "img", "anno", "eval")  # of the archive; many copies have all in one folder
IDENTITIES, PARTITION = "identity_CelebA.txt", "list_eval_partition.txt"
LAYOUTS = {
    "wild": ("img_celeba", "list_landmarks_celeba.txt"),
    "aligned": ("img_align_celeba", "list_landmarks_align_celeba.txt"),
}


class CelebASet(PhotoSet, frozen=True):
    """CelebA by its lists of identities and partition."""

    kind: Literal["celeba"] = "celeba"
    layout: Literal["wild", "aligned"] = "wild"
    """`img_celeba/` or `img_align_celeba/`."""

    def photos(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        root = self.folder(source)
        images_name, landmarks_name = LAYOUTS[self.layout]
        images = find(root, images_name, FOLDERS)
        if images is None:
            raise self.error(f"no folder {images_name}/ in {root} (layout: {self.layout})")
        try:
            identities, splits = read_identities(root), read_partition(root)
            points: dict[str, Focus] = {**read_centres(root, landmarks_name)}
        except PhotoSetError as error:
            raise self.error(str(error)) from error
        names = self._checked(images, identities, splits)
        other: Focus = "centre" if self.layout == "aligned" else "largest"
        for name in names:
            focus = points.get(name, other)
            place = f"{self.name}/{name}"
            yield DatasetPhoto(place, self.name, person(identities[name]), splits[name], images / name, focus=focus)

    def _checked(self, images: Path, identities: Mapping[str, int], splits: Mapping[str, Split]) -> list[str]:
        """Names of the pictures, where folder and lists agree."""
        if unequal := set(identities) ^ set(splits):
            raise self.error(
                f"{IDENTITIES} lists {len(identities):,} pictures, {PARTITION} {len(splits):,}: "
                f"only one has {some(unequal)}"
            )
        names = pictures_in(images)
        if unknown := set(names) - set(identities):
            raise self.error(f"{images.name} has pictures that {IDENTITIES} does not list: {some(unknown)}")
        if (missing := set(identities) - set(names)) and not self.partial:
            raise self.error(
                f"{IDENTITIES} lists {len(identities):,} pictures, {images.name} has {len(names):,}: "
                f"missing {some(missing)}; `partial: true` admits a part of the set"
            )
        self.require(f"pictures in {images.name}", len(names), PICTURES)
        return names


def person(identity: int) -> str:
    """The name of one of CelebA's people in every set that shows them."""
    return f"CelebA:{identity}"


def read_identities(root: Path) -> dict[str, int]:
    """Identity by the picture's file name. Raises PhotoSetError."""
    return _numbers(root, IDENTITIES, "000001.jpg 2880")


def read_partition(root: Path) -> dict[str, Split]:
    """Official split by the picture's file name. Raises PhotoSetError."""
    numbers = _numbers(root, PARTITION, "000001.jpg 0")
    if wrong := {name for name, number in numbers.items() if not 0 <= number < len(SPLITS)}:
        raise PhotoSetError(f"{PARTITION} has splits other than 0, 1 and 2: {some(wrong)}")
    return {name: SPLITS[number] for name, number in numbers.items()}


def read_centres(root: Path, file: str) -> dict[str, tuple[float, float]]:
    """The mean of the five annotated landmarks of each picture, in its pixels; empty without the list.
    Raises PhotoSetError.
    """
    path = find(root, file, FOLDERS)
    if path is None:
        return {}
    centres = {}
    for line in path.read_text().splitlines()[2:]:  # the number of rows, the names of the columns
        name, *values = line.split()
        if len(values) != 10:
            raise PhotoSetError(f"{file}: expected a picture and 10 coordinates in a line, found '{line[:60]}'")
        points = [float(value) for value in values]
        centres[name] = (sum(points[0::2]) / 5, sum(points[1::2]) / 5)
    return centres


def _numbers(root: Path, file: str, example: str) -> dict[str, int]:
    path = find(root, file, FOLDERS)
    if path is None:
        raise PhotoSetError(f"{file} is missing in {root}")
    numbers: dict[str, int] = {}
    for row, line in enumerate(path.read_text().splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2 or not fields[1].isdigit():
            raise PhotoSetError(f"{file}, line {row}: expected a line like '{example}', found '{line[:60]}'")
        if fields[0] in numbers:
            raise PhotoSetError(f"{file}, line {row}: {fields[0]} is listed twice")
        numbers[fields[0]] = int(fields[1])
    return numbers
