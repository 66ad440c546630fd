"""What one player's token may do, so that no player takes what is the whole key's: in this process alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from serving.character_store import Caller
from serving.token_bucket import TokenBuckets
from serving.usage import OverLimit

DAY = 86_400.0


class PlayerLimits:
    """Requests of a minute and photos of a day, of each player."""

    def __init__(self, per_minute: int, photos_per_day: int) -> None:
        self.per_minute, self.photos_per_day = per_minute, photos_per_day
        self._requests, self._photos = TokenBuckets(), TokenBuckets(DAY)

    def request(self, caller: Caller) -> None:
        """Count a request. Raises OverLimit."""
        who = _name(caller)
        if seconds := self._requests.wait(who, self.per_minute):
            raise OverLimit(f"a player may send {self.per_minute} requests a minute", seconds)
        self._requests.spend(who, self.per_minute)

    @contextmanager
    def photos(self, caller: Caller, count: int) -> Iterator[None]:
        """Count the photos that the block reads; none where they are too many, or where it fails. Raises OverLimit."""
        who = _name(caller)
        if seconds := self._photos.wait(who, self.photos_per_day, count):
            raise OverLimit(f"a player may have {self.photos_per_day} photos read a day", seconds)
        self._photos.spend(who, self.photos_per_day, count)
        try:
            yield
        except BaseException:
            self._photos.spend(who, self.photos_per_day, -count)
            raise


def _name(caller: Caller) -> str:
    return f"{caller.owner} {caller.player}"
