"""A plain folder of photos, `<person>/<photo>`; a photo that lies in no person's folder is a person of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from stages.data import source_files

from .base import DatasetPhoto, PhotoSet, Split

OWN_PHOTOS = "photos"
"""The set that is there without a word in any profile; its people keep their folders' names."""


class FolderSet(PhotoSet, frozen=True):
    """The user's own photos. By default they are never trained on."""

    kind: Literal["folder"] = "folder"
    split: Split | None = "test"

    def photos(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        folder = self.folder(source)
        for path in source_files.counted(folder, without=others):
            inside = path.relative_to(folder)
            person = source_files.identity(inside.parts[0] if len(inside.parts) > 1 else path.stem)
            person = person if self.name == OWN_PHOTOS else f"{self.name}/{person}"
            yield DatasetPhoto(f"{self.name}/{inside.as_posix()}", self.name, person, self.split or "test", path)
