"""API keys: a file of names and digests. A key itself is shown once, when it is made, and kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import LikenessError
from engine.files import write_whole

NAME = re.compile(r"[\w.-]{1,64}")


class KeyProblem(LikenessError):
    """The file of keys cannot be used, or a key not be made; the message says what to do."""


@dataclass
class Keys:
    """The keys in a file, read again whenever the file changes: who has one is let in or out at once."""

    path: Path
    _digests: dict[str, str] = field(default_factory=dict)
    _read_at: tuple[int, int] | None = None

    def owner(self, key: str) -> str | None:
        """The name that a key was made for; None for any other text. Raises KeyProblem."""
        digest, found = _digest(key), None
        for name, known in self.digests().items():
            # Every one is compared, and in constant time: how long it takes says nothing about the keys.
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def digests(self) -> dict[str, str]:
        """Each name's digest. Raises KeyProblem."""
        try:
            status = self.path.stat()
            if self._read_at != (status.st_mtime_ns, status.st_ino):
                self._digests = dict(map(_entry, self.path.read_text().splitlines()))
                self._read_at = (status.st_mtime_ns, status.st_ino)
        except (OSError, ValueError) as error:
            raise KeyProblem(
                f"{self.path} is no file of API keys ({error}): `likeness key add NAME` makes one"
            ) from error
        return self._digests

    def add(self, name: str) -> str:
        """A new key for a name. Raises KeyProblem."""
        if not NAME.fullmatch(name):
            raise KeyProblem(f"{name!r} is no name for a key: use letters, digits, dots and dashes")
        known = self.digests() if self.path.exists() else {}
        if name in known:
            raise KeyProblem(f"there is a key for {name}: take it away first, `likeness key remove {name}`")
        key = secrets.token_urlsafe(32)
        self._write({**known, name: _digest(key)})
        return key

    def remove(self, name: str) -> None:
        """Raises KeyProblem."""
        known = dict(self.digests())
        if known.pop(name, None) is None:
            raise KeyProblem(f"there is no key for {name}: there are {', '.join(known) or 'none'}")
        self._write(known)

    def _write(self, digests: dict[str, str]) -> None:
        write_whole(self.path, "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items())).encode())


def _digest(key: str) -> str:
    # Keys are 256 random bits: nobody can try them all, so a slow hash would guard nothing.
    return hashlib.sha256(key.encode()).hexdigest()


def _entry(line: str) -> tuple[str, str]:
    name, digest = line.split()
    return name, digest
