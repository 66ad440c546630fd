"""Rows of players in the versions of the table `corrections`: finding them, and erasing every version that has one.

A version cannot lose a row and stay that version, so its files go as a whole, but for the directions of encoders, which
are of nobody. What is erased is in the erasure log, so that a row that comes again, with a backup or a service that was
away, is known and dropped.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from orchestration.config.files import delete
from orchestration.config.settings import Settings
from orchestration.storage import backup_log, erasure_log
from orchestration.storage.erasure_log import Erasure, ErasureLog
from orchestration.storage.staged_output import pointed
from orchestration.storage.store import Store, StoreError
from orchestration.storage.version_index import VersionIndex

ASSET, FILE, READERS = "corrections", "corrections.parquet", "readers/"


@dataclass
class RowsFound:
    """Where rows of some players or characters are."""

    players: Collection[str] = ()
    """Digests (`serving.corrections.digest_of_player`)."""
    ids: Collection[str] = ()
    """Of characters."""
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    """md5 of each version that has some: the row's split by its character's id."""
    objects: dict[str, str] = field(default_factory=dict)
    """Files of these versions in cache and remote by md5, and where they belong."""
    copies: list[Path] = field(default_factory=list)
    """Working copies of them."""

    @property
    def ids_found(self) -> set[str]:
        """The characters whose rows were found."""
        return {id for splits in self.rows.values() for id in splits}


def find(settings: Settings, version_index: VersionIndex, players: Collection[str], ids: Collection[str]) -> RowsFound:
    """Look at every version of the table that is still to be had; nothing is changed. Raises RemoteDown."""
    store, found = Store.of(settings), RowsFound(players, ids)
    for md5 in dict.fromkeys(ref.md5 for ref in version_index.refs(ASSET)):
        try:
            listing = store.listing(md5)
            splits = dict(_matching(store.file(listing[FILE]), players, ids))
        except (StoreError, KeyError):  # erased before
            continue
        if splits:
            found.rows[md5] = splits
            files = {path: oid for path, oid in listing.items() if not path.startswith(READERS)}
            found.objects |= {oid: f"{ASSET} {md5}/{path}" for path, oid in files.items()}
    _keep_shared(store, version_index, found)
    for name, md5 in pointed(settings.root).items():
        if md5 in found.rows:
            listing = store.listing(md5)
            copies = (settings.root / name / path for path, oid in listing.items() if oid in found.objects)
            found.copies += [path for path in copies if path.exists()]
    return found


def _matching(table: Path, players: Collection[str], ids: Collection[str]) -> Iterator[tuple[str, str]]:
    from pyarrow import parquet

    for row in parquet.read_table(table, columns=["id", "player", "split"]).to_pylist():
        if row["id"] in ids or row["player"] in players:
            yield row["id"], row["split"]


def _keep_shared(store: Store, version_index: VersionIndex, found: RowsFound) -> None:
    """What another version has too, such as an empty list of rows that were set aside, shows nobody."""
    others = {ref.md5 for ref in version_index.refs(ASSET)} - set(found.rows)
    for listing in store.listings(others).values():
        for oid in listing.values():
            found.objects.pop(oid, None)


def erase(
    settings: Settings,
    instance: dg.DagsterInstance,
    found: RowsFound,
    who: str,
    why: str,
    delete_served: Callable[[], None],
    before: Erasure | None = None,
) -> Erasure:
    """Erase these rows' versions, and what the service keeps, by `delete_served`; say so in the erasure log before and
    after. `before`: the same erasure, begun earlier. Raises RemoteDown, OSError."""
    today = datetime.now(UTC).date().isoformat()
    days = {**dict.fromkeys(found.players, today), **(before.players if before else {})}
    ids = {**dict.fromkeys({*found.ids, *found.ids_found}, today), **(before.characters if before else {})}
    entry = Erasure(
        before.id if before else uuid.uuid4().hex, {}, {}, before.who if before else who,
        before.when if before else erasure_log.now(), why or (before.why if before else ""),
        found.rows, found.objects, players=days, characters=ids,
    )  # fmt: skip
    _log(settings, instance, entry)
    delete_served()
    for path in found.copies:
        delete(path)
    Store.of(settings).remove(set(found.objects))
    done = replace(entry, done=True)
    _log(settings, instance, done)
    return done


def _log(settings: Settings, instance: dg.DagsterInstance, entry: Erasure) -> None:
    log = ErasureLog(instance)
    log.write(entry)
    log.copy_to(settings.home)
    backup_log.tell(settings.home, entry)


@dataclass(frozen=True)
class ForgottenRows:
    """What must not come back."""

    players: Mapping[str, str]
    """The day until which each player's rows are forgotten, by the player's digest."""
    ids: Collection[str]

    @classmethod
    def of(cls, log: ErasureLog) -> ForgottenRows:
        """What the erasure log says."""
        players: dict[str, str] = {}
        entries = log.entries()
        for entry in entries:
            for player, day in entry.players.items():
                players[player] = max(day, players.get(player, ""))
        return cls(players, {id for entry in entries for id in entry.characters})

    def has(self, id: str, player: str, day: str) -> bool:
        """Whether a row was forgotten: one of a player who agreed again on a later day was not."""
        return id in self.ids or (player in self.players and day <= self.players[player])
