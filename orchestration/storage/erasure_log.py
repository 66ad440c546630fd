"""What was forgotten: who, when, why, and which bytes are gone. Dagster keeps it, so every machine reads the same.

An entry is an observation of the asset `forgotten`; one that was begun and not ended is finished by the same command.
A copy of the erased md5s lies in the home folder, so that a store that misses them can say why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from engine.errors import LikenessError
from engine.words import a_few
from orchestration.config.files import write_whole

KEY = "forgotten"
COPY = "erased.json"
PAGE = 500


@dataclass(frozen=True)
class Erasure:
    """One call of `likeness forget`."""

    id: str
    photos: Mapping[str, str]
    """md5 of each photo by its path below data/photos."""
    sha256: Mapping[str, str]
    """sha256 by md5, of the photos whose bytes were at hand."""
    who: str
    when: str
    why: str
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """md5 of each version of a table that had the photos: the split of each photo's row by its path."""
    erased: Mapping[str, str] = field(default_factory=dict)
    """Where each erased file was, `<asset> <md5>/<file>`, by the file's own md5."""
    done: bool = False
    official: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """md5 of each of those versions: the photos that were of a set with official pairs."""

    players: Mapping[str, str] = field(default_factory=dict)
    """Digests of players whose corrections were forgotten, and the day until which."""
    characters: Mapping[str, str] = field(default_factory=dict)
    """Ids of characters whose corrections were forgotten or taken back, and the day."""

    @property
    def names(self) -> str:
        """The first three photos, and how many more there are; of corrections, how many players or characters."""
        if self.photos:
            return a_few(list(self.photos), 3)
        if self.players:
            return f"corrections of {a_few([f'player {digest[:12]}' for digest in self.players], 3)}"
        return f"corrections of {len(self.characters)} characters"

    def __str__(self) -> str:
        return f"{self.names}: forgotten on {self.when} by {self.who}" + (f" ({self.why})" if self.why else "")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class ErasureLog:
    """Everything that was forgotten in a project."""

    instance: dg.DagsterInstance

    def write(self, entry: Erasure) -> Erasure:
        """Record an entry, or that it is further than it was; later records add to earlier ones."""
        event = dg.AssetObservation(
            KEY,
            description=str(entry),
            metadata={
                "photos": dg.MetadataValue.json(dict(entry.photos)),
                "erased_files": len(entry.erased),
                "who": entry.who,
                "why": entry.why or "–",
                "done": entry.done,
                "entry": dg.MetadataValue.json(asdict(entry)),
            },
        )
        self.instance.report_runless_asset_event(event)
        return entry

    def entries(self) -> list[Erasure]:
        """Newest first, each with everything that was ever said of it."""
        found: dict[str, Erasure] = {}
        cursor = None
        while True:
            page = self.instance.fetch_observations(dg.AssetKey(KEY), limit=PAGE, cursor=cursor)
            for record in page.records:
                observed = record.asset_event
                if isinstance(observed, dg.AssetObservation) and "entry" in observed.metadata:
                    entry = Erasure(**_document(observed.metadata["entry"].value))
                    found[entry.id] = _joined(entry, found[entry.id]) if entry.id in found else entry
            if not page.has_more:
                return sorted(found.values(), key=lambda entry: entry.when, reverse=True)
            cursor = page.cursor

    def erased(self) -> dict[str, Erasure]:
        """The entry that each erased file belongs to, by the file's md5; photos' own md5s included."""
        found: dict[str, Erasure] = {}
        for entry in reversed(self.entries()):
            found |= dict.fromkeys([*entry.erased, *entry.photos.values()], entry)
        return found

    def copy_to(self, home: Path) -> None:
        """Write the file that `reason` reads."""
        home.mkdir(parents=True, exist_ok=True)
        reasons = {md5: str(entry) for md5, entry in self.erased().items()}
        write_whole(home / COPY, json.dumps(reasons, indent=1) + "\n")


def write_entries(file: Path, entries: Sequence[Erasure]) -> None:
    """Keep entries in a file, which `read_entries` reads."""
    write_whole(file, json.dumps([asdict(entry) for entry in entries], indent=1) + "\n")


def read_entries(file: Path) -> list[Erasure]:
    """The entries in a file, none where there is no file. Raises LikenessError where it cannot be read."""
    try:
        return [Erasure(**_document(entry)) for entry in json.loads(file.read_text())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise LikenessError(
            f"{file} is no list of what was forgotten ({error}): give the erasures.json of a backup"
        ) from error


def reason(home: Path, md5s: Any) -> str:
    """Why a store misses one of these files, "" when nothing is known to have erased them."""
    try:
        notes = json.loads((home / COPY).read_text())
    except (OSError, ValueError):
        return ""
    return next((notes[md5] for md5 in md5s if md5 in notes), "")


def _joined(older: Erasure, newer: Erasure) -> Erasure:
    """Both records of one entry, read newest first: `newer` was read before."""
    growing = ("photos", "sha256", "rows", "erased", "official", "players", "characters")
    return replace(newer, **{name: {**getattr(older, name), **getattr(newer, name)} for name in growing})


def _document(value: Any) -> dict[str, Any]:
    """What this version knows of an entry; a later one may have written more."""
    known = {part.name for part in fields(Erasure)}
    return {name: part for name, part in dict(value).items() if name in known}
