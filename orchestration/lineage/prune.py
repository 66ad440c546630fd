"""`likeness clean`: room on the disk and in the remote, from what no registered model and no current asset needs.

Never `dvc gc`, which knows pointers and nothing of the registry.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.config.files import delete
from orchestration.config.settings import Settings
from orchestration.lineage import OnStep, retention, silent
from orchestration.lineage.resolve import find_all_models
from orchestration.lineage.retention import OldRuns
from orchestration.storage.erasure_log import KEY
from orchestration.storage.instance import UNFINISHED, AlreadyRunning, keeping_files, only_runner
from orchestration.storage.staged_output import pointed
from orchestration.storage.store import Store
from orchestration.storage.version_index import VersionIndex
from stages.data import feature_cache

KEEP, DAYS = 1, 7.0
DAY = 86_400.0


@dataclass
class Removable:
    """What can go of one kind."""

    name: str
    about: str
    count: int = 0
    bytes: int = 0
    paths: list[Path] = field(default_factory=list)
    objects: set[str] = field(default_factory=set)
    remove: Callable[[], None] | None = None
    """What removes it, where it is no whole file."""


@dataclass
class PrunePlan:
    """What would go, and what must stay."""

    kinds: list[Removable]
    kept_versions: int
    models: int
    dropped: list[tuple[str, str]] = field(default_factory=list)
    """Asset and md5 of each version that cannot be restored afterwards."""
    runs: OldRuns = field(default_factory=OldRuns)

    @property
    def bytes(self) -> int:
        """What is freed in all."""
        return sum(kind.bytes for kind in self.kinds)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not any(kind.count for kind in self.kinds)

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "kinds": {kind.name: {"count": kind.count, "bytes": kind.bytes} for kind in self.kinds},
            "bytes": self.bytes,
            "versions_kept": self.kept_versions,
            "registered_models": self.models,
            "versions_dropped": [{"asset": asset, "md5": md5} for asset, md5 in self.dropped],
        }


@contextmanager
def nothing_runs(settings: Settings, instance: dg.DagsterInstance) -> Iterator[None]:
    """Holds `likeness run` and `likeness backup` back, and refuses while one of them, or a run that Dagster launched,
    is at work. Raises AlreadyRunning.
    """
    with keeping_files(settings), only_runner(settings, instance):
        if runs := instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)), limit=5):
            named = ", ".join(f"{run.run_id[:8]} ({run.status.value.lower()})" for run in runs)
            raise AlreadyRunning(f"Dagster has runs at work or waiting: {named}; wait for them, or end them")
        yield


def plan(
    settings: Settings,
    instance: dg.DagsterInstance,
    store: Store,
    keep: int = KEEP,
    days: float = DAYS,
    progress: OnStep = silent,
    runs_days: float | None = None,
) -> PrunePlan:
    """Look everywhere, change nothing.

    Args:
        keep: newest versions of each asset and character that stay, at least one.
        days: whatever was made or used since then stays.
        runs_days: runs that ended since then stay; None: all of them.

    Raises RemoteDown: what cannot be listed cannot be known to be needed.
    """
    version_index, before = VersionIndex(instance), time.time() - days * DAY
    models = find_all_models(settings)
    needed = {md5 for model in models for md5 in model.versions.values()}
    needed |= set(pointed(settings.root).values())
    known: dict[str, str] = {}
    assets = sorted({ref.asset for ref in version_index.refs()} - {KEY})
    for number, asset in enumerate(assets):
        progress("clean: versions", number, len(assets))
        refs = version_index.refs(asset)
        known |= {ref.md5: asset for ref in refs}
        needed |= _newest(version_index, asset, max(keep, 1), before)
    dropped = {md5: asset for md5, asset in known.items() if md5 not in needed}
    objects = store.sizes()
    # Without its listing a version is nowhere, whatever is left of its files.
    there = {*known, *needed} & {*objects["cache"], *objects["remote"]}
    listings = {md5: set(files.values()) for md5, files in store.listings(there).items()}
    cache, remote = _removable(listings, set(dropped), needed, objects)
    named = {*known, *needed}.union(*listings.values())
    cache.objects |= {md5 for md5 in set(objects["cache"]) - named if _modified(settings, md5) < before}
    for kind, place in ((cache, "cache"), (remote, "remote")):
        kind.count = len(kind.objects)
        kind.bytes = sum(objects[place][md5] for md5 in kind.objects)
    kinds = [cache, remote, *_folders(settings, needed, before), *_features(settings, days)]
    runs = OldRuns()
    if runs_days is not None:
        progress("clean: runs", 0, 0)
        # A version that stays for its age has its records, too.
        runs = retention.find(settings, instance, version_index, models, needed, max(runs_days, days))
        kinds += _of_runs(runs)
    kinds += served(settings)
    lost = sorted((asset, md5) for md5, asset in dropped.items() if md5 in listings)
    return PrunePlan(kinds, len(needed & set(known)), len(models), lost, runs)


def _of_runs(runs: OldRuns) -> list[Removable]:
    return [
        Removable("dagster_runs", "runs that made nothing that is kept", len(runs.dagster), runs.log_bytes),
        Removable("mlflow_runs", "their metrics and files", len(runs.mlflow), runs.mlflow_bytes),
    ]


def served(settings: Settings) -> list[Removable]:
    """What the service keeps and can have again: models that it fetched, and pictures that it drew."""
    if settings.keep_served_days is None:
        return []
    before, folder = time.time() - settings.keep_served_days * DAY, settings.home / "serving"
    paths = [*_unused(folder.glob("releases/*"), before), *_unused(folder.glob("*/drawn/*"), before)]
    about = "models and pictures of the service that nobody asked for lately"
    return [Removable("served", about, len(paths), sum(_size(path) for path in paths), paths)]


def carry_out(
    plan: PrunePlan, settings: Settings, instance: dg.DagsterInstance, store: Store, progress: OnStep = silent
) -> int:
    """Remove what the plan names; bytes freed. Interrupted, the same command finishes. Raises RemoteDown, OSError."""
    freed = 0
    for number, kind in enumerate(plan.kinds):
        progress(f"clean: {kind.name}", number, len(plan.kinds))
        if kind.objects:
            freed += store.remove(kind.objects, (kind.name,))
        for path in kind.paths:
            delete(path)
        if kind.remove and kind.count:
            kind.remove()
        freed += kind.bytes if kind.paths or kind.remove else 0
    # Last: by their records an interrupted cleaning knows what else was to go.
    return freed + retention.remove(settings, instance, plan.runs, progress)


def _newest(version_index: VersionIndex, asset: str, keep: int, before: float) -> set[str]:
    """The newest `keep` versions of each character of an asset, whatever is younger, and all that these came from."""
    seen: dict[str | None, set[str]] = {}
    staying = []
    for ref in version_index.refs(asset):
        own = seen.setdefault(ref.character, set())
        if ref.md5 in own or len(own) < keep or ref.when >= before:
            own.add(ref.md5)
            staying.append(ref)
    return {md5 for version in version_index.versions(staying) for md5 in (version.md5, *version.lineage.values())}


def _removable(
    listings: dict[str, set[str]], dropped: set[str], needed: set[str], objects: dict[str, dict[str, int]]
) -> tuple[Removable, Removable]:
    """Objects of dropped versions that no needed one shares, in the cache and in the remote."""
    shared = needed.union(*(files for md5, files in listings.items() if md5 in needed))
    going = dropped.union(*(files for md5, files in listings.items() if md5 in dropped)) - shared
    cache = Removable("cache", "what nothing needs, on this machine", objects=going & set(objects["cache"]))
    remote = Removable("remote", "the same in the remote, for every machine", objects=going & set(objects["remote"]))
    return cache, remote


def _modified(settings: Settings, md5: str) -> float:
    """When the cache got an object; now, if it has none."""
    path = settings.home / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    return path.stat().st_mtime if path.exists() else time.time()


def _folders(settings: Settings, needed: set[str], before: float) -> list[Removable]:
    """What lies beside the cache in the home folder."""
    inputs = [path for path in (settings.home / "inputs").glob("*.dir") if path.name not in needed]
    halves = [*(settings.home / "inputs").glob(".*.partial"), *(settings.root / "artifacts").rglob(".*.partial")]
    kinds = {
        ("inputs", "read-only folders of versions that nothing needs, and half-written ones"): [*inputs, *halves],
        ("checkpoints", "trainings that were never finished"): _unused(settings.checkpoints.glob("*/*"), before),
        ("computed", "features and faces that can be computed anew"): _unused(settings.cache.glob("*/*"), before),
        ("ablations", "variants that `likeness ablate` can make again"): _unused(
            (settings.home / "ablations").glob("*"), before
        ),
    }
    return [
        Removable(name, about, len(paths), sum(_size(path) for path in paths), paths)
        for (name, about), paths in kinds.items()
    ]


def _features(settings: Settings, days: float) -> list[Removable]:
    """What networks saw of faces that no run asked for lately, in a file that others are used of."""
    file = feature_cache.file_in(settings.cache)
    try:
        count, size = feature_cache.held_unused(file, days)
    except sqlite3.Error:  # it costs time and never a result, and is made anew by the next run
        return []
    about = "what networks saw of faces, and no run asked for lately"
    return [Removable("features", about, count, size, remove=lambda: feature_cache.delete_unused(file, days))]


def _unused(paths: Iterator[Path], before: float) -> list[Path]:
    return sorted(path for path in paths if max(_times(path), default=0.0) < before)


def _times(path: Path) -> Iterator[float]:
    yield from (about.st_mtime for about in stats([path, *path.rglob("*")]))


def _size(path: Path) -> int:
    """Bytes that are freed by removing it: those that another name of the same file keeps are not."""
    return sum(about.st_size for about in stats([path, *path.rglob("*")], files=True) if about.st_nlink == 1)


def stats(paths: Iterable[Path], files: bool = False) -> Iterator[os.stat_result]:
    """What is known of these, but for what a run took away since they were found."""
    for path in paths:
        with suppress(FileNotFoundError):
            about = path.stat()
            if not files or stat.S_ISREG(about.st_mode):
                yield about
