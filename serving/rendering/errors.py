"""What comes of a request to draw: bytes, or one of these exceptions."""

from enum import StrEnum


class Kind(StrEnum):
    """What the bytes are that the drawing process answers with: what was asked for, or a reason."""

    DRAWN = "drawn"
    REFUSED = "refused"
    OUTDATED = "outdated"
    FAILED = "failed"


class CannotDraw(Exception):
    """This cannot be drawn, now or later; the message says why, in words for the character's owner."""


class Busy(Exception):
    """Too many wait already, or the engine is still starting: ask again after `retry_after` seconds."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NoAnswer(TimeoutError):
    """The drawing took too long, or its process ended; the next one starts afresh."""


class Outdated(Exception):
    """The character's schema has changed since the engine was loaded, and the request fits the new one."""
