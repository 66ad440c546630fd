"""What can be wrong with stored data, in words that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import LikenessError
from orchestration.storage import erasure_log

if TYPE_CHECKING:
    from orchestration.storage.remote import Remote

MEND = (
    "run `likeness push --check` on a machine whose cache has it; nobody has? `likeness run` makes again what is the "
    "newest version"
)
SEEK = (
    "set LIKENESS_DVC_REMOTE to the remote that has it, or run `likeness push` on a machine that has it; nobody has? "
    "`likeness run` makes again what is the newest version"
)


class StoreError(LikenessError):
    """Data that an asset needs is neither here nor in the remote, or is not what its md5 says."""


class RemoteDown(LikenessError):
    """The remote does not answer, or not as it should: worth another try later. Nothing is said of what it holds."""


def why_missing(remote: Remote, home: Path, md5: str, files: Mapping[str, str] | None = None) -> str:
    """Why a folder, or an object, cannot be had: because of these files (md5 by path), where there are any.

    Raises RemoteDown.
    """
    if why := erasure_log.reason(home, [md5, *(files or {}).values()]):
        return f"the data with md5 {md5} was erased: {why}; `likeness run` makes what depends on it again"
    url = remote.url
    if "://" not in url and not Path(url).exists():
        return f"the data with md5 {md5} is not in the cache, and there is no remote {url}: {SEEK}"
    parts = files or {"": md5}
    there = remote.present(set(parts.values()))
    damaged, missing = ([path for path, oid in parts.items() if (oid in there) is yes] for yes in (True, False))
    remedy = MEND if damaged else SEEK
    if not files:
        where = "damaged in" if damaged else "neither in the cache nor in"
        return f"the data with md5 {md5} is {where} the remote {url}: {remedy}"
    kinds = ((damaged, "damaged in the remote"), (missing, "neither in the cache nor in the remote"))
    reasons = [
        f"{len(paths)} of its files {'is' if len(paths) == 1 else 'are'} {where} (among them {paths[0]})"
        for paths, where in kinds
        if paths
    ]
    return f"the data with md5 {md5} is not whole: {', '.join(reasons)}; the remote is {url}: {remedy}"


def why_not_pushed(home: Path, oid: str, damaged_here: bool, damaged_there: bool) -> str:
    """Why a push could not bring this object into the remote; "" for what `likeness forget` erased."""
    if damaged_there:
        return f"damaged in the remote, {'damaged' if damaged_here else 'not'} in this machine's cache"
    if damaged_here:
        return "damaged in this machine's cache, not in the remote"
    return "" if erasure_log.reason(home, [oid]) else "neither in this machine's cache nor in the remote"
