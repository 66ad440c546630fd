"""Bringing the whole remote up to date with this machine's cache, and mending it by the cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from orchestration.storage import objects
from orchestration.storage.remote import Remote
from orchestration.storage.store_errors import why_not_pushed

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Pushed:
    """What became of the remote."""

    copied: int = 0
    """Objects that it lacked."""
    replaced: int = 0
    """Those that were damaged in it."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """What could not be copied or mended, and why, by md5."""


def push_all(
    remote: Remote, home: Path, check: bool, progress: Progress, drop: Callable[[Collection[str]], object]
) -> Pushed:
    """Copy to the remote what it lacks of the cache, each object asked for, and no damaged one.

    With `check` every object of both is read: the cache's copies replace what is damaged in the remote, and what is
    damaged in the cache is given to `drop`, so that it is pulled anew. Raises RemoteDown.
    """
    cache = remote.repo.cache.local
    mine, there = objects.sizes(cache), remote.sizes()
    doubtful = there if check else [oid for oid in mine if there.get(oid, mine[oid]) != mine[oid]]
    read = partial(progress, "objects of the remote")
    wrong = remote.retry(lambda: objects.damaged(remote.objects, sorted(doubtful), read))
    missing = mine.keys() - there.keys()
    wanted = missing | (mine.keys() & wrong)
    bad = objects.damaged(cache, sorted(mine if check else wanted), partial(progress, "objects of the cache"))
    remote.copy(wanted - bad)
    sound_here, sound_there = mine.keys() - bad, there.keys() - wrong
    lost = (wrong | (bad & missing)) - sound_here
    if check:
        drop(bad)
        lost |= _listed(remote, {*mine, *there}) - sound_here - sound_there
    reasons = {oid: why_not_pushed(home, oid, oid in bad, oid in wrong) for oid in sorted(lost)}
    return Pushed(len(missing - bad), len(wrong & (wanted - bad)), {oid: why for oid, why in reasons.items() if why})


def listings(remote: Remote, md5s: Collection[str]) -> dict[str, dict[str, str]]:
    """The md5 of each file by its path, of folders; those whose listing is nowhere to be had are left out.

    Raises RemoteDown.
    """
    found = {md5: objects.listing(remote.repo.cache.local, md5) for md5 in md5s}
    if missing := [md5 for md5, tree in found.items() if tree is None]:
        found |= {md5: remote.listing(md5) for md5 in remote.present(missing)}
    return {md5: tree for md5, tree in found.items() if tree is not None}


def _listed(remote: Remote, oids: Collection[str]) -> set[str]:
    """The objects that the listings among these name."""
    trees = listings(remote, [oid for oid in oids if oid.endswith(".dir")])
    return {oid for tree in trees.values() for oid in tree.values()}
