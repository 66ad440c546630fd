"""Folders that are known by their DVC md5.

Every asset writes `artifacts/<asset>/`, or `artifacts/<asset>/<character>/`, and the md5 that DVC gives the folder is
the asset's data version. An md5 alone brings the data back, from the cache or from the remote, so who has the remote
needs nothing else. Nothing here takes DVC's lock: an object is known by its content, a pointer belongs to one folder,
and both are written beside and renamed, so parallel writers lose nothing.
"""

from __future__ import annotations

import errno
import logging
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from engine.errors import LikenessError
from orchestration.config.settings import Settings
from orchestration.storage import objects, source_files
from stages.data.source_files import ScanReport, anything, report

if TYPE_CHECKING:
    from dvc.repo import Repo

REMOTE = "likeness"
ATTEMPTS = 4
"""Times that the remote is tried, with 1, 2 and 4 seconds between them."""

MEND = (
    "run `likeness push --check` on a machine whose cache has it; nobody has? `likeness run` makes again what is the "
    "newest version"
)
SEEK = (
    "set LIKENESS_DVC_REMOTE to the remote that has it, or run `likeness push` on a machine that has it; nobody has? "
    "`likeness run` makes again what is the newest version"
)

Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]


class StoreError(LikenessError):
    """Data that an asset needs is neither here nor in the remote, or is not what its md5 says."""


class RemoteDown(StoreError):
    """The remote does not answer, or not as it should: worth another try later."""


@dataclass
class Draft:
    """A folder that is being written, and its md5 once it is kept."""

    folder: Path
    md5: str = ""


@dataclass(frozen=True)
class Availability:
    """Where every file of a folder is to be had."""

    here: bool
    remote: bool
    damaged: bool = False
    """Whether the remote has objects of it whose bytes are wrong."""
    lost: bool = False
    """Whether some object of it is neither here nor, sound, in the remote: nothing brings the folder back."""


