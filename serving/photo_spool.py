"""Photos of jobs on a disk, each until it is read: a folder for each job, which nobody else on the machine may open."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.files import write_durable


@dataclass(frozen=True)
class PhotoSpool:
    """Every call blocks on the disk and raises OSError when that is full or gone."""

    folder: Path

    def put(self, job: str, photos: Sequence[bytes]) -> None:
        """Keep the photos of a job, by their numbers, in the place of what whoever was interrupted left of it."""
        self.clear(job)
        (self.folder / job).mkdir(mode=0o700, parents=True)
        for number, photo in enumerate(photos):
            write_durable(self._path(job, number), photo)

    def get(self, job: str, number: int) -> bytes | None:
        """A photo; None where it is gone."""
        try:
            return self._path(job, number).read_bytes()
        except FileNotFoundError:
            return None

    def drop(self, job: str, number: int) -> None:
        """Delete a photo."""
        self._path(job, number).unlink(missing_ok=True)

    def clear(self, job: str) -> None:
        """Delete all photos of a job."""
        shutil.rmtree(self.folder / job, ignore_errors=True)

    def _path(self, job: str, number: int) -> Path:
        return self.folder / job / str(number)
