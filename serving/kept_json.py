"""Files of JSON that a disk may have damaged: such a file is as good as gone, and keeps nobody from the others."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger("likeness.serving")


class Unreadable(FileNotFoundError):
    """The file does not hold what it should: whoever asks goes on as if there were none."""


def read_kept(path: Path, make: Callable[[Any], T]) -> T:
    """What `make` makes of a file's JSON. Raises FileNotFoundError, also (Unreadable, with a line in the log) where
    that cannot be made of it.
    """
    content = path.read_bytes()
    try:
        return make(json.loads(content))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read and is treated as gone: %s", path, error)
        raise Unreadable(path) from error
