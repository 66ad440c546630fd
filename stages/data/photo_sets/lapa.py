"""LaPa (Liu et al., "A New Dataset and Boundary-Attention Semantic Segmentation for Face Parsing", AAAI 2020).

`train/`, `val/` and `test/`, each with `images/<name>.jpg`, `labels/<name>.png` (class ids) and `landmarks/<name>.txt`
(106 points, which are not needed here). Photos come from MegaFace and, by the name HELEN_…, from Helen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from numpy.typing import NDArray

from . import helen, labels
from .base import DatasetPhoto, PhotoSet, Split, pictures_in, some

COUNTS: dict[Split, int] = {"train": 18_176, "val": 2_000, "test": 2_000}
# The set's README: 0 background, 1 skin, 2 and 3 eyebrows, 4 and 5 eyes, 6 nose, 7 upper lip, 8 inner mouth,
# 9 lower lip, 10 hair: Helen's numbers.
LOOKUP = labels.table(helen.CLASSES)
FROM_HELEN = re.compile(r"^HELEN_(\d+_\d+)_\d+$")


@dataclass(frozen=True, slots=True)
class Map:
    """A PNG of class ids."""

    path: Path

    sides_known: ClassVar[bool] = False

    def load(self) -> NDArray:
        return labels.translate(labels.read_map(self.path), LOOKUP, self.path.name)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        yield self.path.name, self.path.read_bytes()


class LapaSet(PhotoSet, frozen=True):
    """The folder `LaPa`."""

    kind: Literal["lapa"] = "lapa"

    def photos(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        root = self.folder(source)
        names = {split: self._names(root, split, count) for split, count in COUNTS.items()}
        for split, files in names.items():
            for file in files:
                stem = Path(file).stem
                twin = FROM_HELEN.match(stem)
                person = helen.person(twin[1]) if twin else f"{self.name}/{stem}"
                marks = Map(root / split / "labels" / f"{stem}.png")
                picture = root / split / "images" / file
                yield DatasetPhoto(f"{self.name}/{split}/{stem}", self.name, person, split, picture, marks, "labels")

    def _names(self, root: Path, split: Split, count: int) -> list[str]:
        """File names of the photos of a split, each with its label map."""
        images, maps = root / split / "images", root / split / "labels"
        for folder in (images, maps):
            if not folder.is_dir():
                if self.partial and not images.is_dir():
                    return []
                raise self.error(f"no folder {folder}; expected {split}/images and {split}/labels")
        files = pictures_in(images)
        unlabelled = {Path(file).stem for file in files} - {Path(file).stem for file in pictures_in(maps)}
        if unlabelled:
            raise self.error(f"{split}/labels lacks the label maps of {some(unlabelled)}")
        self.require(f"photos in {split}/images", len(files), count)
        return files
