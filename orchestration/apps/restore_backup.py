"""`likeness restore-backup`: a project out of a backup, proved by sha256 before anything is written.

Files are written beside their places and renamed when all of them are there, Dagster's and MLflow's last, so that a
restore that was killed left no project that half works. What was forgotten after the backup was made is not copied, and
`forget` is carried out again on the restored project, before anybody works on it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
from packaging.version import Version

from engine.errors import LikenessError
from engine.words import a_few
from orchestration.apps.backup_format import (
    DUMP,
    BackupError,
    Manifest,
    digest,
    is_own_remote,
    object_name,
    place_of,
    places,
    program_versions,
)
from orchestration.config import addresses
from orchestration.config.files import delete, is_locked
from orchestration.config.settings import Settings
from orchestration.lineage import OnStep, erase_corrections, registered_data, silent
from orchestration.lineage.erase import Eraser
from orchestration.lineage.erase_search import EraseSearch
from orchestration.lineage.photo_index import SOURCE, PhotoIndex, file_digest
from orchestration.registry.promotion_events import RegistryError
from orchestration.storage import backup_log, erasure_log, snapshots
from orchestration.storage.erasure_log import Erasure, ErasureLog
from orchestration.storage.instance import keeping_files, lock_file, only_runner, open_instance
from orchestration.storage.mlflow_client import OutOfDate
from orchestration.storage.staged_output import beside, pointed
from orchestration.storage.store import Store
from orchestration.storage.store_errors import RemoteDown, StoreError
from orchestration.storage.version_index import VersionIndex
from serving.configuration import ServiceSettings

ASIDE = "replaced-"
"""Begins the name of the folder, in the home folder, to which a restore moves what it replaces."""
NO_PROJECT = (
    "locks", "run.lock", "logs", "libraries.log", "services.json", "dvc", "backups.json", "checkpoints", "computed",
    "inputs", "erased.json",
)  # fmt: skip
"""What a home folder may have although nothing was ever made in it, or what can be made again."""
YOURS = ("project/characters/", "service/")
"""Parts of which a file of another content is not replaced without a word."""
CONFIGURATION = "project/.dvc/config"
"""Comes with the repository; of the backup's it is taken where there is none."""
DATABASES = ("mlflow", "dagster")
FEW = 3


@dataclass
class RestoredBackup:
    """What came of it."""

    manifest: Manifest
    replaced: str = ""
    """Where what was there before lies now; empty where nothing was."""
    erased_again: list[str] = field(default_factory=list)
    """Erasures of after the backup, in words."""
    missing: dict[str, str] = field(default_factory=dict)
    """What the project did not have any more when the backup was made: versions by md5, and registered models."""
    problems: list[str] = field(default_factory=list)
    """What could not be brought back, and what to do about it."""

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        own = {name: value for name, value in vars(self).items() if name != "manifest"}
        return {"backup": self.manifest.summary(), **own}


def restore(
    backup: Path,
    settings: Settings,
    service: ServiceSettings,
    replace_it: bool = False,
    more_erasures: Sequence[Path] = (),
    progress: OnStep = silent,
) -> RestoredBackup:
    """Bring a backup back into the project of these settings, which must be empty unless `replace_it`, and see whether
    all that registered models need is there; what was gone before is no problem of the backup's.

    more_erasures: `erasures.json` of newer backups, or these backups. Raises BackupError, DatabaseError,
    AlreadyRunning, OSError.
    """
    backup = backup.expanduser().absolute()
    manifest = Manifest.read(backup)
    _require_usable(manifest, settings)
    _require_idle(settings)
    erasures = _later_erasures(backup, settings, manifest, more_erasures)
    where = places(settings, service)
    found = _what_is_there(backup, manifest, settings, where)
    if found and not replace_it:
        raise BackupError(
            f"the project in {settings.root} is not empty ({a_few(found, FEW)}): restore into a fresh one, or add "
            f"--replace, which moves what is there to {settings.home}/{ASIDE}…"
        )
    _verify(backup, manifest, progress)
    result = RestoredBackup(manifest, erased_again=[str(entry) for entry in erasures])
    with keeping_files(settings):
        if DUMP in manifest.files:
            progress("database", 0, 0)
            snapshots.load_postgresql(settings.database, backup / DUMP, manifest.versions["pg_dump"], replace_it)
        aside = settings.home / f"{ASIDE}{erasure_log.now().replace(':', '')}" if found else None
        _place(backup, manifest, settings, where, Gone.of(erasures), aside, progress)
        result.replaced = str(aside) if aside and aside.exists() else ""
    with open_instance(settings) as instance:
        instance.wipe_daemon_heartbeats()  # the daemon of then is not there to go on with its runs
        with only_runner(settings, instance, moved=True):
            result.problems = _erase_again(settings, instance, erasures, progress)
            gone = _bring_up_to_date(settings, ErasureLog(instance).erased(), result, progress)
        ErasureLog(instance).copy_to(settings.home)
    backup_log.remember(settings.home, backup)
    _sort_out(settings, result, gone)
    return result


