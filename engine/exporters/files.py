"""Files that are there whole or not at all."""

import errno
import uuid
from pathlib import Path


def require_file_name(path: Path) -> None:
    """Raises IsADirectoryError where a file is to be written and the path is a folder's, or empty."""
    if not path.name or path.name == ".." or path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder: name a file in it", str(path))


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the path, then rename. Raises OSError."""
    require_file_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
