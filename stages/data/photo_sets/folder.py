"""A plain folder of photos, `<person>/<photo>`; a photo that lies in no person's folder is a person of its own.

`labels.csv` in it says what people see in them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from stages.data import appearance_labels, source_files
from stages.data.appearance_labels import LABELS_FILE, BadLabels

from .base import DatasetPhoto, LabelledPhoto, PhotoSet, Split

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

    def labelled(self, source: Path, others: Collection[Path] = ()) -> Iterator[LabelledPhoto]:
        file = self.folder(source) / LABELS_FILE
        if not file.is_file():
            return
        try:
            lines = list(appearance_labels.read(file))
        except BadLabels as error:
            raise self.error(str(error)) from error
        ids = self._ids_by_name(source, others)
        for line in lines:
            found = ids.get(source_files.identity(line.file), [])
            if len(found) > 1:
                raise self.error(
                    f"{file}, line {line.line}: several photos are called {line.file}: name the folder too"
                )
            if not found and not self.partial:
                raise self.error(
                    f"{file}, line {line.line}: the set has no photo {line.file}; take the line out, or `partial: true`"
                )
            yield from (LabelledPhoto(photo, line.annotator, line.values) for photo in found)

    def _ids_by_name(self, source: Path, others: Collection[Path]) -> dict[str, list[str]]:
        """The photos' ids by their place in the folder and by their name alone."""
        found: dict[str, list[str]] = {}
        for photo in self.photos(source, others):
            place = source_files.identity(photo.id.removeprefix(f"{self.name}/"))
            for name in {place, place.rpartition("/")[2]}:
                found.setdefault(name, []).append(photo.id)
        return found
