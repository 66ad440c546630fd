"""Requests that are sent again because no answer came: with one `Idempotency-Key` a photo becomes one character.

The header is that of draft-ietf-httpapi-idempotency-key-header. With several machines, the folder is one that all see.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine.files import digest_of, write_durable
from serving.expiring import delete_older
from serving.kept_json import read_kept

KEPT = timedelta(days=1)
"""So long a request may be sent again."""


class KeyReused(Exception):
    """The key came with another request before."""


class InProgress(Exception):
    """The first request with this key is still being answered."""


@dataclass
class Claim:
    """One request with a key: `id` is the character that was made of it before, empty when there is none yet; set it
    when there is."""

    id: str = ""


@dataclass(frozen=True)
class IdempotencyKeys:
    """The keys of the last day, a file each: which character came of them, and a digest of what was sent."""

    folder: Path

    @asynccontextmanager
    async def once(self, owner: str, key: str, request: bytes) -> AsyncIterator[Claim]:
        """While the block runs, nobody else has this owner's key; when it ends well, the claim's character is kept.

        request: all that the answer depends on. Raises KeyReused, InProgress, OSError.
        """
        path = self.folder / f"{digest_of([(owner, key.encode())])}.key"
        sent = digest_of([(path.stem, request)])
        self.folder.mkdir(parents=True, exist_ok=True)
        # Whatever thread took it, it belongs to this request.
        lock = FileLock(path.with_suffix(".lock"), timeout=0, thread_local=False)
        try:
            await asyncio.to_thread(lock.acquire)
        except Timeout as error:
            raise InProgress(key) from error
        try:
            known = await asyncio.to_thread(_read, path)
            if known and known["request"] != sent:
                raise KeyReused(key)
            claim = Claim(known.get("id", ""))
            yield claim
            if claim.id != known.get("id"):
                content = json.dumps({"id": claim.id, "request": sent}).encode()
                await asyncio.to_thread(write_durable, path, content)
        finally:
            lock.release()

    def delete_expired(self) -> None:
        """Delete the keys of days before."""
        delete_older(self.folder.glob("*"), KEPT.total_seconds())


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_kept(path, lambda content: {name: str(content[name]) for name in ("id", "request")})
    except FileNotFoundError:
        return {}
