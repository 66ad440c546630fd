"""Files that are there whole or not at all."""

import uuid
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the path, then rename. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
