"""Who may promote, roll back and forget: people who are known by a key of their own, where a project has any.

Without `people.json` in the home folder anybody who can call a command may do all of it, under whatever name
LIKENESS_USER says. With it a command asks for a key, and records whose it is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import LikenessError
from orchestration.config.files import lock, write_whole

FILE, VARIABLE = "people.json", "LIKENESS_PERSON_KEY"
PROMOTE, ROLLBACK, FORGET, PEOPLE = "promote", "rollback", "forget", "people"
ACTS = (PROMOTE, ROLLBACK, FORGET, PEOPLE)
"""What a person may be allowed to do; the last: to say who may."""
NAME = re.compile(r"[\w.-]{1,64}")


class NotAllowed(LikenessError):
    """Nobody, or nobody who may, asks for it."""


@dataclass(frozen=True)
class People:
    """The people of a project."""

    file: Path

    @classmethod
    def of(cls, home: Path) -> People:
        """Those that the home folder knows."""
        return cls(home / FILE)

    def __bool__(self) -> bool:
        """Whether the project knows its people."""
        return self.file.exists()

    def known(self) -> dict[str, dict[str, Any]]:
        """What each may do (`may`), and the digest of the key, by name. Raises NotAllowed."""
        try:
            return dict(json.loads(self.file.read_text())) if self else {}
        except (OSError, ValueError) as error:
            raise NotAllowed(f"{self.file} cannot be read ({error}): bring it back from a backup") from error

    def require(self, key: str, act: str) -> str:
        """Whose key it is. Raises NotAllowed where it is nobody's, or of somebody who may not."""
        digest, found = _digest(key), ""
        for name, about in self.known().items():
            # Every one is compared, and in constant time: how long it takes says nothing about the keys.
            if hmac.compare_digest(digest, about["key"]):
                found = name
        if not found:
            asked = "is nobody's" if key else "is missing"
            raise NotAllowed(
                f"{act} takes the key of a person who may, and {VARIABLE} {asked}: set it, or call this at a terminal"
            )
        if act not in self.known()[found]["may"]:
            raise NotAllowed(
                f"{found} may not {act}: ask {' or '.join(self.who_may(act)) or 'nobody, since nobody may'}"
            )
        return found

    def who_may(self, act: str) -> list[str]:
        """The people who may do it."""
        return [name for name, about in self.known().items() if act in about["may"]]

    def add(self, name: str, may: Collection[str]) -> str:
        """A new person's key, which is kept nowhere. The first one may do everything. Raises NotAllowed."""
        if not NAME.fullmatch(name):
            raise NotAllowed(f"{name!r} is no name: use letters, digits, dots and dashes")
        with lock(self.file.parent / "locks" / "people.lock"):
            known = self.known()
            if name in known:
                raise NotAllowed(f"{name} is known: take the key away first, `likeness person remove {name}`")
            key = secrets.token_urlsafe(32)
            known[name] = {"key": _digest(key), "may": [act for act in ACTS if act in may or not known]}
            self._write(known)
        return key

    def remove(self, name: str) -> None:
        """Raises NotAllowed where there is no such person, or nobody would be left who may say who may."""
        with lock(self.file.parent / "locks" / "people.lock"):
            known = self.known()
            if known.pop(name, None) is None:
                raise NotAllowed(f"there is no {name}: there are {', '.join(known) or 'none'}")
            if not any(PEOPLE in about["may"] for about in known.values()):
                raise NotAllowed(f"nobody would be left who may add people: add one first, or delete {self.file}")
            self._write(known)

    def _write(self, known: dict[str, dict[str, Any]]) -> None:
        write_whole(self.file, json.dumps(known, indent=1) + "\n")


def _digest(key: str) -> str:
    # Keys are 256 random bits: nobody can try them all, so a slow hash would guard nothing.
    return hashlib.sha256(key.encode()).hexdigest()
