"""What each API key is used for: requests and photos of a day, the last use, and the limits that a key may have.

Every process counts by itself and writes its own file for each day, from which it also reads, every few seconds, what
the others counted. So with several processes a day's limit may be passed by what comes within these seconds, and a
minute's limit is each process's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ValidationError

from engine.files import write_whole
from serving.keys import Key
from serving.token_bucket import TokenBuckets

FLUSHES_EVERY = 5.0
KEPT = timedelta(days=90)
SUFFIX = ".usage"
log = logging.getLogger("likeness.serving")


class OverLimit(Exception):
    """A key, or a player's token, was used as much as it may be; in `seconds` it may be used again."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what)
        self.seconds = seconds


class KeyUse(BaseModel):
    """What one process counted of one key on one day."""

    requests: int = 0
    photos: int = 0
    last: datetime | None = None


class Usage:
    """A context manager that counts.

    folder: where days are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._today = _utc_day()
        self._uses: dict[str, KeyUse] = {}
        self._photos_elsewhere: Counter[str] = Counter()
        self._changed = False
        self._requests = TokenBuckets()
        self._name = secrets.token_hex(4)

    async def __aenter__(self) -> Usage:
        await self.flush()
        self._flushing = asyncio.create_task(self._flush_now_and_then())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flushing.cancel()
        await asyncio.gather(self._flushing, return_exceptions=True)
        await self.flush()

    def request(self, key: Key) -> None:
        """Count a request. Raises OverLimit."""
        if key.per_minute:
            self._spend(key.name, key.per_minute)
        use = self._use(key)
        use.requests += 1
        use.last = datetime.now(UTC).replace(microsecond=0)

    @contextmanager
    def photos(self, key: Key, count: int) -> Iterator[None]:
        """Count the photos that the block reads; none where they are too many, or where it fails. Raises OverLimit."""
        use = self._use(key)
        if key.photos_per_day and use.photos + self._photos_elsewhere[key.name] + count > key.photos_per_day:
            tomorrow = datetime.combine(self._today + timedelta(days=1), datetime.min.time(), UTC)
            left = max(0, key.photos_per_day - use.photos - self._photos_elsewhere[key.name])
            what = f"the key may have {key.photos_per_day} photos read a day, and {left} are left of today's"
            raise OverLimit(what, (tomorrow - datetime.now(UTC)).total_seconds())
        use.photos += count
        try:
            yield
        except BaseException:
            # Of the day that they were counted on, which may be over by now.
            use.photos -= count
            self._changed = True
            raise

    async def flush(self) -> None:
        """Write what changed since the last time, and read what others counted."""
        today, content, self._changed = self._today, self._content() if self._changed else None, False
        try:
            self._photos_elsewhere = await asyncio.to_thread(self._exchange, today, content)
        except OSError as error:
            log.error("the use of keys cannot be kept: %s", error)

    def _use(self, key: Key) -> KeyUse:
        if (today := _utc_day()) != self._today:
            self._today, self._uses, self._photos_elsewhere = today, {}, Counter()
        self._changed = True
        return self._uses.setdefault(key.name, KeyUse())

    def _spend(self, name: str, per_minute: int) -> None:
        if seconds := self._requests.wait(name, per_minute):
            raise OverLimit(f"the key may send {per_minute} requests a minute", seconds)
        self._requests.spend(name, per_minute)

    def _content(self) -> bytes:
        return json.dumps({name: use.model_dump(mode="json") for name, use in self._uses.items()}).encode()

    def _exchange(self, today: date, content: bytes | None) -> Counter[str]:
        own = self.folder / f"{today}-{self._name}{SUFFIX}"
        if content is not None:
            write_whole(own, content)
            first = str(today - KEPT)
            for path in self.folder.glob(f"*{SUFFIX}"):
                if path.name < first:
                    path.unlink(missing_ok=True)
        elsewhere: Counter[str] = Counter()
        for path in self.folder.glob(f"{today}-*{SUFFIX}"):
            if path != own:
                elsewhere.update({name: use.photos for name, use in _read(path)})
        return elsewhere

    async def _flush_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(FLUSHES_EVERY)
            await self.flush()


def used(folders: list[Path]) -> dict[str, tuple[KeyUse, datetime | None]]:
    """Of each key's name: today's use in all processes, and the last use within KEPT."""
    today, found = str(_utc_day()), dict[str, tuple[KeyUse, datetime | None]]()
    for folder in folders:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            for name, use in _read(path):
                so_far, last = found.get(name, (KeyUse(), None))
                if path.name.startswith(today):
                    so_far = KeyUse(requests=so_far.requests + use.requests, photos=so_far.photos + use.photos)
                found[name] = so_far, max(filter(None, (last, use.last)), default=None)
    return found


def retry_after(error: OverLimit) -> str:
    """The header's value."""
    return str(max(1, math.ceil(error.seconds)))


def _read(path: Path) -> Iterator[tuple[str, KeyUse]]:
    try:
        for name, use in json.loads(path.read_bytes()).items():
            yield name, KeyUse.model_validate(use)
    except FileNotFoundError:
        return
    except (ValueError, ValidationError):
        log.warning("%s holds no use of keys", path)


def _utc_day() -> date:
    return datetime.now(UTC).date()
