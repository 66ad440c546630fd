"""Short codes for characters, to be read aloud or typed into a game, until they expire.

Eight symbols of Crockford's Base32 (https://www.crockford.com/base32.html), 40 random bits: `K7M2-QX9D`. Case, hyphens
and spaces do not matter, and O, I and L are read as 0 and 1. With several machines, the folder is one that all see.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engine.files import write_durable
from serving.expiring import delete_older
from serving.kept_json import read_kept

SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 8
MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
LONGEST = timedelta(days=7)


def normalized(text: str) -> str:
    """A code as it is kept, however somebody typed it; empty for what can be none."""
    found = text.upper().translate(MISREAD)
    return found if len(found) == LENGTH and set(found) <= set(SYMBOLS) else ""


@dataclass(frozen=True)
class ShortCode:
    """A code, the id of its character, and when it expires."""

    code: str
    id: str
    expires: datetime

    def __str__(self) -> str:
        return f"{self.code[:4]}-{self.code[4:]}"


@dataclass(frozen=True)
class ShortCodes:
    """All codes, of which a character has one at most: a file for each, and for each character that has one.

    Every call blocks on the disk and raises OSError when that is full or gone.
    """

    folder: Path

    def make(self, id: str, lives: timedelta, before: datetime) -> ShortCode:
        """A code for a character, which expires no later than `before`; the one that it has, while half of `lives` is
        left of that."""
        now = datetime.now(UTC).replace(microsecond=0)
        known = self._read(self._of(id))
        works = known and self._read(self._path(known.code)) == known  # not each that a version before made
        if known and works and known.expires >= min(now + lives / 2, before):
            return known
        if known:
            self._path(known.code).unlink(missing_ok=True)
        made = ShortCode(self._reserve(), id, min(now + min(lives, LONGEST), before))
        content = json.dumps({"code": made.code, "id": id, "expires": made.expires.isoformat()}).encode()
        # In this order: a code that its character has must work, also after what is interrupted in between.
        write_durable(self._path(made.code), content)
        write_durable(self._of(id), content)
        return made

    def find(self, text: str) -> str | None:
        """The id of a code's character, however the code was typed; None where there is no such code any more."""
        code = normalized(text)
        found = self._read(self._path(code)) if code else None
        return found.id if found and found.expires > datetime.now(UTC) else None

    def delete_of(self, id: str) -> None:
        """Delete a character's code, if it has one."""
        if known := self._read(self._of(id)):
            self._path(known.code).unlink(missing_ok=True)
        self._of(id).unlink(missing_ok=True)

    def delete_expired(self) -> None:
        """Delete what can be good no more, by the files' times."""
        delete_older(self.folder.glob("*"), LONGEST.total_seconds())

    def _reserve(self) -> str:
        """A code that nobody has, and nobody else gets."""
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            code = "".join(secrets.choice(SYMBOLS) for _ in range(LENGTH))
            try:
                self._path(code).touch(exist_ok=False)
            except FileExistsError:
                continue
            return code

    def _read(self, path: Path) -> ShortCode | None:
        try:
            if not path.stat().st_size:  # it is being made
                return None
            return read_kept(path, _code)
        except FileNotFoundError:
            return None

    def _path(self, code: str) -> Path:
        return self.folder / f"{code}.code"

    def _of(self, id: str) -> Path:
        return self.folder / f"{id}.id"


def _code(content: dict[str, Any]) -> ShortCode:
    return ShortCode(content["code"], content["id"], datetime.fromisoformat(content["expires"]))
