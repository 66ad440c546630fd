"""`likeness backup`: everything that a project needs to go on elsewhere, while its servers and runs are at work.

The order decides whether lineage closes, since nothing stands still meanwhile. A run stores bytes first (cache,
remote, MLflow's files), then names them in a database; nothing but `clean` and `forget` deletes, and these wait. So
databases are copied before files: whatever a database names was there before it, and is still there when its turn
comes. Of two databases MLflow's goes first: a registered version names md5s whose events Dagster had recorded before,
and not the other way round; an event whose version is not registered is made good by the next run. PostgreSQL has both,
at one moment.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from orchestration.apps.backup_format import (
    BLOCK,
    DUMP,
    MLFLOW_DATABASE,
    BackupError,
    Entry,
    Manifest,
    is_own_remote,
    object_name,
    program_versions,
    sqlite_file,
)
from orchestration.config.database_url import MLFLOW_SCHEMA
from orchestration.config.settings import Settings
from orchestration.lineage import OnStep, registered_data, silent
from orchestration.storage import backup_log, erasure_log, objects, snapshots, versions
from orchestration.storage.erasure_log import Erasure, ErasureLog
from orchestration.storage.instance import is_ours, keeping_files, open_instance
from orchestration.storage.mlflow_client import OutOfDate
from orchestration.storage.remote import Remote
from orchestration.storage.staged_output import beside, pointed
from orchestration.storage.store import Store
from orchestration.storage.store_errors import RemoteDown
from serving.configuration import ServiceSettings
from stages.data.source_files import NO_RIGHT, walk

SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite has beside a database; its own copy needs none of it."""
DAMAGED = "its bytes are not what its name says, in cache and remote"


@dataclass(frozen=True)
class Source:
    """A file to be copied."""

    name: str
    """In the backup."""
    paths: tuple[Path, ...]
    """Where its bytes are, the first that is sound counts."""
    bytes: int
    md5: str = ""
    """Of an object: what its bytes must have."""


