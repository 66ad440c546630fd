"""Characters that were made, a file each, until they expire: a file's time is when that is, as was promised when the
character was made.

An id is 128 random bits: nobody finds a character by trying. With several machines, the folder is one that all see.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine.files import digest_of, write_durable
from serving.expiring import delete_older, each_alone, older
from serving.kept_json import read_kept

LOCKS, LONGEST_WAIT = ".locks", 10.0
"""The folder of lock files, of which there are as many as folders of characters, and seconds."""
PLAYERS = ".players"
"""A folder for each player, of empty files that are called as the player's characters; where a player was erased, an
empty file beside it, whose time says when."""
ERASED, ERASED_KEPT = ".erased", timedelta(days=30)
"""What such a file is called, and how long it is kept: longer than anything that began before is under way."""
ORPHANED_AFTER = 3600.0
"""Seconds after a file's time until it goes without a character that says more."""
ID = re.compile(r"[\w-]{22}", re.ASCII)


def new_id() -> str:
    """A random id that `likeness lineage ID` does not take for an option."""
    while (found := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return found


class UnknownCharacter(Exception):
    """There is no such character, or none of this owner's."""


class ErasedMeanwhile(Exception):
    """All that is kept of the player was erased after the request began."""


class ChangedSince(Exception):
    """The character is not any more as it was when the change was thought of."""


@dataclass(frozen=True)
class Caller:
    """Who asks: the name of a key, and of one player alone, a digest of its id."""

    owner: str
    """Empty: no keys are asked for."""
    player: str = ""
    """Empty: whoever has the key, which all of its players' characters belong to."""

    def owns(self, owner: str, player: str) -> bool:
        """Whether what belongs to these is this caller's."""
        return owner == self.owner and self.player in ("", player)


@dataclass(frozen=True)
class Record:
    """One character: its character.json, and whose it is."""

    id: str
    owner: str
    created: datetime
    """To the microsecond: a player's characters are listed in this order."""
    expires: datetime
    media_type: str
    """Of the photo that was kept; empty: none was."""
    document: dict[str, Any]
    """A character.json, and `edited`: what was changed by hand since."""
    player: str = ""
    """A digest of the player's id; empty: the game gave none."""

    @property
    def etag(self) -> str:
        """An entity tag of the document (RFC 9110): another one after every change."""
        return f'"{digest_of([(self.id, json.dumps(self.document, sort_keys=True).encode())])}"'


@dataclass(frozen=True)
class CharacterStore:
    """All of them. Every call blocks on the disk and raises OSError when that is full or gone."""

    folder: Path
    keep: timedelta

    def add(
        self,
        document: Mapping[str, Any],
        caller: Caller,
        photo: bytes = b"",
        media_type: str = "",
        id: str = "",
        begun: datetime | None = None,
    ) -> Record:
        """Keep a new character, and its photo if there is one; it is its caller's. Without an id it gets one.

        begun: when its request began. Raises ErasedMeanwhile where the player was erased since then.
        """
        self.require_not_erased(caller, begun)
        now, id = datetime.now(UTC), id or new_id()
        expires = now.replace(microsecond=0) + self.keep
        record = Record(id, caller.owner, now, expires, media_type, dict(document), player=caller.player)
        if record.player:  # before the character: one that cannot be found by its player would outlive being erased
            write_durable(self._mark(record), b"", expires.timestamp())
        if photo:
            write_durable(self.path(record.id, ".photo"), photo, expires.timestamp())
        self._write(record)
        try:
            self.require_not_erased(caller, begun)
        except ErasedMeanwhile:  # whoever erased may have looked before this was there
            self._delete(record)
            raise
        return record

    def get(self, id: str, caller: Caller) -> Record:
        """Raises UnknownCharacter, also of another caller's and of one that has expired."""
        record = self.read(id)
        if not caller.owns(record.owner, record.player) or record.expires < datetime.now(UTC):
            raise UnknownCharacter(id)
        return record

    def read(self, id: str) -> Record:
        """Whoever's it is, until it is deleted. Raises UnknownCharacter."""
        if not ID.fullmatch(id):
            raise UnknownCharacter(id)
        try:
            return read_kept(self.path(id), partial(_record, id))
        except FileNotFoundError as error:
            raise UnknownCharacter(id) from error

    def change(
        self,
        id: str,
        caller: Caller,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        if_match: Callable[[str], bool] = lambda etag: True,
    ) -> Record:
        """Replace a character's document by what `change` makes of it, one change after the other.

        Raises UnknownCharacter, ChangedSince where `if_match` refuses the entity tag, and what `change` raises.
        """
        self.get(id, caller)  # nothing is locked for whoever it does not belong to
        with self._locked(id):
            record = self.get(id, caller)
            if not if_match(record.etag):
                raise ChangedSince(id)
            changed = replace(record, document=change(record.document))
            self._write(changed)
        return changed

    def photo(self, id: str, caller: Caller) -> tuple[bytes, str]:
        """The photo that was kept, and its media type. Raises UnknownCharacter."""
        record = self.get(id, caller)
        try:
            return self.path(id, ".photo").read_bytes(), record.media_type
        except FileNotFoundError as error:
            raise UnknownCharacter(id) from error

    def of_player(self, caller: Caller) -> list[Record]:
        """All of a player's characters, the oldest first."""
        found = []
        for mark in self._marks(caller).glob("*"):
            try:
                found.append(self.get(mark.name, caller))
            except UnknownCharacter:  # expired, or deleted by whoever was interrupted
                continue
        return sorted(found, key=lambda record: (record.created, record.id))

    def delete(self, id: str, caller: Caller) -> None:
        """Delete a character, and its photo if it was kept. Raises UnknownCharacter."""
        record = self.get(id, caller)
        with self._locked(id):
            self._delete(record)

    def erase_player(self, caller: Caller) -> list[str]:
        """Delete all of a player's characters, also those that have expired; their ids. What requests that began before
        make of the player from now on is not kept, on any machine."""
        tombstone = self._tombstone(caller)
        write_durable(tombstone, b"")
        _set_time(tombstone, time.time())  # the disk's own clock is coarser, or another machine's
        erased = []
        for mark in self._marks(caller).glob("[!.]*"):
            with self._locked(mark.name):
                if self.path(mark.name).exists():
                    erased.append(mark.name)
                self._delete_files(mark.name)
                mark.unlink(missing_ok=True)
        return erased

    def is_erased(self, caller: Caller, begun: datetime) -> bool:
        """Whether what is kept of a player was erased after this time."""
        if not caller.player:
            return False
        try:
            return begun.timestamp() <= self._tombstone(caller).stat().st_mtime
        except FileNotFoundError:
            return False

    def require_not_erased(self, caller: Caller, begun: datetime | None) -> None:
        """Raises ErasedMeanwhile where what is kept of a player was erased after a request began."""
        if begun and self.is_erased(caller, begun):
            raise ErasedMeanwhile

    def delete_expired(self) -> int:
        """Delete what has expired; how many characters. By the files' times: what is not due is not read."""
        deleted, kept = 0, (".json", ".photo", ".partial")
        files = (path for path in self.folder.glob("*/*") if path.suffix in kept)
        for path in older(chain(files, self.folder.glob(f"{PLAYERS}/*/*")), 0):
            with each_alone(path):
                deleted += self._delete_due(path)
        delete_older(self.folder.glob(f"{PLAYERS}/*{ERASED}"), ERASED_KEPT.total_seconds())
        for path in older(self.folder.glob(f"{PLAYERS}/*"), ORPHANED_AFTER):
            with suppress(OSError):  # it holds something
                path.rmdir()
        return deleted

    def _delete_due(self, path: Path) -> bool:
        """Delete the character of a file whose time has come; whether there was one. Versions before gave files the
        time when they were made: such a file gets its own."""
        try:
            record = self.read(path.stem)
        except UnknownCharacter:
            delete_older([path], ORPHANED_AFTER)  # younger, it may be one that is being made by such a version
            return False
        if record.expires > datetime.now(UTC):
            _set_time(path, record.expires.timestamp())
            return False
        with self._locked(record.id):
            self._delete(record)
        return True

    def _write(self, record: Record) -> None:
        path, content = self.path(record.id), {**vars(record)}
        del content["id"]
        write_durable(path, json.dumps(content, default=datetime.isoformat).encode(), record.expires.timestamp())

    def _delete(self, record: Record) -> None:
        self._delete_files(record.id)
        if record.player:
            self._mark(record).unlink(missing_ok=True)

    def _delete_files(self, id: str) -> None:
        # The photo first: what is interrupted in between leaves nothing that cannot be found.
        self.path(id, ".photo").unlink(missing_ok=True)
        self.path(id).unlink(missing_ok=True)

    def _tombstone(self, caller: Caller) -> Path:
        return self._marks(caller).with_suffix(ERASED)

    def _marks(self, caller: Caller) -> Path:
        # What a player is called means something to its game alone: two games' players never meet.
        return self.folder / PLAYERS / digest_of([(caller.owner, caller.player.encode())])

    def _mark(self, record: Record) -> Path:
        return self._marks(Caller(record.owner, record.player)) / record.id

    def _locked(self, id: str) -> FileLock:
        """Keeps other threads, processes and machines from changing this character; some others wait as well. Raises
        filelock.Timeout, an OSError."""
        locks = self.folder / LOCKS
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / id[:2], LONGEST_WAIT, poll_interval=0.005)

    def path(self, id: str, suffix: str = ".json") -> Path:
        """Where a character, or its photo, is kept."""
        # Folders of at most some thousand files.
        return self.folder / id[:2] / f"{id}{suffix}"


def _set_time(path: Path, seconds: float) -> None:
    os.utime(path, (seconds, seconds))


def _record(id: str, content: dict[str, Any]) -> Record:
    created, expires = (datetime.fromisoformat(content.pop(name)) for name in ("created", "expires"))
    return Record(id, created=created, expires=expires, **content)
