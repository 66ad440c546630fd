"""Folders that are known by their DVC md5.

Every asset writes `artifacts/<asset>/`, or `artifacts/<asset>/<character>/`, and the md5 that DVC gives the folder is
the asset's data version. An md5 alone brings the data back: a pointer with it, and a pull. Parallel writers wait for
each other.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestration.settings import Settings

if TYPE_CHECKING:
    from dvc.repo import Repo

REMOTE = "likeness"


class StoreError(Exception):
    """Data that an asset needs is neither here nor in the remote."""


@dataclass(frozen=True)
class Store:
    root: Path
    home: Path
    remote: str

    @classmethod
    def of(cls, settings: Settings) -> Store:
        return cls(settings.root, settings.home, settings.remote)

    def folder(self, asset: str, character: str | None = None) -> Path:
        """Where the asset's current version lies, whether it exists or not."""
        folder = self.root / "artifacts" / asset
        return folder / character if character else folder

    def add(self, folder: Path) -> str:
        """Track the folder, write its pointer beside it, push it to the remote; its md5 ("….dir")."""
        with self._repo() as repo:
            # DVC types its locked methods as functions of a string.
            (stage,) = repo.add(str(folder))  # pyright: ignore[reportArgumentType]
            repo.push(targets=[str(pointer_of(folder))])
            return stage.outs[0].hash_info.value

    def fetch(self, asset: str, md5: str, character: str | None = None) -> Path:
        """The asset's folder with exactly this content, pulled from the remote when it is not here.

        Raises StoreError when neither the cache nor the remote has it.
        """
        folder = self.folder(asset, character)
        with self._repo() as repo:
            if folder.is_dir() and pointed_md5(folder) == md5 and self._hash(repo, folder) == md5:
                return folder
            before = pointed_md5(folder)
            write_pointer(folder, md5)
            try:
                repo.fetch(targets=[str(pointer_of(folder))])
                repo.cache.local.check(md5)
                repo.checkout(targets=[str(pointer_of(folder))], force=True)
            except Exception as error:
                restore_pointer(folder, before)
                raise StoreError(
                    f"{asset} with md5 {md5} is neither in the cache nor in the remote {self.remote}: "
                    f"set LIKENESS_DVC_REMOTE to the remote that has it, or make it again with "
                    f"`likeness run --only {asset} --force`"
                ) from error
        return folder

    def md5(self, folder: Path) -> str:
        """The md5 that DVC would give this folder, without tracking it; files hashed before are not read again."""
        with self._repo() as repo:
            return self._hash(repo, folder)

    @contextmanager
    def writing(self, asset: str, character: str | None = None) -> Iterator[Path]:
        """An empty folder to write into; it takes the asset's place when the block ends well, else it is removed."""
        final = self.folder(asset, character)
        partial = final.with_name(f".{final.name}-{uuid.uuid4().hex[:8]}.partial")
        partial.mkdir(parents=True)
        try:
            yield partial
            replace_folder(partial, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @contextmanager
    def _repo(self) -> Iterator[Repo]:
        from dvc.repo import Repo

        # Its warnings repeat what the errors say.
        for library in ("dvc", "dvc_data", "dvc_objects"):
            logging.getLogger(library).setLevel(logging.ERROR)
        config: dict[str, Any] = {
            "core": {
                "remote": REMOTE,
                "analytics": False,
                "autostage": False,
                "site_cache_dir": str(self.home / "dvc"),
            },
            "cache": {"dir": str(self.home / "cache")},
            "remote": {REMOTE: {"url": self.remote}},
        }
        with Repo(str(self.root), config=config, _wait_for_lock=True) as repo:
            yield repo

    @staticmethod
    def _hash(repo: Repo, folder: Path) -> str:
        from dvc.fs import LocalFileSystem
        from dvc_data.hashfile.build import build

        ignore: Any = repo.dvcignore
        _, _, tree = build(repo.cache.local, str(folder), LocalFileSystem(), "md5", ignore=ignore, dry_run=True)
        return str(tree.hash_info.value)


def pointer_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.dvc")


def pointed_md5(folder: Path) -> str | None:
    """The md5 in the folder's pointer, None where there is no pointer."""
    pointer = pointer_of(folder)
    return yaml.safe_load(pointer.read_text())["outs"][0]["md5"] if pointer.exists() else None


def write_pointer(folder: Path, md5: str) -> None:
    """Write the smallest pointer that DVC can pull from."""
    pointer = pointer_of(folder)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    partial = pointer.with_name(f".{pointer.name}.partial")
    partial.write_text(yaml.safe_dump({"outs": [{"md5": md5, "hash": "md5", "path": folder.name}]}, sort_keys=False))
    partial.replace(pointer)


def restore_pointer(folder: Path, md5: str | None) -> None:
    if md5 is None:
        pointer_of(folder).unlink()
    else:
        write_pointer(folder, md5)


def replace_folder(new: Path, final: Path) -> None:
    """Put `new` where `final` is; what was there stays until the new one stands."""
    old = final.with_name(f".{final.name}-{uuid.uuid4().hex[:8]}.partial")
    if final.exists():
        final.rename(old)
    new.rename(final)
    shutil.rmtree(old, ignore_errors=True)