@dataclass(frozen=True)
class Pushed:
    """What became of the remote."""

    copied: int = 0
    """Objects that it lacked."""
    replaced: int = 0
    """Those that were damaged in it."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """What could not be copied or mended, and why, by md5."""


@dataclass(frozen=True)
class Store:
    root: Path
    home: Path
    remote: str

    @classmethod
    def of(cls, settings: Settings) -> Store:
        return cls(settings.root, settings.home, settings.remote)

    # --- writing

    def folder(self, asset: str, character: str | None = None) -> Path:
        """Where the asset's newest version on this machine lies, whether it exists or not."""
        folder = self.root / "artifacts" / asset
        return folder / character if character else folder

    @contextmanager
    def writing(self, asset: str, character: str | None = None) -> Iterator[Draft]:
        """An empty folder to write into. When the block ends well it is kept in cache and remote and takes the asset's
        place, and the draft has its md5; else it is removed. Raises RemoteDown, OSError.
        """
        final = self.folder(asset, character)
        draft = Draft(final.with_name(f".{final.name}-{uuid.uuid4().hex[:8]}.partial"))
        draft.folder.mkdir(parents=True)
        try:
            yield draft
            draft.md5 = self.keep(draft.folder)
            replace_folder(draft.folder, final)
            self._point(final, draft.md5)
            draft.folder = final
        finally:
            if draft.folder != final:
                shutil.rmtree(draft.folder, ignore_errors=True)

    def add(self, folder: Path) -> str:
        """Keep the folder and write its pointer beside it; its md5 ("….dir"). Raises RemoteDown, OSError."""
        md5 = self.keep(folder)
        self._point(folder, md5)
        return md5

    def keep(self, folder: Path) -> str:
        """Put the folder's content into cache and remote, so that its md5 brings it back; nothing beside it changes.

        Raises RemoteDown, OSError.
        """
        from dvc_data.hashfile.transfer import transfer

        with self._repo() as repo:
            staging, md5, files = self._build(repo, folder, dry_run=False)
            kept = transfer(staging, repo.cache.local, objects.hash_infos({md5}), shallow=False)
            if kept.failed:
                raise OSError(errno.EIO, f"cannot copy {folder} into {repo.cache.local.path}: is the disk full?")
            self._push(repo, {md5, *files.values()})
            return md5

    def push(self, check: bool = False, progress: Progress = lambda what, done, total: None) -> Pushed:
        """Copy to the remote what it lacks of the cache, each object asked for, and no damaged one.

        With `check` every object of both is read: the cache's copies replace what is damaged in the remote, and what is
        damaged in the cache goes, so that it is pulled anew. Raises RemoteDown.
        """
        with self._repo() as repo:
            cache, remote = repo.cache.local, self._remote(repo)
            mine, there = objects.sizes(cache), self._patiently(lambda: objects.sizes(remote))
            doubtful = there if check else [oid for oid in mine if there.get(oid, mine[oid]) != mine[oid]]
            read = partial(progress, "objects of the remote")
            wrong = self._patiently(lambda: objects.damaged(remote, sorted(doubtful), read))
            lacking = mine.keys() - there.keys()
            wanted = lacking | (mine.keys() & wrong)
            bad = objects.damaged(cache, sorted(mine if check else wanted), partial(progress, "objects of the cache"))
            self._patiently(lambda: objects.copy(cache, remote, wanted - bad))
            lost = (wrong | (bad & lacking)) - (mine.keys() - bad)
            if check:
                self._drop_inputs(repo, bad)
                objects.delete(cache, bad)
                lost |= self._named(repo, {*mine, *there}) - (mine.keys() - bad) - (there.keys() - wrong)
        reasons = {oid: self._lost(oid, oid in bad, oid in wrong) for oid in sorted(lost)}
        return Pushed(len(lacking - bad), len(wrong & (wanted - bad)), {o: why for o, why in reasons.items() if why})

    # --- reading

    def md5(self, folder: Path) -> str:
        """The md5 that DVC would give this folder, without keeping it; files hashed before are not read again."""
        with self._repo() as repo:
            return self._build(repo, folder, dry_run=True)[1]

    def version(self, folder: Path, recorded: str | None) -> str:
        """The md5 of a source's folder; `recorded`, where the two differ by nothing that counts."""
        with self._repo() as repo:
            md5, files = self._build(repo, folder, dry_run=True)[1:]
            rule = source_files.rule_of(self.root, folder)
            if recorded in (None, md5) or rule is None:
                return md5
            cache = repo.cache.local
            before = objects.listing(cache, recorded)
            same = before is not None and source_files.differs_by_nothing(
                before, files, rule, lambda oid: Path(cache.oid_to_path(oid))
            )
            return recorded if same else md5

    def report(self, folder: Path) -> ScanReport:
        """What counts of a source's folder, and what does not and why."""
        with self._repo() as repo:
            rule = source_files.rule_of(self.root, folder) or anything
            return report(folder, rule, source_files.admit(repo.dvcignore))

    def is_kept(self, md5: str) -> bool:
        """Whether this folder was put into the cache, here and as a whole."""
        with self._repo() as repo:
            cache = repo.cache.local
            tree = objects.listing(cache, md5)
            # Of a version that was seen before, `likeness forget` may have erased files.
            return tree is not None and all(cache.exists(oid) for oid in tree.values())

    def fetch(self, md5: str) -> Path:
        """A folder with exactly this content, to be read only; it never changes under a reader.

        It takes no room of its own where the file system can link. Raises StoreError.
        """
        final = self.home / "inputs" / md5
        if final.is_dir():
            return final
        partial = final.with_name(f".{md5}-{uuid.uuid4().hex[:8]}.partial")
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
        """The asset's folder in artifacts/, brought to this content. Raises StoreError."""
        folder = self.folder(asset, character)
        if not (folder.is_dir() and pointed_md5(folder) == md5 and self.md5(folder) == md5):
            self.export(md5, folder)
            self._point(folder, md5)
        return folder

    def export(self, md5: str, folder: Path, links: Iterable[str] = ("reflink", "copy")) -> Path:
        """Put this content where `folder` is, from the cache or the remote. Raises StoreError.

        Unless `links` says otherwise, the files are the reader's own: to change them changes nothing here.
        """
        from dvc_objects.fs.generic import transfer
        from dvc_objects.fs.local import LocalFileSystem

        partial = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}.partial")
        with self._repo() as repo:
            tree, cache = self._bring(repo, md5), repo.cache.local
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

    def availability(self, md5: str) -> Availability:
        """Whether this folder is whole here, and in the remote. Raises RemoteDown."""
        return self.availabilities([md5])[md5]

    def availabilities(self, md5s: Iterable[str], read: bool = True) -> dict[str, Availability]:
        """The same of many folders; without `read` nothing but the size tells what is damaged. Raises RemoteDown."""
        with self._repo() as repo:
            remote = self._remote(repo)
            return {md5: self._patiently(partial(self._available, repo, remote, md5, read)) for md5 in md5s}

    def _available(self, repo: Repo, remote: Any, md5: str, read: bool) -> Availability:
        cache = repo.cache.local
        tree = objects.listing(cache, md5)
        if tree is None:
            tree = objects.listing(remote, md5)
        oids = {md5, *(tree or {}).values()}
        here = {oid for oid in oids if cache.exists(oid)} if tree is not None else set()
        there = set(remote.list_oids_exists(oids))
        wrong = self._seen_damaged(repo, remote, there, read)
        sound = there - wrong
        return Availability(here == oids, sound == oids, bool(wrong), here | sound != oids)

    def is_lost(self, md5: str) -> bool:
        """Whether nothing brings this folder back. A remote that is down may have it."""
        if self.is_kept(md5):
            return False
        try:
            return self.availability(md5).lost
        except RemoteDown:
            return False

    def drop_damaged(self, md5: str) -> bool:
        """Remove from the cache what is damaged of this folder, so that it is pulled anew; whether there was any."""
        with self._repo() as repo:
            cache = repo.cache.local
            wrong = objects.damaged(cache, sorted({md5, *(objects.listing(cache, md5) or {}).values()}))
            self._drop_inputs(repo, wrong)
            objects.delete(cache, wrong)
        return bool(wrong)

    def listing(self, md5: str) -> dict[str, str]:
        """The md5 of each file by its path in the folder. Raises StoreError."""
        with self._repo() as repo:
            tree = objects.listing(repo.cache.local, md5)
            if tree is None:
                remote = self._remote(repo)
                tree = self._patiently(lambda: objects.listing(remote, md5))
            if tree is None:
                raise StoreError(self._missing(repo, md5))
        return tree

    def listings(self, md5s: Iterable[str]) -> dict[str, dict[str, str]]:
        """The same for many folders; those whose listing is nowhere to be had are left out. Raises RemoteDown."""
        with self._repo() as repo:
            found = {md5: objects.listing(repo.cache.local, md5) for md5 in md5s}
            if missing := [md5 for md5, tree in found.items() if tree is None]:
                remote = self._remote(repo)
                there = self._patiently(lambda: set(remote.list_oids_exists(missing)))
                found |= {md5: self._patiently(lambda md5=md5: objects.listing(remote, md5)) for md5 in there}
        return {md5: tree for md5, tree in found.items() if tree is not None}

    def file(self, md5: str) -> Path:
        """One file of a listing, in the cache, pulled when it is not there; to be read only. Raises StoreError."""
        with self._repo() as repo:
            if not objects.is_intact(repo.cache.local, md5):
                self._pull(repo, {md5})
                if not objects.is_intact(repo.cache.local, md5):
                    raise StoreError(self._missing(repo, md5))
            return Path(repo.cache.local.oid_to_path(md5))

    def probe(self) -> None:
        """Write, read and delete a small object in the remote. Raises RemoteDown."""
        content = uuid.uuid4().hex.encode()
        with self._repo() as repo:
            remote = self._remote(repo)
            path = remote.fs.join(remote.path, f"likeness-probe-{content.decode()}")

            def try_it() -> None:
                remote.fs.makedirs(remote.path, exist_ok=True)
                remote.fs.pipe_file(path, content)
                if remote.fs.cat_file(path) != content:
                    raise OSError("what was written is not what was read")
                remote.fs.remove(path)

            self._patiently(try_it)

    # --- cleaning

    def held(self) -> dict[str, dict[str, int]]:
        """What is kept in the `cache` and in the `remote`: bytes by md5, of files and of folders' listings ("….dir").

        Raises RemoteDown.
        """
        with self._repo() as repo:
            remote = self._remote(repo)
            return {
                "cache": objects.sizes(repo.cache.local),
                "remote": self._patiently(lambda: objects.sizes(remote)),
            }

    def remove(self, oids: Collection[str], places: Collection[str] = ("cache", "remote")) -> int:
        """Delete objects, and from the cache's side every folder of `fetch` that holds one; bytes freed.

        Raises RemoteDown.
        """
        freed = 0
        with self._repo() as repo:
            if "cache" in places:
                self._drop_inputs(repo, set(oids))
                freed += objects.delete(repo.cache.local, oids)
            if "remote" in places:
                from dvc_data.hashfile.db import get_index

                remote = self._remote(repo)
                get_index(remote).clear()  # it takes a listed folder's files for granted
                freed += self._patiently(lambda: objects.delete(remote, oids))
        return freed

    def _drop_inputs(self, repo: Repo, oids: set[str]) -> None:
        for folder in (self.home / "inputs").glob("*.dir"):
            tree = objects.listing(repo.cache.local, folder.name)
            if tree is None or not oids.isdisjoint({folder.name, *tree.values()}):
                shutil.rmtree(folder)

    # --- DVC

    @contextmanager
    def _repo(self) -> Iterator[Repo]:
        # Its warnings repeat what the errors say.
        for library in ("dvc", "dvc_data", "dvc_objects"):
            logging.getLogger(library).setLevel(logging.CRITICAL)
        config: dict[str, Any] = {
            "core": {
                "remote": REMOTE,
                "analytics": False,
                "autostage": False,
                "site_cache_dir": str(self.home / "dvc"),
                # A project may come without its git repository, and nothing here asks for it.
                "no_scm": True,
            },
            "cache": {"dir": str(self.home / "cache")},
            "remote": {REMOTE: {"url": self.remote, "verify": True}},
        }
        with _repo_class()(str(self.root), config=config) as repo:
            yield repo

    @staticmethod
    def _build(repo: Repo, folder: Path, dry_run: bool) -> tuple[Any, str, dict[str, str]]:
        """Where the folder's objects are to be taken from, its md5, and its listing."""
        from dvc.fs import LocalFileSystem
        from dvc_data.hashfile.build import build

        rule = source_files.rule_of(Path(repo.root_dir), folder)
        ignore: Any = source_files.Counted(repo.dvcignore, rule) if rule else source_files.Kept(repo.dvcignore)
        if folder.name.endswith(".partial"):
            # What .dvcignore leaves out of artifacts/ must not leave a draft out, which lies under such a name.
            ignore = None
        staging, _, tree = build(
            repo.cache.local, str(folder), LocalFileSystem(), "md5", ignore=ignore, dry_run=dry_run
        )
        return staging, str(tree.hash_info.value), objects.files_of(tree)

    def _bring(self, repo: Repo, md5: str) -> dict[str, str]:
        """The listing of a folder whose files are all in the cache, pulled where they were not. Raises StoreError."""
        cache = repo.cache.local
        if (tree := objects.listing(cache, md5)) is None:
            self._pull(repo, {md5})
            if (tree := objects.listing(cache, md5)) is None:
                raise StoreError(self._missing(repo, md5))
        if missing := {oid for oid in tree.values() if not objects.is_intact(cache, oid)}:
            self._pull(repo, missing)
            gone = {path: oid for path, oid in tree.items() if not objects.is_intact(cache, oid)}
            if gone:
                raise StoreError(self._missing(repo, md5, gone))
        return tree

    def _remote(self, repo: Repo) -> Any:
        remote = self._patiently(repo.cloud.get_remote_odb)
        # What was hashed once, or pushed by us, is read again only where it changed; of local files alone.
        remote.state = repo.state
        return remote

    def _pull(self, repo: Repo, oids: Collection[str]) -> None:
        """Copy to the cache what the remote has of these. What proves to be damaged is not kept."""
        remote, cache = self._remote(repo), repo.cache.local

        def pull() -> None:
            there = set(remote.list_oids_exists(oids))
            objects.copy(remote, cache, there)
            objects.delete(cache, objects.damaged(cache, sorted(there)))

        self._patiently(pull)

    def _push(self, repo: Repo, oids: Collection[str]) -> int:
        """How many objects the remote lacked.

        It is asked for each: DVC's own push takes the files of a listing that the remote has for granted.
        """
        remote = self._remote(repo)

        def push() -> int:
            lacking = set(oids) - set(remote.oids_exist(oids))
            objects.copy(repo.cache.local, remote, lacking)
            return len(lacking)

        return self._patiently(push)

    def _seen_damaged(self, repo: Repo, remote: Any, oids: Collection[str], read: bool) -> set[str]:
        """The damaged ones of objects in the remote, as far as a look can tell: local files are read where they
        changed, of others the size is compared with the cache's.
        """
        if read and remote.fs.protocol == "local":
            return {oid for oid in oids if objects.is_damaged(remote, oid, repo.state)}
        mine, there = (objects.sizes_of(place, oids) for place in (repo.cache.local, remote))
        return {oid for oid in oids if mine.get(oid, there.get(oid)) != there.get(oid)}

    def _named(self, repo: Repo, oids: Collection[str]) -> set[str]:
        """The objects that the listings among these name."""
        trees = self.listings(oid for oid in oids if oid.endswith(".dir"))
        return {oid for tree in trees.values() for oid in tree.values()}

    def _patiently(self, act: Callable[[], Result]) -> Result:
        """Use the remote, again after a while when it fails. Raises RemoteDown."""
        from dvc.exceptions import DvcException
        from tenacity import retry, retry_if_not_exception_type, stop_after_attempt, wait_exponential

        # What another try does not change: a wrong address, missing rights.
        settled = (FileNotFoundError, PermissionError, DvcException)
        patient = retry(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(min=1),
            retry=retry_if_not_exception_type(settled),
            reraise=True,
        )
        try:
            return patient(act)()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise RemoteDown(
                f"the remote {self.remote} cannot be used ({type(error).__name__}: {error}): is it up, is "
                "LIKENESS_DVC_REMOTE right, are its credentials in the environment? `likeness doctor` tries it"
            ) from error

    def _missing(self, repo: Repo, md5: str, files: Mapping[str, str] | None = None) -> str:
        """Why a folder, or an object, cannot be had: because of these files (md5 by path), where there are any."""
        from orchestration.storage import erasure_log

        if why := erasure_log.reason(self.home, [md5, *(files or {}).values()]):
            return f"the data with md5 {md5} was erased: {why}; `likeness run` makes what depends on it again"
        if "://" not in self.remote and not Path(self.remote).exists():
            return f"the data with md5 {md5} is not in the cache, and there is no remote {self.remote}: {SEEK}"
        parts = files or {"": md5}
        remote = self._remote(repo)
        there = self._patiently(lambda: set(remote.list_oids_exists(set(parts.values()))))
        damaged, missing = ([path for path, oid in parts.items() if (oid in there) is yes] for yes in (True, False))
        remedy = MEND if damaged else SEEK
        if not files:
            where = "damaged in" if damaged else "neither in the cache nor in"
            return f"the data with md5 {md5} is {where} the remote {self.remote}: {remedy}"
        kinds = ((damaged, "damaged in the remote"), (missing, "neither in the cache nor in the remote"))
        reasons = [
            f"{len(paths)} of its files {'is' if len(paths) == 1 else 'are'} {where} (among them {paths[0]})"
            for paths, where in kinds
            if paths
        ]
        return f"the data with md5 {md5} is not whole: {', '.join(reasons)}; the remote is {self.remote}: {remedy}"

    def why_lost(self, oid: str) -> str:
        """Why an object that is not to be had is not."""
        with self._repo() as repo:
            remote = self._remote(repo)
            there = self._patiently(lambda: list(remote.list_oids_exists([oid])))
        return "damaged in the remote" if there else "neither in the cache nor in the remote"

    def _lost(self, oid: str, bad: bool, wrong: bool) -> str:
        """Why a push could not bring this object into the remote; "" for what `likeness forget` erased."""
        from orchestration.storage import erasure_log

        if wrong:
            return f"damaged in the remote, {'damaged' if bad else 'not'} in this machine's cache"
        if bad:
            return "damaged in this machine's cache, not in the remote"
        return "" if erasure_log.reason(self.home, [oid]) else "neither in this machine's cache nor in the remote"

    def _point(self, folder: Path, md5: str) -> None:
        """Write the folder's pointer as `dvc add` would."""
        with self._repo() as repo:
            cache, files = repo.cache.local, objects.listing(repo.cache.local, md5)
            assert files is not None, "only what is in the cache is pointed to"
            size = sum(Path(cache.oid_to_path(oid)).stat().st_size for oid in files.values())
        out = {"md5": md5, "size": size, "nfiles": len(files), "hash": "md5", "path": folder.name}
        pointer = pointer_of(folder)
        partial = pointer.with_name(f".{pointer.name}-{uuid.uuid4().hex[:8]}.partial")
        partial.write_text(yaml.safe_dump({"outs": [out]}, sort_keys=False))
        partial.replace(pointer)


@cache
def _repo_class() -> type[Repo]:
    from dvc.repo import Repo
    from dvc.utils.objects import cached_property

    class OwnRepo(Repo):
        @cached_property
        def site_cache_dir(self) -> str:
            """DVC's own is for all users of a machine: it makes folders with the umask taken away, so that anyone may
            write there, and so does whatever thread writes a file meanwhile.
            """
            return str(Path(self.config["core"]["site_cache_dir"]) / "repo")

    return OwnRepo


def pointer_of(folder: Path) -> Path:
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


def replace_folder(new: Path, final: Path) -> None:
    """Put `new` where `final` is; what was there stays until the new one stands."""
    old = final.with_name(f".{final.name}-{uuid.uuid4().hex[:8]}.partial")
    if final.exists():
        final.rename(old)
    new.rename(final)
    shutil.rmtree(old, ignore_errors=True)
