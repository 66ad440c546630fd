"""API keys: a file of names and digests. A key itself is shown once, when it is made, and kept nowhere.

A line is a name, a digest, and what else is said of the key: `game-server 9f86… created=2026-11-29 expires=… scopes=…`.
Two lines with one name are a key that is being rotated: both let the same owner in, until the older one expires.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from engine.errors import LikenessError
from engine.files import write_durable

NAME = re.compile(r"[\w.-]{1,64}")
Scope = Literal["create", "characters", "draw", "players"]
SCOPES: Mapping[Scope, str] = {
    "create": "make characters of photos",
    "characters": "read, change and delete characters",
    "draw": "draw what is sent, random characters, presets",
    "players": "tokens for players; list, export and erase what a player has",
}
assert set(SCOPES) == set(get_args(Scope))


class KeyProblem(LikenessError):
    """The file of keys cannot be used, or a key not be made; the message says what to do."""


@dataclass(frozen=True)
class Key:
    """What is known of a key."""

    name: str
    digest: str
    created: date | None = None
    """None: made by a version that did not note it."""
    expires: datetime | None = None
    scopes: tuple[Scope, ...] = ()
    """What it is for; empty: everything."""
    per_minute: int | None = None
    """Requests of a minute."""
    photos_per_day: int | None = None
    """Photos of a day, by UTC."""

    def may(self, scope: str) -> bool:
        """Whether it is for this."""
        return not self.scopes or scope in self.scopes

    def is_valid(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires is None or now < self.expires

    def line(self) -> str:
        """As the file has it."""
        more = {
            "created": self.created and self.created.isoformat(),
            "expires": self.expires and self.expires.isoformat(),
            "scopes": ",".join(self.scopes),
            "per_minute": self.per_minute,
            "photos_per_day": self.photos_per_day,
        }
        return " ".join([self.name, self.digest, *(f"{name}={value}" for name, value in more.items() if value)])

    @classmethod
    def read(cls, line: str) -> Key:
        """The key of a line. Raises ValueError."""
        name, digest, *rest = line.split()
        more = dict(part.split("=", 1) for part in rest)
        if unknown := set(more) - {"created", "expires", "scopes", "per_minute", "photos_per_day"}:
            raise ValueError(f"{name} has {', '.join(sorted(unknown))}, which this version does not know")
        return cls(
            name,
            digest,
            created=date.fromisoformat(more["created"]) if "created" in more else None,
            expires=datetime.fromisoformat(more["expires"]) if "expires" in more else None,
            scopes=scopes_of(more.get("scopes", "").split(",") if more.get("scopes") else ()),
            per_minute=int(more["per_minute"]) if "per_minute" in more else None,
            photos_per_day=int(more["photos_per_day"]) if "photos_per_day" in more else None,
        )


def scopes_of(names: Iterable[str]) -> tuple[Scope, ...]:
    """These scopes, in the order of SCOPES. Raises ValueError."""
    if unknown := set(names := list(names)) - set(SCOPES):
        raise ValueError(f"there is no scope {', '.join(sorted(unknown))}: there are {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in names)


@dataclass
class Keys:
    """The keys in a file, read again whenever the file changes: who has one is let in or out at once."""

    path: Path
    _keys: Sequence[Key] = ()
    _read_at: tuple[int, ...] = field(default=(), repr=False)

    def find(self, key: str) -> Key | None:
        """What is known of a key that is valid; None for any other text. Raises KeyProblem."""
        digest, now, found = _digest(key), datetime.now(UTC), None
        for known in self.all():
            # Every one is compared, and in constant time: how long it takes says nothing about the keys.
            if hmac.compare_digest(digest, known.digest) and known.is_valid(now):
                found = known
        return found

    def has(self, digest: str) -> bool:
        """Whether a key of this digest is valid. Raises KeyProblem."""
        now = datetime.now(UTC)
        return any(key.digest == digest and key.is_valid(now) for key in self.all())

    def named(self, name: str) -> Key | None:
        """The newest valid key of a name. Raises KeyProblem."""
        now = datetime.now(UTC)
        return next((key for key in self.all() if key.name == name and key.is_valid(now)), None)

    def all(self) -> Sequence[Key]:
        """Every key, by name, the newest of a name first. Raises KeyProblem."""
        try:
            status = self.path.stat()
            # A clock's tick is milliseconds long, and a number of a deleted file is given to the next one.
            state = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
            if self._read_at != state:
                self._keys = [Key.read(line) for line in self.path.read_text().splitlines()]
                self._read_at = state
        except (OSError, ValueError) as error:
            raise KeyProblem(
                f"{self.path} is no file of API keys ({error}): `likeness key add NAME` makes one"
            ) from error
        return self._keys

    def add(
        self,
        name: str,
        expires: datetime | None = None,
        scopes: tuple[Scope, ...] = (),
        per_minute: int | None = None,
        photos_per_day: int | None = None,
    ) -> str:
        """A new key for a name. Raises KeyProblem."""
        if not NAME.fullmatch(name):
            raise KeyProblem(f"{name!r} is no name for a key: use letters, digits, dots and dashes")
        known = self.all() if self.path.exists() else ()
        if any(name == key.name for key in known):
            raise KeyProblem(
                f"there is a key for {name}: `likeness key rotate {name}` gives it another one, "
                f"`likeness key remove {name}` takes it away"
            )
        key = secrets.token_urlsafe(32)
        made = Key(name, _digest(key), datetime.now(UTC).date(), expires, scopes, per_minute, photos_per_day)
        self._write([*known, made])
        return key

    def rotate(self, name: str, keep_old: timedelta) -> str:
        """Another key for the same name, with all that is said of the one before, which is valid for so long yet. Keys
        before that one are taken away. Raises KeyProblem."""
        before = self._newest(name)
        now = datetime.now(UTC).replace(microsecond=0)
        ends = min(now + keep_old, before.expires or datetime.max.replace(tzinfo=UTC))
        key = secrets.token_urlsafe(32)
        after = replace(before, digest=_digest(key), created=now.date(), expires=_as_long(before, now))
        old = [replace(before, expires=ends)] if ends > now else []
        self._write([after, *old, *(other for other in self.all() if other.name != name)])
        return key

    def remove(self, name: str) -> None:
        """Raises KeyProblem."""
        self._newest(name)
        self._write([key for key in self.all() if key.name != name])

    def _newest(self, name: str) -> Key:
        known = self.all()
        for key in known:
            if key.name == name:
                return key
        names = dict.fromkeys(key.name for key in known)
        raise KeyProblem(f"there is no key for {name}: there are {', '.join(names) or 'none'}")

    def _write(self, keys: Iterable[Key]) -> None:
        # A sort that is stable: of one name, the newest stays first.
        lines = (f"{key.line()}\n" for key in sorted(keys, key=lambda key: key.name))
        write_durable(self.path, "".join(lines).encode())


def _as_long(before: Key, now: datetime) -> datetime | None:
    """When the key after this one expires: it lives as long as this one was meant to."""
    if before.expires is None or before.created is None:
        return before.expires
    made = datetime.combine(before.created, datetime.min.time(), UTC)
    return now + (before.expires - made)


def _digest(key: str) -> str:
    # Keys are 256 random bits: nobody can try them all, so a slow hash would guard nothing.
    return hashlib.sha256(key.encode()).hexdigest()
