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
from serving.character_store import new_id
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
    """One request with a key."""

    id: str
    """Of what is made of the request: reserved before that is made, so that a process that ends in between, or after
    it, leaves no second one to be made."""
    begun: bool = False
    """Whether the request came before: what it was for may be there."""
    made: bool = False
    """Whether it was answered before: what is not there any more was deleted, or has expired."""


@dataclass(frozen=True)
class IdempotencyKeys:
    """The keys of the last day, a file each: the id that was reserved, whether it was used, and a digest of what was
    sent."""

    folder: Path

    @asynccontextmanager
    async def once(self, owner: str, key: str, request: bytes) -> AsyncIterator[Claim]:
        """While the block runs, nobody else has this owner's key; when it ends well, the claim's id stands for it.

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
            claim = await asyncio.to_thread(_claim, path, sent)
            if claim is None:
                raise KeyReused(key)
            if not claim.begun:
                await asyncio.to_thread(_keep, path, sent, claim.id, made=False)
            yield claim
            if not claim.made:
                await asyncio.to_thread(_keep, path, sent, claim.id, made=True)
        finally:
            lock.release()

    def delete_expired(self) -> None:
        """Delete the keys of days before."""
        delete_older(self.folder.glob("*"), KEPT.total_seconds())


def _claim(path: Path, sent: str) -> Claim | None:
    """None: the key stands for another request. One that failed stands for nothing."""
    try:
        known, request = read_kept(path, _kept)
    except FileNotFoundError:
        return Claim(new_id())
    if request == sent:
        return known
    return None if known.made else Claim(new_id())


def _kept(content: dict[str, Any]) -> tuple[Claim, str]:
    # Versions before kept what was made alone.
    return Claim(str(content["id"]), begun=True, made=bool(content.get("made", True))), str(content["request"])


def _keep(path: Path, sent: str, id: str, made: bool) -> None:
    write_durable(path, json.dumps({"id": id, "request": sent, "made": made}).encode())
