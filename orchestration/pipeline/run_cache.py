"""The run cache: what a stage is about to read was read before, so its result is known and is not made again.

The key of a result is made of stage, version of its code, configuration, character, and of each input what the stage
reads of it (`READS` in the stage; its md5 where nothing is said). Which run gave which result under which key is noted
in Dagster, as an observation whose data version is the key, for Dagster has an index of data versions. So every machine
finds it, and a result counts only while its bytes are whole and nobody had them erased.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from orchestration.config.catalog import Stage
from orchestration.config.profiles import code_version
from orchestration.storage.erasure_log import ErasureLog
from orchestration.storage.store import Store, StoreError
from orchestration.storage.version_index import KNOWN, VersionIndex
from orchestration.storage.versions import VERSION_TAG, Version, as_text

FORCE_TAG = "likeness/force"
"""On a run, with the value `true`: nothing is taken from the cache."""


def key_of(
    stage: Stage,
    config: BaseModel,
    character: str | None,
    versions: Mapping[str, Version],
    fetch: Callable[[str, Version], Path],
) -> str:
    """Two materialisations with one key have one result. Raises StoreError, RemoteDown."""
    readers = getattr(stage.code, "READS", {})
    read = {
        name: readers[name].digest(fetch(name, version)) if name in readers else version.md5
        for name, version in versions.items()
    }
    content = json.dumps([stage.name, code_version(stage, config), character, read], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def remember(instance: dg.DagsterInstance, asset: str, key: str, md5: str, run_id: str) -> None:
    """Note a result that is kept, just before the run records it."""
    about = {"asset": asset, "md5": md5, "run": run_id}
    instance.report_runless_asset_event(dg.AssetObservation(KNOWN, tags={VERSION_TAG: key}, metadata=about))


@dataclass(frozen=True)
class CachedResult:
    """A result that was made before."""

    md5: str
    folder: Path
    """Where it lies now; nowhere yet, where only its note was read."""
    metadata: Mapping[str, dg.MetadataValue[Any]]
    """What its run said of it."""
    run: str
    when: float
    """Seconds since 1970."""

    def fact(self, name: str) -> Any:
        """One value of what its run said of it, None where it said nothing."""
        found = self.metadata.get(name)
        return found.value if found else None

    def reused(self, versions: Mapping[str, Version]) -> dict[str, Any]:
        """Which run made it, what that one had read, and why it stands for these inputs too."""
        inputs = dict(self.fact("inputs") or {})
        return {"run": self.run, "when": as_text(self.when), "inputs": inputs, "why": why(inputs, versions)}


def why(made_of: Mapping[str, str], versions: Mapping[str, Version]) -> str:
    """In which way inputs are others than those that a result was made of."""
    others = [name for name, version in versions.items() if made_of.get(name) != version.md5]
    if not others:
        return "it was made of just these inputs before"
    return f"{' and '.join(others)} changed, but nothing that it reads of {'it' if len(others) == 1 else 'them'}"


def told(reused: Mapping[str, Any]) -> str:
    """One line about a result that was taken over."""
    return f"{reused['why']}: taken from run {reused['run'][:8]} of {reused['when']}"


def find(
    instance: dg.DagsterInstance, store: Store, stage: Stage, character: str | None, key: str
) -> CachedResult | None:
    """The newest result with this key that can be had as a whole, brought into the asset's folder.

    Raises RemoteDown.
    """
    for known in _known(instance, store, stage, key):
        if folder := _whole(store, stage, character, known.md5):
            return replace(known, folder=folder)
    return None


def noted(instance: dg.DagsterInstance, store: Store, stage: Stage, key: str) -> CachedResult | None:
    """The result that `find` would bring, without its folder: nothing is written. Raises RemoteDown."""
    return next((known for known in _known(instance, store, stage, key) if not store.is_lost(known.md5)), None)


def _known(instance: dg.DagsterInstance, store: Store, stage: Stage, key: str) -> Iterator[CachedResult]:
    """Every result with this key that nobody had erased, newest first, wherever its bytes are."""
    records = VersionIndex(instance)
    for note in records.refs(KNOWN, key):
        (found,) = records.versions([note]) or [None]
        if found is None:
            continue
        md5, run = str(found.metadata["md5"]), str(found.metadata["run"])
        made = records.materialisation(note, stage.name, md5, run)
        if made and not _was_erased(instance, store, md5):
            yield CachedResult(md5, Path(), made.metadata, run, found.when)


def _was_erased(instance: dg.DagsterInstance, store: Store, md5: str) -> bool:
    """Whether somebody had files of it forgotten: this machine's own cache may still have them."""
    try:
        return not ErasureLog(instance).erased().keys().isdisjoint({md5, *store.listing(md5).values()})
    except StoreError:  # its listing is nowhere to be had, nor is it
        return True


def _whole(store: Store, stage: Stage, character: str | None, md5: str) -> Path | None:
    """The asset's folder with this content, proved by its md5, and kept in cache and remote; None where it is not."""
    try:
        folder = store.checkout(stage.name, md5, character)
    except StoreError:
        return None
    return folder if store.put(folder) == md5 else None
