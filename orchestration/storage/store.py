"""Folders that are known by their DVC md5.

Every asset writes `artifacts/<asset>/`, or `artifacts/<asset>/<character>/`, and the md5 that DVC gives the folder is
the asset's data version. An md5 alone brings the data back, from the cache or from the remote, so who has the remote
needs nothing else. Nothing here takes DVC's lock: an object is known by its content, a pointer belongs to one folder,
and both are written beside and renamed, so parallel writers lose nothing.
"""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestration.config.settings import Settings
from orchestration.storage import objects, source_files
from orchestration.storage.dvc_repo import build, open_repo
from orchestration.storage.push import Progress, Pushed, listings, push_all
from orchestration.storage.remote import Availability, Remote
from orchestration.storage.staged_output import StagedOutput, beside, pointed_md5, replace_folder, write_pointer
from orchestration.storage.store_errors import RemoteDown, StoreError, why_missing
from stages.data.source_files import ScanReport, anything, report

_thread = threading.local()
"""The repositories that this thread has open."""


@dataclass(frozen=True)
class Store:
    """A project's folders by md5: in `artifacts/`, in DVC's cache on this machine, and in its remote."""

    root: Path
    home: Path
    remote: str

    @classmethod
    def of(cls, settings: Settings) -> Store:
        """The store of the project that these settings are of."""
        return cls(settings.root, settings.home, settings.remote)

    @contextmanager
    def opened(self) -> Iterator[Remote]:
        """The repository with its cache, and its remote, which is not asked for anything yet.

        Opening it takes a tenth of a second: what this thread does inside the block uses the same one. For seconds, not
        for as long as a stage trains: clients of remotes remember what they listed.
        """
        held = vars(_thread)
        if repr(self) in held:
            yield held[repr(self)]
            return
        with open_repo(self.root, self.home, self.remote) as repo:
            held[repr(self)] = remote = Remote(repo, self.remote)
            try:
                yield remote
            finally:
                del held[repr(self)]

    # --- writing

    def folder(self, asset: str, character: str | None = None) -> Path:
        """Where the asset's newest version on this machine lies, whether it exists or not."""
        folder = self.root / "artifacts" / asset
        return folder / character if character else folder

    @contextmanager
    def writing(self, asset: str, character: str | None = None) -> Iterator[StagedOutput]:
        """An empty folder to write into. When the block ends well it is stored in cache and remote and takes the
        asset's place, and the output has its md5; else it is removed. Raises RemoteDown, OSError.
        """
        final = self.folder(asset, character)
        output = StagedOutput(beside(final))
        output.folder.mkdir(parents=True)
        try:
            yield output
            with self.opened():
                output.md5, output.added = self._put(output.folder)
                replace_folder(output.folder, final)
                self._point(final, output.md5)
            output.folder = final
        finally:
            if output.folder != final:
                shutil.rmtree(output.folder, ignore_errors=True)

    def add(self, folder: Path) -> str:
        """Store the folder and write its pointer beside it; its md5 ("….dir"). Raises RemoteDown, OSError."""
        with self.opened():
            md5 = self.put(folder)
            self._point(folder, md5)
        return md5

    def put(self, folder: Path) -> str:
        """Put the folder's content into cache and remote, so that its md5 brings it back; nothing beside it changes.

        Raises RemoteDown, OSError.
        """
        return self._put(folder)[0]

    def _put(self, folder: Path) -> tuple[str, int]:
        """The same; the md5, and how many bytes the cache did not have."""
        with self.opened() as remote:
            cache = remote.repo.cache.local
            staging, md5, files = build(remote.repo, folder, dry_run=False)
            oids = {md5, *files.values()}
            new = oids - set(cache.oids_exist(oids))
            try:
                objects.copy(staging, cache, new)
            except FileNotFoundError as error:
                # Somebody is at work in this folder: the next try reads it anew.
                raise OSError(errno.EAGAIN, f"{folder} changed while it was copied into {cache.path}") from error
            remote.push(oids)
            return md5, sum(Path(cache.oid_to_path(oid)).stat().st_size for oid in new)

    def push(self, check: bool = False, progress: Progress = lambda what, done, total: None) -> Pushed:
        """Copy to the remote what it lacks of the cache; with `check` every object of both is read, and what is damaged
        in the remote is replaced. Raises RemoteDown.
        """
        with self.opened() as remote:
            return push_all(remote, self.home, check, progress, lambda oids: self._drop(remote, oids))

    def _point(self, folder: Path, md5: str) -> None:
        with self.opened() as remote:
            cache = remote.repo.cache.local
            files = objects.listing(cache, md5)
            assert files is not None, "only what is in the cache is pointed to"
            size = sum(Path(cache.oid_to_path(oid)).stat().st_size for oid in files.values())
        write_pointer(folder, md5, size, len(files))

    # --- reading

    def md5(self, folder: Path) -> str:
        """The md5 that DVC would give this folder, without storing it; files hashed before are not read again."""
        with self.opened() as remote:
            return build(remote.repo, folder, dry_run=True)[1]

    def version(self, folder: Path, recorded: str | None) -> str:
        """The md5 of a source's folder; `recorded`, where the two differ by nothing that counts."""
        with self.opened() as remote:
            md5, files = build(remote.repo, folder, dry_run=True)[1:]
            rule = source_files.rule_of(self.root, folder)
            if recorded in (None, md5) or rule is None:
                return md5
            cache = remote.repo.cache.local
            before = objects.listing(cache, recorded)
            same = before is not None and source_files.differs_by_nothing(
                before, files, rule, lambda oid: Path(cache.oid_to_path(oid))
            )
            return recorded if same else md5

    def files(self, folder: Path) -> dict[str, str]:
        """The md5 of each file that counts of a folder, by its path, without storing anything."""
        with self.opened() as remote:
            return build(remote.repo, folder, dry_run=True)[2]

    def report(self, folder: Path) -> ScanReport:
        """What counts of a source's folder, and what does not and why."""
        with self.opened() as remote:
            rule = source_files.rule_of(self.root, folder) or anything
            return report(folder, rule, source_files.admit(remote.repo.dvcignore))

    def is_cached(self, md5: str) -> bool:
        """Whether this folder was put into the cache, here and as a whole."""
        with self.opened() as remote:
            cache = remote.repo.cache.local
            tree = objects.listing(cache, md5)
            # Of a version that was seen before, `likeness forget` may have erased files.
            return tree is not None and all(cache.exists(oid) for oid in tree.values())

    def fetch(self, md5: str) -> Path:
        """A folder with exactly this content, to be read only; it never changes under a reader.

        It takes no room of its own where the file system can link. Raises StoreError, RemoteDown.
        """
        final = self.home / "inputs" / md5
        if final.is_dir():
            return final
        partial = beside(final)
        self.export(md5, partial, links=("reflink", "hardlink", "copy"))
        try:
            partial.rename(final)
        except OSError:
            # Another reader was faster, and may be reading already.
            shutil.rmtree(partial, ignore_errors=True)
            if not final.is_dir():
                raise
        return final

    def checkout(self, asset: str, md5: str, character: str | None = None) -> Path:
        """The asset's folder in artifacts/, brought to this content. Raises StoreError, RemoteDown."""
        folder = self.folder(asset, character)
        if not (folder.is_dir() and pointed_md5(folder) == md5 and self.md5(folder) == md5):
            self.export(md5, folder)
            self._point(folder, md5)
        return folder

    def export(self, md5: str, folder: Path, links: Iterable[str] = ("reflink", "copy")) -> Path:
        """Put this content where `folder` is, from the cache or the remote. Raises StoreError, RemoteDown.

        Unless `links` says otherwise, the files are the reader's own: to change them changes nothing here.
        """
        from dvc_objects.fs.generic import transfer
        from dvc_objects.fs.local import LocalFileSystem

        partial = beside(folder)
        with self.opened() as remote:
            tree, cache = self._pulled(remote, md5), remote.repo.cache.local
            files = {partial / path: cache.oid_to_path(oid) for path, oid in tree.items()}
            partial.mkdir(parents=True)
            try:
                for parent in {path.parent for path in files}:
                    parent.mkdir(parents=True, exist_ok=True)
                transfer(cache.fs, list(files.values()), LocalFileSystem(), list(map(str, files)), links=list(links))
                replace_folder(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return folder

    def _pulled(self, remote: Remote, md5: str) -> dict[str, str]:
        """The listing of a folder whose files are all in the cache, pulled where they were not.

        Raises StoreError, RemoteDown.
        """
        cache = remote.repo.cache.local
        if (tree := objects.listing(cache, md5)) is None:
            remote.pull({md5})
            if (tree := objects.listing(cache, md5)) is None:
                raise StoreError(why_missing(remote, self.home, md5))
        if missing := {oid for oid in tree.values() if not objects.is_intact(cache, oid)}:
            remote.pull(missing)
            if gone := {path: oid for path, oid in tree.items() if not objects.is_intact(cache, oid)}:
                raise StoreError(why_missing(remote, self.home, md5, gone))
        return tree

    def listing(self, md5: str) -> dict[str, str]:
        """The md5 of each file by its path in the folder. Raises StoreError, RemoteDown."""
        with self.opened() as remote:
            tree = objects.listing(remote.repo.cache.local, md5)
            if tree is None and (tree := remote.listing(md5)) is None:
                raise StoreError(why_missing(remote, self.home, md5))
        return tree

    def listings(self, md5s: Iterable[str]) -> dict[str, dict[str, str]]:
        """The same for many folders; those whose listing is nowhere to be had are left out. Raises RemoteDown."""
        with self.opened() as remote:
            return listings(remote, list(md5s))

    def file(self, md5: str) -> Path:
        """One file of a listing, in the cache, pulled when it is not there; to be read only.

        Raises StoreError, RemoteDown.
        """
        with self.opened() as remote:
            cache = remote.repo.cache.local
            if not objects.is_intact(cache, md5):
                remote.pull({md5})
                if not objects.is_intact(cache, md5):
                    raise StoreError(why_missing(remote, self.home, md5))
            return Path(cache.oid_to_path(md5))

    # --- what is where

    def availability(self, md5: str) -> Availability:
        """Whether this folder is whole here, and in the remote. Raises RemoteDown."""
        return self.availabilities([md5])[md5]

    def availabilities(self, md5s: Iterable[str], read: bool = True) -> dict[str, Availability]:
        """The same of many folders; without `read` nothing but the size tells what is damaged. Raises RemoteDown."""
        with self.opened() as remote:
            return {md5: remote.availability(md5, read) for md5 in md5s}

    def is_lost(self, md5: str) -> bool:
        """Whether nothing brings this folder back. A remote that is down may have it."""
        if self.is_cached(md5):
            return False
        try:
            return self.availability(md5).lost
        except RemoteDown:
            return False

    def why_lost(self, oid: str) -> str:
        """Why an object that is not to be had is not. Raises RemoteDown."""
        with self.opened() as remote:
            return "damaged in the remote" if remote.present([oid]) else "neither in the cache nor in the remote"

    def probe(self) -> None:
        """Write, read and delete a small object in the remote. Raises RemoteDown."""
        with self.opened() as remote:
            remote.probe()

    def sizes(self) -> dict[str, dict[str, int]]:
        """What is stored in the `cache` and in the `remote`: bytes by md5, of files and of folders' listings ("….dir").

        Raises RemoteDown.
        """
        with self.opened() as remote:
            return {"cache": objects.sizes(remote.repo.cache.local), "remote": remote.sizes()}

    # --- deleting

    def remove(self, oids: Collection[str], places: Collection[str] = ("cache", "remote")) -> int:
        """Delete objects, and from the cache's side every folder of `fetch` that holds one; bytes freed.

        Raises RemoteDown.
        """
        freed = 0
        with self.opened() as remote:
            if "cache" in places:
                freed += self._drop(remote, oids)
            if "remote" in places:
                freed += remote.delete(oids)
        return freed

    def drop_damaged(self, md5: str) -> bool:
        """Remove from the cache what is damaged of this folder, so that it is pulled anew; whether there was any."""
        with self.opened() as remote:
            cache = remote.repo.cache.local
            wrong = objects.damaged(cache, sorted({md5, *(objects.listing(cache, md5) or {}).values()}))
            self._drop(remote, wrong)
        return bool(wrong)

    def _drop(self, remote: Remote, oids: Collection[str]) -> int:
        """Delete objects from the cache, and every folder of `fetch` that holds one; bytes freed."""
        cache = remote.repo.cache.local
        for folder in (self.home / "inputs").glob("*.dir"):
            tree = objects.listing(cache, folder.name)
            if tree is None or not {folder.name, *tree.values()}.isdisjoint(oids):
                shutil.rmtree(folder)
        return objects.delete(cache, oids)
