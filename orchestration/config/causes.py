"""What an error came from."""

from __future__ import annotations

import errno
from collections.abc import Iterator

NEEDS_SOMEBODY = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
"""What no other try mends: a disk that is full or read-only, a right that is missing."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and one after the other those that it came from, as a traceback shows them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def needs_somebody(error: BaseException) -> bool:
    """Whether the error, or one that it came from, stays until a person makes room or gives a right."""
    return any(isinstance(cause, OSError) and cause.errno in NEEDS_SOMEBODY for cause in causes(error))