def _later_erasures(backup: Path, settings: Settings, manifest: Manifest, more: Iterable[Path]) -> list[Erasure]:
    """Those that the backup was told of after it was made, oldest first. Raises LikenessError."""
    files = [backup / backup_log.ERASURES, *(path / backup_log.ERASURES if path.is_dir() else path for path in more)]
    if not files[0].is_file():
        raise BackupError(f"{files[0]} is gone, which says what was forgotten since: take that of a newer backup")
    if missing := [file for file in files if not file.is_file()]:
        raise BackupError(f"{missing[0]} is not there: give --erasures a newer backup, or its {backup_log.ERASURES}")
    found = [entry for file in files for entry in erasure_log.read_entries(file)]
    if (settings.dagster_home / "dagster.yaml").exists():
        with open_instance(settings) as instance:  # of a project that is replaced
            found += ErasureLog(instance).entries()
    return [entry for entry in backup_log.joined(found) if entry.id not in manifest.erased]


def _require_usable(manifest: Manifest, settings: Settings) -> None:
    """Raises BackupError where the code or the settings of this machine do not fit."""
    own = program_versions()
    for name, version in manifest.versions.items():
        if name in own and Version(version) > Version(own[name]):
            raise BackupError(
                f"the backup was written with {name} {version}, and {own[name]} is installed, which cannot read what a "
                f"newer one wrote: install the requirements.lock of commit {manifest.commit} or of a later one"
            )
    here = "postgresql" if settings.database else "sqlite"
    if manifest.database != here:
        remedy = "unset LIKENESS_DATABASE" if settings.database else "set LIKENESS_DATABASE to an empty database"
        raise BackupError(f"the backup is of a project in {manifest.database}, this one is to be in {here}: {remedy}")
    if manifest.left_to_remote and manifest.remote != settings.remote:
        raise BackupError(
            f"{manifest.left_to_remote} objects are not in the backup, because {manifest.remote} had them, and the "
            f"remote of this machine is {settings.remote}: set LIKENESS_DVC_REMOTE to {manifest.remote}, or to where "
            "that lies now"
        )


def _require_idle(settings: Settings) -> None:
    if running := addresses.running(settings):
        raise BackupError(f"`likeness start` runs for {settings.home} (process {running.get('pid')}): stop it first")
    if is_locked(lock_file(settings)):
        raise BackupError(f"a `likeness run` is at work in {settings.root}: wait for it, or stop it")


def _what_is_there(backup: Path, manifest: Manifest, settings: Settings, where: Mapping[str, Path]) -> list[str]:
    """Names of what a restore would replace. Files that are the same as the backup's are none, nor is what a clone of
    the repository brings.
    """
    found = [path.name for path in _own(settings.home)]
    if settings.database:
        found += sorted(snapshots.tables(settings.database))
    wanted = {place_of(name, where) for name in manifest.files}
    for folder in (settings.data, settings.root / "artifacts"):
        files = (path for path in folder.rglob("*") if path.is_file())
        others = (path for path in files if path not in wanted and path.suffix != ".dvc" and path.name[0] != ".")
        found += [str(path.relative_to(settings.root)) for path in others]
    for name, entry in manifest.files.items():
        place = place_of(name, where) if name.startswith(YOURS) else None
        if place is not None and place.is_file() and digest(place, lambda size: None) != entry.sha256:
            found.append(name.partition("/")[2])
    return found


