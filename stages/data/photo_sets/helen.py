"""Helen with 11 label mattes (Smith et al., "Exemplar-Based Face Parsing", CVPR 2013; resized or original).

`images/<id>.jpg`, `labels/<id>/<id>_lbl00.png` to `_lbl10.png` (each the probability of one class, 0 to 255), and
three lists of `number , id`: exemplars train, tuning photos choose between models, testing photos are only scored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from models.images import BadImage

from . import labels
from .base import DatasetPhoto, PhotoSet, Split, some

LISTS: dict[str, tuple[Split, int]] = {
    "exemplars.txt": ("train", 2000),
    "tuning.txt": ("val", 230),
    "testing.txt": ("test", 100),
}
# The README of the set: "face skin (excluding ears and neck)"; portraits count ears as face, here they are background.
CLASSES = {
    0: "background",
    1: "face",
    2: "left_brow",
    3: "right_brow",
    4: "left_eye",
    5: "right_eye",
    6: "nose",
    7: "upper_lip",
    8: "teeth",  # their "inner mouth"
    9: "lower_lip",
    10: "hair",
}
LOOKUP = labels.table(CLASSES)


@dataclass(frozen=True, slots=True)
class Mattes:
    """Eleven probability maps in one folder."""

    folder: Path

    sides_known: ClassVar[bool] = False

    def load(self) -> NDArray:
        """The most probable class of each pixel."""
        mattes = [labels.read_map(path) for path in matte_files(self.folder)]
        if len({matte.shape for matte in mattes}) > 1:
            raise BadImage(f"the label mattes of {self.folder.name} have different sizes")
        return LOOKUP[np.argmax(np.stack(mattes), 0)]

    def contents(self) -> Iterator[tuple[str, bytes]]:
        return ((path.name, path.read_bytes()) for path in matte_files(self.folder))


class HelenSet(PhotoSet, frozen=True):
    """The folder `SmithCVPR2013_dataset_resized` (or `_original`)."""

    kind: Literal["helen"] = "helen"

    def photos(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        root = self.folder(source)
        splits: dict[str, Split] = {}
        for file, (split, count) in LISTS.items():
            ids = self._ids(root, file)
            self.require(f"photos in {file}", len(ids), count)
            if twice := set(ids) & set(splits):
                raise self.error(f"{file} lists photos of another list: {some(twice)}")
            splits |= dict.fromkeys(ids, split)
        missing = {name for name in splits if not (root / "images" / f"{name}.jpg").is_file()}
        if missing and not self.partial:
            raise self.error(f"images/ lacks {len(missing):,} of {len(splits):,} listed photos: {some(missing)}")
        names = sorted(set(splits) - missing)
        for name in names:
            for path in matte_files(root / "labels" / name):
                if not path.is_file():
                    raise self.error(f"labels/{name}/{path.name} is missing; expected 11 mattes for each photo")
        for name in names:
            mattes = Mattes(root / "labels" / name)
            picture = root / "images" / f"{name}.jpg"
            yield DatasetPhoto(f"{self.name}/{name}", self.name, person(name), splits[name], picture, mattes, "labels")

    def _ids(self, root: Path, file: str) -> list[str]:
        path = root / file
        if not path.is_file():
            if self.partial:
                return []
            raise self.error(f"{file} is missing in {root}")
        ids = []
        for row, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip():
                continue
            number, comma, name = (part.strip() for part in line.partition(","))
            if not (comma and name and number.isdigit()):
                raise self.error(f"{file}, line {row}: expected 'number , id', found '{line[:60]}'")
            ids.append(name)
        return ids


def person(name: str) -> str:
    """The name of the person in one of Helen's photos, the same in LaPa, which shows some of them again."""
    return f"Helen:{name}"


def matte_files(folder: Path) -> list[Path]:
    """The 11 mattes of a photo, in the order of their classes."""
    return [folder / f"{folder.name}_lbl{number:02d}.png" for number in sorted(CLASSES)]
