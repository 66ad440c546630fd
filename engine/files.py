"""Files that are there whole or not at all, and digests of what files hold."""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def require_file_name(path: Path) -> None:
    """Raises IsADirectoryError where a file is to be written and the path is a folder's, or empty."""
    if not path.name or path.name == ".." or path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder: name a file in it", str(path))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file and the folders above it; a reader never sees half of it. Raises OSError."""
    require_file_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_file(path) as partial:
        partial.write_bytes(content)


def write_durable(path: Path, content: bytes, modified: float | None = None) -> None:
    """The same, and the disk has the file before this returns: it is whole, and there, also after the machine has lost
    its power. Costs about a millisecond.

    modified: the file's time from the beginning, in seconds since 1970. Raises OSError.
    """
    require_file_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_file(path) as partial:
        partial.write_bytes(content)
        if modified is not None:
            os.utime(partial, (modified, modified))
        _sync(partial)  # before it has its name, which may reach the disk sooner than its content
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or a folder's names."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, for libraries that want a path: it takes the place of `path` when the block
    ends, and is deleted where the block fails.
    """
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def digest_of(contents: Iterable[tuple[str, bytes]]) -> str:
    """32 hexadecimal digits of names and bytes, in their order (BLAKE2b)."""
    digest = hashlib.blake2b(digest_size=16)
    for name, content in contents:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
