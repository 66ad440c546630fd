"""One version of an asset or a source, as Dagster recorded it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import dagster as dg

from orchestration.config.catalog import SOURCES
from orchestration.config.settings import REPOSITORY, Settings

VERSION_TAG = "dagster/data_version"
UNKNOWN = "unknown"
"""The commit of code that came without its git repository."""
CODE_TAG = "dagster/code_version"
REUSED = "reused"
"""In the metadata of a materialisation whose result was taken from the run cache: the run that made it, when, what that
one had read (`inputs`), and why it stands for other inputs too. The rest of the metadata is of those other inputs.
"""


RETRAINING, WHY = "retraining", "why"
"""In the metadata of a materialisation: the retraining that it belongs to, and what had changed. An observation of a
source has the first one too, where a retraining began with it.
"""


@dataclass(frozen=True)
class Version:
    """One version of an asset or of a source, as Dagster recorded it."""

    asset: str
    character: str | None
    md5: str
    run_id: str = ""
    lineage: Mapping[str, str] = field(default_factory=dict)
    """md5 of everything it came from, by asset."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    when: float = 0.0
    """Seconds since 1970."""
    code: str = ""
    """Version of the code that made it, and a hash of its configuration: `3-1a2b3c4d5e6f`."""


def source_key(asset: str) -> str:
    """What Dagster calls a stage's input."""
    return "characters" if asset == "character" else asset


def latest(instance: dg.DagsterInstance, asset: str, character: str | None = None) -> Version | None:
    """The newest recorded version, None where there is none."""
    found = newest_record(instance, asset, character)
    return version_of(found) if found else None


def newest_record(instance: dg.DagsterInstance, asset: str, character: str | None) -> dg.EventLogRecord | None:
    """The event by which it was made, or seen, last; None where it never was."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[character] if character else None)
    fetch = instance.fetch_observations if asset in SOURCES else instance.fetch_materializations
    return next(iter(fetch(wanted, limit=1).records), None)


def version_of(record: dg.EventLogRecord) -> Version | None:
    """The version that an event tells of, None where it tells of none."""
    entry = record.event_log_entry
    event = entry.asset_observation or entry.asset_materialization
    if event is None or not event.tags or VERSION_TAG not in event.tags:
        return None
    metadata: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
    return Version(
        event.asset_key.to_user_string(),
        event.partition,
        event.tags[VERSION_TAG],
        entry.run_id,
        metadata.get("lineage") or {},
        metadata,
        entry.timestamp,
        event.tags.get(CODE_TAG, ""),
    )


def observe(
    instance: dg.DagsterInstance,
    source: str,
    md5: str,
    character: str | None = None,
    describe: Callable[[], Mapping[str, Any]] = dict,
) -> bool:
    """Record the source's content, and what `describe` says of it, where it differs from what was seen last; True when
    it did.
    """
    seen = latest(instance, source, character)
    if seen and seen.md5 == md5:
        return False
    event = dg.AssetObservation(source, partition=character, tags={VERSION_TAG: md5}, metadata=describe())
    instance.report_runless_asset_event(event)
    return True


def as_text(when: float) -> str:
    """Seconds since 1970 as "2026-11-28T17:30:00Z"."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@cache
def git_commit() -> str:
    """The commit of the code that runs, UNKNOWN outside git."""
    if commit := Settings().commit:
        return commit
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return UNKNOWN
    return done.stdout.strip() or UNKNOWN