def _own(home: Path) -> list[Path]:
    """What belongs to a project, of what lies in a home folder."""
    found = sorted(home.glob("[!.]*")) if home.is_dir() else []
    found = [path for path in found if path.name not in NO_PROJECT and not path.name.startswith(ASIDE)]
    return [path for path in found if (_has_records(path) if path.name == "dagster" else _has_files(path))]


def _has_files(path: Path) -> bool:
    return path.is_file() or any(inside.is_file() for inside in path.rglob("*"))


def _has_records(dagster_home: Path) -> bool:
    """Whether SQLite has records of any version: commands make its tables as soon as they look."""
    import sqlite3
    from contextlib import closing

    index = dagster_home / "history" / "runs" / "index.db"
    if not index.is_file():
        return False
    try:
        with closing(sqlite3.connect(index)) as database:
            return bool(database.execute("select 1 from asset_event_tags limit 1").fetchall())
    except sqlite3.Error:
        return True


def _verify(backup: Path, manifest: Manifest, progress: OnStep) -> None:
    """Raises BackupError where one file is not what it was."""
    done = 0

    def read(size: int) -> None:
        nonlocal done
        done += size
        progress("megabytes verified", done // 10**6, manifest.bytes // 10**6)

    if damage := list(manifest.damage(backup, read)):
        raise BackupError(f"{backup} is damaged: {a_few(damage, FEW)}; nothing was restored: take another backup")


def _place(
    backup: Path,
    manifest: Manifest,
    settings: Settings,
    where: Mapping[str, Path],
    gone: Gone,
    aside: Path | None,
    progress: OnStep,
) -> None:
    """Copy every file to where it belongs, but for what was erased since. What is there goes to `aside`, or is deleted
    where that is None, because it is what the backup has.
    """
    wanted = {
        name: place
        for name in manifest.files
        if (place := place_of(name, where)) is not None and not gone.has(name, backup)
    }
    wanted = {name: place for name, place in wanted.items() if name != CONFIGURATION or not place.exists()}
    containers = _containers(settings, wanted.values())
    halves = {container: beside(container / "restored") for container in containers}
    done = 0
    try:
        for name, place in wanted.items():
            container = _container(containers, place)
            copy = halves[container] / place.relative_to(container)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(backup / name, copy)
            about = manifest.files[name]
            copy.chmod(about.mode)
            os.utime(copy, ns=(about.modified, about.modified))
            done += about.bytes
            progress("megabytes restored", done // 10**6, manifest.bytes // 10**6)
        for container in (each for each in containers if halves[each].is_dir()):
            if container == settings.home:
                _swap(halves[container], container, _own(container), aside)
            elif container == settings.data:
                _swap(halves[container], container, [*container.glob("[!.]*")], aside)
            else:
                _merge(halves[container], container, aside)
    finally:
        for half in halves.values():
            shutil.rmtree(half, ignore_errors=True)


def _containers(settings: Settings, wanted: Iterable[Path]) -> list[Path]:
    """Folders in which files change places, the home folder last. A container may be a volume of its own, which cannot
    be renamed; what lies in it can.
    """
    known = [settings.data, settings.characters, settings.root / "artifacts", settings.root, settings.home]
    outside = {place.parent for place in wanted if not any(place.is_relative_to(folder) for folder in known)}
    return [*sorted(outside), *known]


def _container(containers: Sequence[Path], place: Path) -> Path:
    """The innermost one that holds a place."""
    return max((each for each in containers if place.is_relative_to(each)), key=lambda each: len(each.parts))


def _swap(half: Path, container: Path, old: Sequence[Path], aside: Path | None) -> None:
    """What was restored takes the place of all that was there; the databases come last."""
    new = sorted(half.iterdir(), key=lambda path: (path.name in DATABASES, path.name))
    for path in sorted({*old, *(container / path.name for path in new)}):
        _remove(path, aside, container)
    for path in new:
        path.rename(container / path.name)


def _merge(half: Path, container: Path, aside: Path | None) -> None:
    """What was restored takes the place of files of the same names; others stay."""
    for path in sorted(path for path in half.rglob("*") if path.is_file()):
        place = container / path.relative_to(half)
        _remove(place, aside, container)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)


def _remove(path: Path, aside: Path | None, container: Path) -> None:
    if aside is None or not (path.exists() and _has_files(path)):
        delete(path)
        return
    target = aside / container.name / path.relative_to(container)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, target)


