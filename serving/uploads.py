"""Bodies of requests while they come: each within its size and time, all together within the memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive

from serving import problems

ROOM_AFTER = 5.0
"""Seconds after which whoever was refused may find room."""


class Uploads:
    """All bodies that are in memory. For one event loop.

    Args:
        most: bytes of all of them together.
        seconds: how long each may take to come.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self.held = 0

    @contextmanager
    def receiving(self, receive: Receive, most: int, announced: int) -> Iterator[Receive]:
        """While the block runs, what comes by the given function is in memory, whatever Content-Length says of it.

        `most`: bytes of this body; `announced`: by Content-Length, 0: it is not known. Raises ProblemError, as does
        the given function.
        """
        self._require_room(announced)
        received, deadline, is_whole = 0, 0.0, False

        async def counted() -> Message:
            nonlocal received, deadline, is_whole
            if is_whole:  # what comes now is whether the client is still there
                return await receive()
            deadline = deadline or asyncio.get_running_loop().time() + self.seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise problems.slow_upload(f"it was not whole after {self.seconds:g} seconds") from error
            is_whole, size = not message.get("more_body", False), len(message.get("body", b""))
            received, self.held = received + size, self.held + size
            if received > most:
                raise too_large(most)
            self._require_room(0)
            return message

        try:
            yield counted
        finally:
            self.held -= received

    def _require_room(self, announced: int) -> None:
        if self.held + announced > self.most:
            raise problems.busy("as many bytes are being sent as may", ROOM_AFTER)


def too_large(most: int) -> problems.ProblemError:
    """A body of more bytes than its path allows."""
    return problems.too_large(f"the request has more than {most / 1e6:g} megabytes")
