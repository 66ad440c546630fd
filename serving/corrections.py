"""What players changed of their characters, where they agreed that it is kept: a file for each character.

A row has the parameters as they were read and as the player left them, and the numbers that the encoder read of the
face (of the recogniser's embedding and last map: see `models.features`). It has no photo and no digest of one, the
player's id as a digest alone, and days for times. It stays until the player takes it back; one that nothing was changed
in goes with its character.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from engine.files import write_durable
from serving.character_store import ID, LOCKS, LONGEST_WAIT, Caller, UnknownCharacter
from serving.comparisons import Served
from serving.configuration import ServiceSettings
from serving.expiring import each_alone

WITHDRAWN = "withdrawn"
"""The folder of empty files that are called as the characters whose rows were taken back."""
SETTLED = timedelta(days=1)
"""A row is final for the pipeline once its character was not changed for so long: a drag of a slider is no opinion."""
log = logging.getLogger("likeness.serving")


class Values(BaseModel, frozen=True):
    """A character's parameters in [0, 1] and choices, by name."""

    parameters: dict[str, float]
    discrete: dict[str, str]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Values:
        """Those of a character.json."""
        chosen = {group: entry["choice"] for group, entry in document["discrete"].items()}
        return cls(parameters=document["parameters"], discrete=chosen)


class Correction(BaseModel, frozen=True):
    """One character's row."""

    id: str
    """The character's."""
    owner: str
    """Whose key made the character: nobody else is shown the row, or may take it back."""
    player: str = ""
    """`digest_of_player` of the id that the game gave; empty: it gave none."""
    consent: bool
    """Whether the request said that the player agrees."""
    day: date
    """On which the photo was read and the player agreed."""
    changed: date
    """On which the character was changed last."""
    expires: date | None = None
    """On which the character goes, and the row with it where nothing is changed; None: a version before did not note
    it."""
    version: Served
    """The one that read the photo."""
    encoder: str = ""
    """md5 of the version's encoder in DVC, by which the pipeline finds it."""
    recogniser: str = ""
    """The same of its identity model."""
    character: str
    schema_md5: str
    refined: str = ""
    """How the answer was searched closer before the player saw it."""
    features: str
    """Base64 of float16 [F], little-endian: what the encoder read of the face's identity."""
    before: Values
    after: Values | None = None
    """None: nothing is changed, or everything was changed back."""

    def is_final(self, today: date) -> bool:
        """Whether something is changed, and has been left so for long enough."""
        return self.after is not None and self.changed <= today - SETTLED


def digest_of_player(player: str) -> str:
    """What stands for a player's id: the same for the same id, "" for none. Whoever has a list of ids can find which
    one it is: it keeps ids out of tables and logs, and is no anonymity."""
    return hashlib.sha256(f"likeness player {player}".encode()).hexdigest()[:32] if player else ""


def encode_features(features: NDArray) -> str:
    """Features [F] as a row has them."""
    return base64.b64encode(np.asarray(features, "<f2").tobytes()).decode()


@dataclass(frozen=True)
class CorrectionStore:
    """All rows. Every call blocks on the disk and raises OSError when that is full or gone."""

    folder: Path

    @classmethod
    def of(cls, service: ServiceSettings, character: str, home: Path) -> CorrectionStore:
        """That of one character creator. `home`: where the service keeps what it made of it."""
        named = service.corrections_store
        return cls(named / character if named else home / "corrections")

    def add(self, row: Correction) -> None:
        """Keep a new row."""
        self._write(row)

    def get(self, id: str, caller: Caller) -> Correction:
        """Raises UnknownCharacter, also of another caller's."""
        row = self._read(id)
        if row is None or not caller.owns(row.owner, row.player):
            raise UnknownCharacter(id)
        return row

    def change(self, id: str, document: Mapping[str, Any], today: date | None = None) -> None:
        """Note what a character is now, where there is a row of it. Called for one change after the other."""
        if self._read(id) is None:
            return
        with self._locked(id):
            if (row := self._read(id)) is None:  # taken back meanwhile
                return
            now = Values.of(document)
            after = None if now == row.before else now
            changed = today or datetime.now(UTC).date()
            self._write(row.model_copy(update={"after": after, "changed": changed}))

    def withdraw(self, id: str, caller: Caller) -> bool:
        """Delete a row, and note that it was taken back, so that the pipeline erases what it collected of it; False
        where this caller has none."""
        try:
            self.get(id, caller)
        except UnknownCharacter:
            return False
        with self._locked(id):
            # The note first: what is interrupted in between is still taken back.
            write_durable(self.folder / WITHDRAWN / id, b"")
            self.path(id).unlink(missing_ok=True)
        return True

    def of_player(self, caller: Caller) -> list[Correction]:
        """All rows of a player."""
        return [row for _, row in self.rows() if row and row.player and caller.owns(row.owner, row.player)]

    def delete(self, id: str) -> None:
        """Delete a row, and the note that it was taken back."""
        with self._locked(id):
            self.path(id).unlink(missing_ok=True)
            (self.folder / WITHDRAWN / id).unlink(missing_ok=True)

    def withdrawn(self) -> list[str]:
        """The characters whose rows were taken back."""
        return sorted(path.name for path in (self.folder / WITHDRAWN).glob("*") if ID.fullmatch(path.name))

    def rows(self) -> Iterator[tuple[str, Correction | None]]:
        """Each row by its character's id, in their order; None: the file holds none."""
        for path in sorted(self.folder.glob("*/*.json"), key=lambda file: file.name):
            if ID.fullmatch(path.stem) and path.exists():
                yield path.stem, self._read(path.stem)

    def delete_unchanged(self, older_than: timedelta) -> int:
        """Delete rows that nothing is changed in, once their characters are gone; how many. `older_than`: for rows that
        do not say when that is."""
        today, deleted = datetime.now(UTC).date(), 0
        for id, row in self.rows():
            if row is not None and row.after is None and (row.expires or row.day + older_than) < today:
                with each_alone(self.path(id)):
                    self.delete(id)
                    deleted += 1
        return deleted

    def path(self, id: str) -> Path:
        """Where a row is kept."""
        return self.folder / id[:2] / f"{id}.json"

    def _read(self, id: str) -> Correction | None:
        if not ID.fullmatch(id):
            return None
        try:
            return Correction.model_validate_json(self.path(id).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            log.warning("%s holds no correction", self.path(id))
            return None

    def _write(self, row: Correction) -> None:
        path = self.path(row.id)
        write_durable(path, row.model_dump_json().encode())
        # The file's own time tells no more than the row does.
        noon = datetime.combine(row.changed, time(12), UTC).timestamp()
        os.utime(path, (noon, noon))

    def _locked(self, id: str) -> FileLock:
        locks = self.folder / LOCKS
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / id[:2], LONGEST_WAIT, poll_interval=0.005)
