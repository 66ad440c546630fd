"""Tokens for players: what a page in a player's hands has in the place of the game's key.

A token is 256 random bits. Its digest is kept as a file until it expires, in a folder that all machines of a service
see; who reads that folder has no token.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engine.files import write_durable
from serving.character_store import Caller
from serving.expiring import delete_older
from serving.kept_json import read_kept

PREFIX = "lkt_"
"""What a token begins with, by which keys are told apart from it without a look at the disk."""
LONGEST = timedelta(days=1)


@dataclass(frozen=True)
class Token:
    """Whom a token stands for, and until when."""

    caller: Caller
    key: str
    """Digest of the key that made it, with which it ends; empty: none was asked for, or a version before made it."""
    expires: datetime


@dataclass(frozen=True)
class PlayerTokens:
    """All tokens that have not expired. Every call blocks on the disk and raises OSError when that is full or gone."""

    folder: Path

    def make(self, caller: Caller, lives: timedelta, key: str = "") -> tuple[str, datetime]:
        """A token for the player `caller.player`, and when it expires. `key`: digest of the key that asks for it."""
        token = PREFIX + secrets.token_urlsafe(32)
        expires = datetime.now(UTC).replace(microsecond=0) + min(lives, LONGEST)
        kept = {"owner": caller.owner, "player": caller.player, "key": key, "expires": expires.isoformat()}
        write_durable(self._path(token), json.dumps(kept).encode())
        return token, expires

    def find(self, token: str) -> Token | None:
        """What a token stands for; None for any other text, and once it has expired."""
        try:
            found = read_kept(self._path(token), _kept)
        except FileNotFoundError:
            return None
        return found if datetime.now(UTC) < found.expires else None

    def delete_of(self, caller: Caller) -> int:
        """Delete a player's tokens; how many there were."""
        deleted = 0
        for path in self.folder.glob("*.token"):
            try:
                found = read_kept(path, _kept)
            except FileNotFoundError:
                continue
            if found.caller == caller:
                path.unlink(missing_ok=True)
                deleted += 1
        return deleted

    def delete_expired(self) -> None:
        """Delete what can be valid no more, by the files' times."""
        delete_older(self.folder.glob("*"), LONGEST.total_seconds())

    def _path(self, token: str) -> Path:
        # 256 random bits, as of keys: a slow hash would guard nothing.
        return self.folder / f"{hashlib.sha256(token.encode()).hexdigest()}.token"


def _kept(content: dict[str, Any]) -> Token:
    caller = Caller(content["owner"], content["player"])
    return Token(caller, content.get("key", ""), datetime.fromisoformat(content["expires"]))
