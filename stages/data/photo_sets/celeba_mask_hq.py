"""CelebAMask-HQ (Lee et al., "MaskGAN", CVPR 2020): 30,000 photos of CelebA's people with a mask for each part.

`CelebA-HQ-img/<n>.jpg` (1024 pixels), `CelebAMask-HQ-mask-anno/<0..14>/<n, 5 digits>_<part>.png` (512 pixels, 2,000
photos a folder; a hidden part has no file) and `CelebA-HQ-to-CelebA-mapping.txt`. Non-commercial research only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from models.images import BadImage

from . import celeba, labels
from .base import DatasetPhoto, PhotoSet, PhotoSetError, Split, pictures_in, some

PICTURES = 30_000
A_FOLDER = 2_000
IMAGES, MASKS, MAPPING = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno", "CelebA-HQ-to-CelebA-mapping.txt"
# Number of the last picture of each split in CelebA's list_eval_partition.txt, which is in the pictures' order.
LAST: tuple[tuple[int, Split], ...] = ((162_770, "train"), (182_637, "val"), (202_599, "test"))
# Painted in this order, later over earlier, as the authors' g_mask.py does. As in the embedded portraits ears are face
# and whatever is worn or hangs over the head is background. Glasses are face: what they stand before is known, and a
# hole in the face would say that nothing is there.
PARTS = (
    ("skin", "face"),
    ("nose", "nose"),
    ("eye_g", "face"),
    ("l_eye", "left_eye"),
    ("r_eye", "right_eye"),
    ("l_brow", "left_brow"),
    ("r_brow", "right_brow"),
    ("l_ear", "face"),
    ("r_ear", "face"),
    ("mouth", "teeth"),
    ("u_lip", "upper_lip"),
    ("l_lip", "lower_lip"),
    ("hair", "hair"),
    ("hat", "background"),
    ("ear_r", "background"),
    ("neck_l", "background"),
    ("neck", "background"),
    ("cloth", "background"),
)


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of one photo."""

    folder: Path
    number: int

    sides_known: ClassVar[bool] = False

    def load(self) -> NDArray:
        painted: NDArray | None = None
        for part, name, path in self._files():
            mask = labels.read_map(path) > 0
            painted = np.zeros(mask.shape, np.uint8) if painted is None else painted
            if mask.shape != painted.shape:
                raise BadImage(f"the mask {path.name} has another size than the photo's other masks")
            if part == "eye_g":
                mask &= painted == labels.CLASS["background"]
            painted[mask] = labels.CLASS[name]
        if painted is None:
            raise BadImage(f"no mask {self.number:05d}_*.png in {self.folder.name}")
        return painted

    def contents(self) -> Iterator[tuple[str, bytes]]:
        return ((path.name, path.read_bytes()) for _, _, path in self._files())

    def _files(self) -> Iterator[tuple[str, str, Path]]:
        """Part, class and file of each part that has one, in the order of painting."""
        for part, name in PARTS:
            path = self.folder / f"{self.number:05d}_{part}.png"
            if path.exists():
                yield part, name, path


class CelebAMaskHQSet(PhotoSet, frozen=True):
    """CelebAMask-HQ; with CelebA's own lists the people are known."""

    kind: Literal["celeba_mask_hq"] = "celeba_mask_hq"
    celeba: str | None = None
    """Folder below data/photos with CelebA's identity_CelebA.txt and list_eval_partition.txt."""

    @property
    def places(self) -> tuple[str, ...]:
        return (self.path,) if self.celeba is None else (self.path, self.celeba)

    def photos(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        root = self.folder(source)
        numbers = self._numbers(root)
        originals = self._originals(root, numbers)
        people, splits = self._people(source, originals)
        for number in numbers:
            masks = Masks(root / MASKS / str(number // A_FOLDER), number)
            picture = root / IMAGES / f"{number}.jpg"
            place = f"{self.name}/{number}"
            yield DatasetPhoto(place, self.name, people[number], splits[number], picture, masks, "labels")

    def _numbers(self, root: Path) -> list[int]:
        """Numbers of the photos, each with at least one mask."""
        for folder in (IMAGES, MASKS):
            if not (root / folder).is_dir():
                raise self.error(f"no folder {folder}/ in {root}")
        files = pictures_in(root / IMAGES)
        if strange := {file for file in files if not file.removesuffix(".jpg").isdigit()}:
            raise self.error(f"{IMAGES} has {some(strange)}; expected 0.jpg, 1.jpg and so on")
        numbers = sorted(int(file.removesuffix(".jpg")) for file in files)
        self.require(f"photos in {IMAGES}", len(numbers), PICTURES)
        masked: set[int] = set()
        for folder in sorted({number // A_FOLDER for number in numbers}):
            if not (root / MASKS / str(folder)).is_dir():
                raise self.error(f"no folder {MASKS}/{folder}/; expected 0 to 14, 2,000 photos a folder")
            masked |= {int(file[:5]) for file in pictures_in(root / MASKS / str(folder)) if file[:5].isdigit()}
        if bare := set(numbers) - masked:
            raise self.error(f"no masks for the photos {some({f'{number:05d}' for number in bare})}")
        return numbers

    def _originals(self, root: Path, numbers: list[int]) -> dict[int, str]:
        """CelebA's file name of each photo."""
        path = root / MAPPING
        if not path.is_file():
            raise self.error(f"{MAPPING} is missing in {root}: without it nobody knows whose photos these are")
        rows = [line.split() for line in path.read_text().splitlines()[1:] if line.strip()]
        if wrong := next((row for row in rows if len(row) != 3 or not row[0].isdigit()), None):
            raise self.error(f"{MAPPING}: expected 'idx orig_idx orig_file' in a line, found '{' '.join(wrong)[:60]}'")
        originals = {int(number): file for number, _, file in rows}
        if unknown := set(numbers) - set(originals):
            raise self.error(f"{MAPPING} does not list the photos {some({str(number) for number in unknown})}")
        return {number: originals[number] for number in numbers}

    def _people(self, source: Path, originals: Mapping[int, str]) -> tuple[dict[int, str], dict[int, Split]]:
        """Person and official split of each photo. Without CelebA's lists a photo is a person of its own: the official
        split, which follows from the file's number, still keeps people apart.
        """
        if self.celeba is None:
            people = {number: f"{self.name}/{number}" for number in originals}
            return people, {number: self._official(file) for number, file in originals.items()}
        try:
            identities = celeba.read_identities(source / self.celeba)
            partition = celeba.read_partition(source / self.celeba)
        except PhotoSetError as error:
            raise self.error(str(error)) from error
        if unknown := set(originals.values()) - (set(identities) & set(partition)):
            raise self.error(f"CelebA's lists in {self.celeba} lack {some(unknown)}, which {MAPPING} names")
        people = {number: celeba.person(identities[file]) for number, file in originals.items()}
        return people, {number: partition[file] for number, file in originals.items()}

    def _official(self, file: str) -> Split:
        number = file.removesuffix(".jpg")
        if number.isdigit():
            for last, split in LAST:
                if int(number) <= last:
                    return split
        raise self.error(f"{MAPPING} names {file}, which is no picture of CelebA (000001.jpg to 202599.jpg)")
