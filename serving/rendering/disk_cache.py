"""Drawn bytes on disk, for the next request and the next start. The folder may be deleted at any time."""

import hashlib
import logging
import os
from pathlib import Path

from engine.files import write_whole

MOST_BYTES = 500_000_000
log = logging.getLogger(__name__)


class DiskCache:
    """Files by key. Above `most_bytes` those go that were not asked for the longest.

    A disk that is full or read-only costs time, never an answer.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self.bytes = sum(size for _, size, _ in self._files())

    def get(self, key: str) -> bytes | None:
        """What was put there; None where nothing is, or it cannot be read."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return content

    def put(self, key: str, content: bytes) -> None:
        """Write it whole, or log why that fails."""
        try:
            write_whole(self._path(key), content)
        except OSError as error:
            log.warning("%s cannot be written, so pictures are drawn again: %s", self.folder, error.strerror or error)
            return
        self.bytes += len(content)
        if self.bytes > self.most_bytes:
            self._shrink()

    def _shrink(self) -> None:
        files = sorted(self._files())
        self.bytes = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self.bytes <= 0.9 * self.most_bytes:
                break
            path.unlink(missing_ok=True)
            self.bytes -= size

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each was last asked for, its size and its path."""
        found = []
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                try:
                    state = path.stat()
                except OSError:  # another process took it away
                    continue
                found.append((state.st_mtime, state.st_size, path))
        return found

    def _path(self, key: str) -> Path:
        return self.folder / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
