"""Folders that take their place as a whole, and the pointers (`.dvc` files) that say which content lies in them."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import yaml

from orchestration.config.files import write_whole


@dataclass
class StagedOutput:
    """A folder that is being written, and its md5 once it is stored."""

    folder: Path
    md5: str = ""
    added: int = 0
    """Bytes that the cache did not have before."""


def beside(folder: Path) -> Path:
    """A new name beside the folder, for what is not whole yet."""
    return folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}.partial")


def replace_folder(new: Path, final: Path) -> None:
    """Put `new` where `final` is; what was there stays until the new one stands."""
    old = beside(final)
    if final.exists():
        final.rename(old)
    new.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def pointer_of(folder: Path) -> Path:
    """The file beside the folder that names its md5."""
    return folder.with_name(f"{folder.name}.dvc")


def pointed_md5(folder: Path) -> str | None:
    """The md5 in the folder's pointer, None where there is no pointer."""
    pointer = pointer_of(folder)
    return yaml.safe_load(pointer.read_text())["outs"][0]["md5"] if pointer.exists() else None


def pointed(root: Path) -> dict[str, str]:
    """The md5 in each pointer of the working tree by its folder, data.dvc included."""
    pointers = [root / "data.dvc", *(root / "artifacts").rglob("*.dvc")]
    found = {pointer.with_suffix(""): pointed_md5(pointer.with_suffix("")) for pointer in pointers}
    return {folder.relative_to(root).as_posix(): md5 for folder, md5 in found.items() if md5}


def write_pointer(folder: Path, md5: str, size: int, files: int) -> None:
    """Write the folder's pointer as `dvc add` would: its md5, its bytes and the number of its files."""
    out = {"md5": md5, "size": size, "nfiles": files, "hash": "md5", "path": folder.name}
    write_whole(pointer_of(folder), yaml.safe_dump({"outs": [out]}, sort_keys=False))
