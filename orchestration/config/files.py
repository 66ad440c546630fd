"""Files that are written whole or not at all, and locks that a process which ended never leaves behind."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from engine import files

__all__ = ["Timeout", "delete", "is_locked", "lock", "write_whole"]


def write_whole(path: Path, content: bytes | str) -> None:
    """Write beside the path, then rename; text as UTF-8. Raises OSError."""
    files.write_whole(path, content.encode() if isinstance(content, str) else content)


def delete(path: Path) -> None:
    """Delete a folder with all that is in it, or a file; nothing where there is none. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock(path: Path, timeout: float = -1) -> FileLock:
    """Hold this lock file for the length of a `with` block; its folder is made where it is missing.

    timeout: seconds to wait for another process, -1 as long as it takes. Raises filelock.Timeout.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, timeout)


def is_locked(path: Path) -> bool:
    """Whether a living process holds this lock file. Asking takes the lock for an instant, so it is tried twice."""
    if not path.exists():
        return False
    try:
        with lock(path, 0.2):
            return False
    except Timeout:
        return True
