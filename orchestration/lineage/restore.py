"""`likeness restore`: the data that a model, an md5 or a character.json was made from, proved by md5."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import LikenessError
from orchestration.config.files import write_whole
from orchestration.lineage import OnStep, silent
from orchestration.lineage.photo_index import file_digest, unless_lost
from orchestration.lineage.resolve import LineageTarget
from orchestration.storage.erasure_log import Erasure
from orchestration.storage.staged_output import replace_folder
from orchestration.storage.store import RemoteDown, Store, StoreError

MANIFEST = "restored.json"
RESTORED, ALREADY, INCOMPLETE, MISSING = "restored", "already there", "incomplete", "missing"
UNREACHABLE = "not reachable"


@dataclass
class Restored:
    """What became of one version."""

    asset: str
    md5: str
    status: str
    folder: str = ""
    """Below the folder that was restored into; empty where nothing could be."""
    files: int = 0
    bytes: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    """Files that are nowhere to be had, and why; under "" what holds for the whole folder."""

    @property
    def complete(self) -> bool:
        """Whether every file of it is there."""
        return self.status in (RESTORED, ALREADY)


def restore(
    target: LineageTarget,
    out: Path,
    store: Store,
    erased: Mapping[str, Erasure],
    progress: OnStep = silent,
) -> list[Restored]:
    """Write out/<asset>/ for the target and all its ancestors, sources too, and out/restored.json.

    A folder that is there already and proves to be right is left alone; one that is something else is an error before
    anything is written. Of a version that is no longer whole, what is left is written, file by file proved, with
    `.incomplete` after its name. What only a remote has that is down is named as such; the rest is restored. Raises
    LikenessError.
    """
    versions = target.versions
    _require_own(out, set(versions))
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for number, (asset, md5) in enumerate(sorted(versions.items())):
        progress(f"restore {asset}", number, len(versions))
        results.append(_restore_one(asset, md5, out, store, erased))
        _write_manifest(out, target, results)
    return results


def _require_own(out: Path, assets: set[str]) -> None:
    """A folder of restored data, or an empty one: nobody's files are replaced."""
    if out.is_file():
        raise LikenessError(f"{out} is a file: give --out a folder")
    for half in (path for asset in assets for path in out.glob(f".{asset}*.partial")):
        shutil.rmtree(half)  # an interrupted restore left it
    strangers = {path.name for path in out.glob("*")} - assets - {f"{asset}.incomplete" for asset in assets}
    if strangers - {MANIFEST} and not (out / MANIFEST).exists():
        raise LikenessError(f"{out} holds other files ({sorted(strangers)[0]}): give --out an empty or a new folder")


def _restore_one(asset: str, md5: str, out: Path, store: Store, erased: Mapping[str, Erasure]) -> Restored:
    try:
        return _bring_back(asset, md5, out, store, erased)
    except RemoteDown as error:
        return Restored(asset, md5, UNREACHABLE, lost={"": str(error)})


def _bring_back(asset: str, md5: str, out: Path, store: Store, erased: Mapping[str, Erasure]) -> Restored:
    """Raises RemoteDown."""
    folder = out / asset
    if folder.is_dir() and _proved(folder) == md5:
        return _measured(Restored(asset, md5, ALREADY, asset), folder)
    try:
        store.export(md5, folder)
        if _proved(folder) != md5 and store.drop_damaged(md5):
            shutil.rmtree(folder)
            store.export(md5, folder)
    except StoreError as error:
        return _what_is_left(Restored(asset, md5, MISSING, lost={"": str(error)}), out, store, erased)
    if (found := _proved(folder)) != md5:
        shutil.rmtree(folder)
        return Restored(asset, md5, MISSING, lost={"": f"what came back has md5 {found}: the stored data is damaged"})
    shutil.rmtree(out / f"{asset}.incomplete", ignore_errors=True)
    return _measured(Restored(asset, md5, RESTORED, asset), folder)


def _proved(folder: Path) -> str:
    """The folder's md5, of its bytes as they are now: what was hashed before is not believed."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

    tree = Tree()
    for path in folder.rglob("*"):
        if path.is_file():
            tree.add(path.relative_to(folder).parts, Meta(), HashInfo("md5", file_digest(path, "md5")))
    tree.digest()
    return str(tree.hash_info.value) if tree.hash_info else ""


def _what_is_left(result: Restored, out: Path, store: Store, erased: Mapping[str, Erasure]) -> Restored:
    """The files that can still be had, beside the name that a whole folder would have."""
    try:
        listing = store.listing(result.md5)
    except StoreError as error:
        result.lost = {"": str(erased[result.md5]) if result.md5 in erased else f"lost: {error}"}
        return result
    result.lost = {}
    name = f"{result.asset}.incomplete"
    partial = out / f".{name}-{uuid.uuid4().hex[:8]}.partial"
    try:
        for path, md5 in sorted(listing.items()):
            source = unless_lost(lambda md5=md5: store.file(md5), None)
            if source is None:
                known = erased.get(md5)
                result.lost[path] = f"erased: {known}" if known else f"lost: {store.why_lost(md5)}"
                continue
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, partial / path)
            if file_digest(partial / path, "md5") != md5:
                (partial / path).unlink()
                result.lost[path] = "lost: the stored bytes are damaged"
        if partial.is_dir():
            replace_folder(partial, out / name)
            result.status, result.folder = INCOMPLETE, name
            _measured(result, out / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return result


def _measured(result: Restored, folder: Path) -> Restored:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    result.files, result.bytes = len(sizes), sum(sizes)
    return result


def _write_manifest(out: Path, target: LineageTarget, results: list[Restored]) -> None:
    write_whole(out / MANIFEST, json.dumps(document_of(target, results), indent=2) + "\n")


def document_of(target: LineageTarget, results: list[Restored]) -> dict[str, Any]:
    """What restored.json says, and `--json` prints."""
    return {
        "of": {"asset": target.asset, "character": target.character, "md5": target.md5, "model": target.model},
        "complete": all(result.complete for result in results) and len(results) == len(target.versions),
        "folders": [{**vars(result), "complete": result.complete} for result in results],
    }
