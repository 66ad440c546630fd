"""Dagster's events found by md5, without reading those of other versions.

An event holds pictures, so a thousand of them are a hundred megabytes; their data versions lie in a table of tags.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
from typing import Any

import dagster as dg

from orchestration.config.catalog import SOURCES
from orchestration.storage.dagster_internals import AssetEventTagsTable, SqlEventLogStorage, SqlEventLogStorageTable
from orchestration.storage.versions import VERSION_TAG, Version, version_of

PAGE = 500
KNOWN = "known_results"
"""Observed by orchestration/pipeline/run_cache.py: its data versions are keys of results, not md5s."""


@dataclass(frozen=True)
class VersionRef:
    """An event that made or saw a version, not yet read."""

    event: int
    asset: str
    md5: str
    character: str | None = None
    when: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True)
class VersionIndex:
    """Dagster's record of versions, for a question or a few: what was found is kept."""

    instance: dg.DagsterInstance

    @property
    def storage(self) -> SqlEventLogStorage:
        """Dagster's database of events."""
        storage = self.instance.event_log_storage
        # The instance hands out a wrapper where it was made from a single storage.
        inner = getattr(storage, "event_log_storage", storage)
        assert isinstance(inner, SqlEventLogStorage), "every storage of Dagster's that outlives a process is SQL"
        return inner

    @cached_property
    def _read(self) -> dict[int, Version | None]:
        return {}

    def refs(self, asset: str | None = None, md5: str | None = None, prefix: str | None = None) -> list[VersionRef]:
        """Events by asset, by md5 or by the md5's beginning, newest first."""
        tags, wanted = AssetEventTagsTable.c, []
        if asset is not None:
            wanted.append(tags.asset_key == dg.AssetKey(asset).to_string())
        else:
            wanted.append(tags.asset_key != dg.AssetKey(KNOWN).to_string())
        if md5 is not None:
            wanted.append(tags.value == md5)
        if prefix is not None:
            wanted.append(tags.value.startswith(prefix, autoescape=True))
        return self._refs(wanted)

    def _refs(self, wanted: Sequence[Any]) -> list[VersionRef]:
        """Events that made or saw a version, for which all of these conditions hold, newest first."""
        import sqlalchemy

        tags, events = AssetEventTagsTable.c, SqlEventLogStorageTable.c
        query = (
            sqlalchemy.select(tags.event_id, tags.asset_key, tags.value, events.partition, events.timestamp)
            .join(SqlEventLogStorageTable, events.id == tags.event_id)
            .where(tags.key == VERSION_TAG, *wanted)
        )
        with self.storage.index_connection() as connection:
            rows = connection.execute(query.order_by(tags.event_id.desc())).fetchall()
        return [
            VersionRef(int(event), _name(key), str(value), character, when.replace(tzinfo=UTC).timestamp())
            for event, key, value, character, when in rows
        ]

    def made_by_run(self) -> dict[str, set[str]]:
        """md5 of every version that each of Dagster's runs made or saw, by the run's id."""
        import sqlalchemy

        tags, events = AssetEventTagsTable.c, SqlEventLogStorageTable.c
        query = (
            sqlalchemy.select(events.run_id, tags.value)
            .join(SqlEventLogStorageTable, events.id == tags.event_id)
            .where(tags.key == VERSION_TAG)
        )
        found: dict[str, set[str]] = {}
        with self.storage.index_connection() as connection:
            for run, md5 in connection.execute(query):
                found.setdefault(run, set()).add(str(md5))
        return found

    def of_runs(self, runs: Collection[str]) -> list[VersionRef]:
        """Events of these runs of Dagster's, newest first."""
        events = SqlEventLogStorageTable.c
        return self._refs([events.run_id.in_(list(runs))]) if runs else []

    def versions(self, refs: Sequence[VersionRef]) -> list[Version]:
        """What these events say, in their order; those that are gone are left out."""
        unread = [ref for ref in refs if ref.event not in self._read]
        for start in range(0, len(unread), PAGE):
            self._load(unread[start : start + PAGE])
        found = (self._read.get(ref.event) for ref in refs)
        return [version for version in found if version is not None]

    def of(self, asset: str, md5: str) -> list[Version]:
        """Every record of this content of an asset, newest first."""
        return self.versions(self.refs(asset, md5))

    def materialisation(self, note: VersionRef, asset: str, md5: str, run_id: str) -> dg.AssetMaterialization | None:
        """The first materialisation of this content after an event, if this run made it."""
        later = [ref.event for ref in self.refs(asset, md5) if ref.event > note.event]
        wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), storage_ids=[min(later, default=-1)])
        for record in self.instance.fetch_materializations(wanted, limit=1).records:
            if record.run_id == run_id:
                return record.asset_materialization
        return None

    def made_from(self, md5s: Collection[str]) -> list[Version]:
        """Every materialisation that has one of these among its ancestors, newest first."""
        import sqlalchemy

        if not md5s:
            return []
        events = SqlEventLogStorageTable.c
        # The database looks through the text; only what matches is read.
        query = sqlalchemy.select(events.id, events.asset_key).where(
            events.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            sqlalchemy.or_(*(events.event.contains(md5, autoescape=True) for md5 in md5s)),
        )
        with self.storage.index_connection() as connection:
            rows = connection.execute(query.order_by(events.id.desc())).fetchall()
        refs = [VersionRef(int(event), _name(key), "") for event, key in rows if key]
        return [version for version in self.versions(refs) if not set(md5s).isdisjoint(version.lineage.values())]

    def _load(self, refs: Sequence[VersionRef]) -> None:
        by_asset: dict[str, list[int]] = {}
        for ref in refs:
            by_asset.setdefault(ref.asset, []).append(ref.event)
            self._read[ref.event] = None
        for asset, ids in by_asset.items():
            seen = asset in SOURCES or asset == KNOWN
            fetch: Any = self.instance.fetch_observations if seen else self.instance.fetch_materializations
            wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), storage_ids=ids)
            for record in fetch(wanted, limit=len(ids)).records:
                self._read[record.storage_id] = version_of(record)


def fitting(known: Sequence[Version], lineage: Mapping[str, str], character: str | None) -> Version | None:
    """Of the records of one content, newest first, the newest that was made of these ancestors (md5 by asset) and for
    this character, else the newest.
    """

    def fits(version: Version) -> bool:
        inputs = version.metadata.get("inputs") or {}
        same = all(lineage.get(part, its_md5) == its_md5 for part, its_md5 in inputs.items())
        return same and version.character in (None, character or version.character)

    return next(filter(fits, known), known[0] if known else None)


def _name(key: str) -> str:
    found = dg.AssetKey.from_db_string(key)
    return found.to_user_string() if found else key