@dataclass
class Copier:
    """Copies files into a backup that is being made, and notes their sha256."""

    folder: Path
    progress: OnStep
    total: int = 0
    done: int = 0
    files: dict[str, Entry] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def copy_all(self, sources: Sequence[Source]) -> None:
        """Raises BackupError where there is no room, OSError."""
        self.total += sum(source.bytes for source in sources)
        free = shutil.disk_usage(self.folder).free
        if free < (needed := self.total - self.done):
            raise BackupError(
                f"{needed / 1e9:.2f} GB are to be copied to {self.folder.parent}, {free / 1e9:.2f} are free"
            )
        for source in sources:
            if not any(self._copy(source, path) for path in source.paths):
                self.left_out[source.name] = DAMAGED

    def _copy(self, source: Source, path: Path) -> bool:
        """False where the bytes are not those of the object. What was deleted meanwhile is nobody's any more."""
        target = self.folder / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        try:
            with path.open("rb") as reader, target.open("wb") as writer:
                while block := reader.read(BLOCK):
                    writer.write(block)
                    sha256.update(block)
                    size += len(block)
                    if source.md5:
                        md5.update(block)
                about = os.fstat(reader.fileno())
        except FileNotFoundError:
            return True
        self.done += size
        self.progress("megabytes copied", self.done // 10**6, max(self.total, self.done) // 10**6)
        if source.md5 not in ("", md5.hexdigest()):
            target.unlink()
            return False
        self.files[source.name] = Entry(sha256.hexdigest(), size, stat.S_IMODE(about.st_mode), about.st_mtime_ns)
        return True


def make(
    target: Path,
    settings: Settings,
    service: ServiceSettings,
    with_cache: bool = False,
    without_mlflow: bool = False,
    progress: OnStep = silent,
) -> Manifest:
    """Write the backup, whole or not at all, into a folder that is not there yet.

    with_cache: also objects that the DVC remote has; those of a remote inside the project are always taken. Raises
    BackupError, DatabaseError, RemoteDown, AlreadyRunning, OSError.
    """
    target = target.expanduser().absolute()
    _require_new(target, settings)
    mlflow = not without_mlflow and _require_mlflow(settings)
    _require_known_storage(settings)
    with keeping_files(settings), _partial_folder(target) as folder:
        manifest = _begin(settings, mlflow)
        # Before anything is copied: of what is erased from here on, by another machine too, the copies may have all.
        manifest.erased = [entry.id for entry in _erasures(settings) if entry.done]
        copier = Copier(folder, progress)
        progress("databases", 0, 0)
        with _databases(settings, mlflow, manifest) as databases:
            copier.copy_all(databases)
        progress("what is lost already", 0, 0)
        with suppress(OutOfDate):  # what cannot be asked before `likeness upgrade` is copied as it is
            manifest.missing = _missing(settings, mlflow)
        copier.copy_all(
            [*_files(settings, service, mlflow, copier.left_out), *_objects(settings, with_cache, manifest)]
        )
        erasure_log.write_entries(folder / backup_log.ERASURES, _erasures(settings))
        manifest.files, manifest.left_out = copier.files, copier.left_out
        manifest.write(folder)
        os.sync()  # a backup that is only in memory is none
        folder.rename(target)
        backup_log.remember(settings.home, target)
    return manifest


def _begin(settings: Settings, mlflow: bool) -> Manifest:
    return Manifest(
        when=erasure_log.now(),
        who=getpass.getuser(),
        commit=versions.git_commit(),
        database="postgresql" if settings.database else "sqlite",
        mlflow=mlflow,
        remote=settings.remote,
        versions=program_versions(),
    )


def _erasures(settings: Settings) -> list[Erasure]:
    with open_instance(settings) as instance:
        return ErasureLog(instance).entries()


def _missing(settings: Settings, mlflow: bool) -> dict[str, str]:
    """What is nowhere any more: of the newest versions, and of registered models. Raises OutOfDate."""
    wanted = {md5: name for name, md5 in pointed(settings.root).items() if name.startswith("artifacts/")}
    models = registered_data.registered_models(settings) if mlflow else []
    wanted |= registered_data.names(models)
    store = Store.of(settings)
    try:
        about = store.availabilities(wanted, read=False)
        gone = {md5: name for md5, name in wanted.items() if about[md5].lost}
    except RemoteDown:  # what only the remote has is in no backup
        gone = {md5: name for md5, name in wanted.items() if not store.is_cached(md5)}
    return gone | (registered_data.lost_packages(settings) if mlflow else {})


def _require_new(target: Path, settings: Settings) -> None:
    if not settings.dagster_home.is_dir():
        raise BackupError(f"there is nothing in {settings.home} yet: `likeness run` makes it, or set LIKENESS_HOME")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(
            f"{target} is there already: name a new folder, such as {target.parent}/{erasure_log.now()[:10]}"
        )
    for own in (settings.home, settings.data, settings.characters, settings.root / "artifacts"):
        if target.resolve().is_relative_to(own.resolve()):
            raise BackupError(f"{target} lies in {own}, and is lost with it: name a folder on another disk")


def _require_mlflow(settings: Settings) -> bool:
    """Whether MLflow's database and files are within reach, which they are unless its server lies elsewhere.

    Raises BackupError where they are not.
    """
    if sqlite_file(settings):
        return True
    in_ours = settings.tracking_uri == settings.mlflow_database or (
        settings.mlflow_server and settings.database and settings.model_files.is_dir()
    )
    if in_ours and f"{MLFLOW_SCHEMA}.registered_models" in snapshots.tables(settings.database):
        return True
    raise BackupError(
        f"MLflow's database and files are not within reach of this machine ({settings.tracking_uri.split('@')[-1]}): "
        "call this on the machine that has them, or leave them out (--without-mlflow) and back them up where they are"
    )


def _require_known_storage(settings: Settings) -> None:
    """Raises BackupError where a person's own dagster.yaml has records somewhere that the settings do not name."""
    config = settings.dagster_home / "dagster.yaml"
    text = config.read_text() if config.exists() else ""
    named = {"storage", "run_storage", "event_log_storage", "schedule_storage"} & set(
        yaml.safe_load(text or "{}") or {}
    )
    if text and not is_ours(text) and named and not settings.database:
        raise BackupError(
            f"{config} is your own and names a storage: set LIKENESS_DATABASE where that is PostgreSQL, so that it is "
            "backed up with the rest"
        )


@contextmanager
def _partial_folder(target: Path) -> Iterator[Path]:
    """A folder beside the target, readable by its owner alone: it holds photos and keys."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for half in target.parent.glob(f".{target.name}-*.partial"):
        shutil.rmtree(half)  # of one that was killed
    folder = beside(target)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _databases(settings: Settings, mlflow: bool, manifest: Manifest) -> Iterator[list[Source]]:
    """Copies of the databases, on their own disk: a slow backup disk holds up nobody who writes to them.

    MLflow's first; of Dagster's the index of events before the events of each run and these before the runs: what one
    names is in the next.
    """
    for half in settings.home.glob(".snapshot-*.partial"):
        shutil.rmtree(half)
    folder = beside(settings.home / "snapshot")
    folder.mkdir(mode=0o700)
    try:
        copies = {}
        if mlflow and (file := sqlite_file(settings)) and file.is_file():
            snapshots.copy_sqlite(file, copies.setdefault(MLFLOW_DATABASE, folder / "mlflow.db"))
        if settings.database:
            manifest.versions["postgresql"] = snapshots.dump_postgresql(
                settings.database, copies.setdefault(DUMP, folder / "postgresql.dump")
            )
            manifest.versions["pg_dump"] = snapshots.client_version()
        for number, file in enumerate(sorted(_sqlite_files(settings.dagster_home), key=_copied_when)):
            name = f"home/{file.relative_to(settings.home).as_posix()}"
            snapshots.copy_sqlite(file, copies.setdefault(name, folder / f"{number}.db"))
        yield [Source(name, (path,), path.stat().st_size) for name, path in copies.items()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sqlite_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.db") if path.is_file() and snapshots.is_sqlite(path)]


def _copied_when(file: Path) -> tuple[int, str]:
    return {"index.db": 0, "runs.db": 2}.get(file.name, 1), str(file)


def _files(settings: Settings, service: ServiceSettings, mlflow: bool, left_out: dict[str, str]) -> Iterator[Source]:
    """All that is neither a database nor an object."""
    root, home = settings.root, settings.home
    databases = {file.name for file in _sqlite_files(settings.dagster_home)}
    sides = {f"{name}{side}" for name in databases for side in SIDE_FILES}
    for source in _walked(settings.dagster_home, "home/dagster", left_out):
        if source.paths[0].name not in databases | sides:
            yield source
    if mlflow:
        yield from _walked(settings.model_files, "home/mlflow/files", left_out)
    yield from _walked(settings.data, "project/data", left_out)
    yield from _walked(settings.characters, "project/characters", left_out)
    for folder in sorted((home / "serving").glob("*/characters")):
        yield from _walked(folder, f"home/serving/{folder.parent.name}/characters", left_out)
    for folder in sorted((home / "serving").glob("*/corrections")):
        yield from _walked(folder, f"home/serving/{folder.parent.name}/corrections", left_out)
    if service.store:
        yield from _walked(service.store, "service/characters", left_out)
    if service.corrections_store:
        yield from _walked(service.corrections_store, "service/corrections", left_out)
    single = {path: f"project/{path.relative_to(root).as_posix()}" for path in (root / "artifacts").rglob("*.dvc")}
    single |= {root / name: f"project/{name}" for name in ("data.dvc", ".dvc/config")}
    single |= {
        home / name: f"home/{name}"
        for name in ("serving/keys", "people.json", "audit.jsonl", "backups.json", "notifications.log")
    }
    if service.keys:
        single[service.keys] = "service/keys"
    for path, name in single.items():
        if path.is_file():
            yield Source(name, (path,), path.stat().st_size)


def _walked(folder: Path, name: str, left_out: dict[str, str]) -> Iterator[Source]:
    """Every file of a folder, those behind links too: the place that a link leads to may be lost as well.

    Raises BackupError where one may not be read.
    """
    if not folder.is_dir():
        return
    for found in walk(folder, lambda name, content: ""):
        if not os.path.lexists(found.path):
            continue  # deleted meanwhile
        inside = f"{name}/{found.path.relative_to(folder).as_posix()}"
        if found.why == NO_RIGHT or found.why.startswith("cannot be opened"):
            raise BackupError(f"{found.path} may not be read: chmod it, or call this as the user who may")
        if found.why:
            left_out[inside.encode(errors="backslashreplace").decode()] = found.why
        elif ".locks" not in found.path.parts:
            with suppress(FileNotFoundError):
                yield Source(inside, (found.path,), found.path.stat().st_size)


def _objects(settings: Settings, with_cache: bool, manifest: Manifest) -> list[Source]:
    """DVC's objects that are nowhere else. Raises RemoteDown."""
    own, held = is_own_remote(settings), {}
    folders = [settings.home / "cache"]
    with Store.of(settings).opened() as remote:
        sizes = objects.sizes(remote.repo.cache.local)
        if own:
            held = remote.sizes()
            folders.append(Path(settings.remote))
        elif not with_cache:
            held = _sizes_of_remote(remote)
    wanted = (
        {**held, **sizes} if own else {oid: size for oid, size in sizes.items() if with_cache or held.get(oid) != size}
    )
    manifest.left_to_remote = 0 if own else len(sizes) - len(wanted)
    return [
        Source(
            object_name(oid),
            tuple(path for folder in folders if (path := folder / "files" / "md5" / oid[:2] / oid[2:]).is_file()),
            size, oid.removesuffix(".dir"),
        )
        for oid, size in sorted(wanted.items())
    ]  # fmt: skip


def _sizes_of_remote(remote: Remote) -> dict[str, int]:
    try:
        return remote.sizes()
    except RemoteDown as error:
        raise RemoteDown(f"{error}; or copy all that this machine has: --with-cache") from error