@dataclass(frozen=True)
class Gone:
    """What later erasures took, as it is called in a backup."""

    objects: frozenset[str]
    photos: Mapping[str, frozenset[str]]
    """md5s by path below data/photos."""

    @classmethod
    def of(cls, erasures: Sequence[Erasure]) -> Gone:
        md5s = {md5 for entry in erasures for md5 in entry.erased}
        photos: dict[str, frozenset[str]] = {}
        for entry in erasures:
            for path, md5 in entry.photos.items():
                photos[path] = photos.get(path, frozenset()) | {md5}
        return cls(frozenset(map(object_name, md5s)), photos)

    def has(self, name: str, backup: Path) -> bool:
        path = name.removeprefix(f"project/data/{SOURCE}/")
        return name in self.objects or (path in self.photos and file_digest(backup / name, "md5") in self.photos[path])


def _erase_again(
    settings: Settings, instance: dg.DagsterInstance, erasures: Sequence[Erasure], progress: OnStep
) -> list[str]:
    """Finish each erasure on the restored project, as one that was begun and interrupted; those that could not be."""
    store, log, problems = Store.of(settings), ErasureLog(instance), []
    for entry in erasures:
        log.write(replace(entry, done=False))
        if entry.players or entry.characters:
            erase_corrections.erase_again(settings, instance, entry)
            continue
        index = PhotoIndex(settings, store, VersionIndex(instance), log)
        try:
            plan = EraseSearch(index, progress).plan(index.of_md5s(entry.photos.values()))
            Eraser(instance, index).erase(plan, entry.why, progress)
        except LikenessError as error:
            problems.append(f"{entry.names} could not be erased again: {error}; then call `likeness forget` for it")
    return problems


def _bring_up_to_date(
    settings: Settings, erased: Collection[str], result: RestoredBackup, progress: OnStep
) -> dict[str, str]:
    """Working copies of the newest versions, and the project's own remote. Why which versions (md5) cannot be had.

    erased: md5 of each file that was forgotten. What had one of them is made anew by the next run.
    """
    store, gone = Store.of(settings), {}
    pointers = {name: md5 for name, md5 in pointed(settings.root).items() if name.startswith("artifacts/")}
    for number, (name, md5) in enumerate(pointers.items()):
        progress("working copies", number, len(pointers))
        try:
            if set(store.listing(md5).values()).isdisjoint(erased):
                store.export(md5, settings.root / name)
        except (StoreError, RemoteDown) as error:
            gone[md5] = f"{name}: {error}"
    if is_own_remote(settings):
        try:
            lost = store.push(progress=progress).lost
            result.problems += [f"{oid}: {why}" for oid, why in lost.items() if not result.manifest.lacked("", [oid])]
        except RemoteDown as error:
            result.problems.append(str(error))
    return gone


def _sort_out(settings: Settings, result: RestoredBackup, gone: Mapping[str, str]) -> None:
    """Note what is not to be had, of the newest versions (`gone`) and of registered models: what the project did not
    have when the backup was made is no problem of the backup's.
    """
    store, models = Store.of(settings), {}
    with suppress(OutOfDate, RegistryError):  # the command, which asks again, says so
        gone = {**registered_data.examine(settings).lost, **gone}
        models = registered_data.lost_packages(settings)
    told = {md5: (why, result.manifest.lacked(md5, _absent(store, md5))) for md5, why in gone.items()}
    told |= {model: (f"{model}: {why}", result.manifest.lacked_model(model)) for model, why in models.items()}
    known = result.manifest.missing or {}
    result.missing = {name: known.get(name, why) for name, (why, lacked) in told.items() if lacked}
    result.problems += [why for why, lacked in told.values() if not lacked]


def _absent(store: Store, md5: str) -> list[str]:
    """Objects of a version that are not in the cache."""
    try:
        tree = store.listing(md5)
    except (StoreError, RemoteDown):
        return [md5]
    with store.opened() as remote:
        return [oid for oid in tree.values() if not remote.repo.cache.local.exists(oid)]
