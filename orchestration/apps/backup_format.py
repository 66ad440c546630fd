"""What a backup is: a folder of plain files, and `manifest.json`, which names each with its sha256.

| in the backup | what |
|---|---|
| `manifest.json` | when, by whom, versions of the programs, and every other file with its size and sha256 |
| `project/` | data/, characters/, DVC's pointers and configuration |
| `home/` | Dagster's storage and dagster.yaml, MLflow's files, characters and keys of the service |
| `databases/` | MLflow's SQLite file, or `postgresql.dump` |
| `objects/` | DVC's cache, by md5 |
| `service/` | keys and characters that LIKENESS_SERVE_KEYS and LIKENESS_SERVE_STORE have elsewhere |
| `erasures.json` | what was forgotten, before and after: the one file that changes |
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from engine.errors import LikenessError
from orchestration.config.files import write_whole
from orchestration.config.settings import Settings
from orchestration.storage.mlflow_files import SQLITE
from orchestration.storage.mlflow_files import path_of as folder_of
from serving.configuration import ServiceSettings

MANIFEST, FORMAT = "manifest.json", 2
"""2: `missing`."""
DUMP = "databases/postgresql.dump"
MLFLOW_DATABASE = "databases/mlflow.db"
PROGRAMS = ("dagster", "mlflow", "dvc")
"""Packages that migrate what they wrote to a newer version, and never to an older one."""
BLOCK = 1 << 20
OnBytes = Callable[[int], None]
"""Told how many bytes more are done."""


class BackupError(LikenessError):
    """A backup cannot be made, or not be restored; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """One file of a backup."""

    sha256: str
    bytes: int
    mode: int = 0o644
    """Permissions."""
    modified: int = 0
    """Nanoseconds since 1970: the service and `clean` go by it."""


@dataclass
class Manifest:
    """What a backup says of itself."""

    when: str
    who: str
    commit: str
    database: Literal["sqlite", "postgresql"]
    mlflow: bool
    """Whether MLflow's database and files are in it."""
    remote: str
    """The DVC remote of then."""
    left_to_remote: int = 0
    """Objects that are not in it, because that remote had them."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the programs whose databases are in it."""
    erased: list[str] = field(default_factory=list)
    """Ids of the erasures that were carried out before it was made."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Files that could not be copied as they are, and why."""
    missing: dict[str, str] | None = None
    """What the project itself did not have any more, neither here nor in its remote: versions by md5, and registered
    models, as `likeness-embedded/1`, that MLflow had lost; in words. None: nobody looked, as before format 2.
    """
    files: dict[str, Entry] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(entry.bytes for entry in self.files.values())

    def summary(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        return {**asdict(self), "files": len(self.files), "bytes": self.bytes}

    def write(self, folder: Path) -> None:
        """Into the folder of the backup."""
        write_whole(folder / MANIFEST, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises BackupError where the folder holds no backup that this code can read."""
        file = folder / MANIFEST
        try:
            content = json.loads(file.read_text())
            if content["format"] > FORMAT:
                raise BackupError(f"{folder} was written by a newer likeness: restore it with that or a newer one")
            content["files"] = {name: Entry(**about) for name, about in content["files"].items()}
            return cls(**content)
        except FileNotFoundError as error:
            raise BackupError(
                f"{folder} is no backup, it has no {MANIFEST}: give what `likeness backup` wrote"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackupError(f"{file} cannot be read ({error}): the backup is damaged, take another one") from error

    def lacked(self, name: str, objects: Iterable[str]) -> bool:
        """Whether a version (md5) was gone before the backup was made.

        objects: md5s of what cannot be had of it now. They tell it where nobody looked then, and of what was damaged.
        """
        names = {object_name(oid) for oid in objects}
        has_none = bool(names) and names.isdisjoint(self.files)
        return name in (self.missing or {}) or (has_none and (not self.left_to_remote or names <= self.left_out.keys()))

    def lacked_model(self, name: str) -> bool:
        """Whether MLflow had lost something of a registered model by then: all that it had is in the backup."""
        return self.mlflow if self.missing is None else name in self.missing

    def damage(self, folder: Path, progress: OnBytes) -> Iterator[str]:
        """What of the backup is missing or is not as it was written, file by file."""
        for name, entry in self.files.items():
            path = folder / name
            if not _is_inside(name):
                yield f"{name} leads out of the backup"
            elif not path.is_file():
                yield f"{name} is missing"
            elif digest(path, progress) != entry.sha256:
                yield f"{name} is not what it was"


def object_name(oid: str) -> str:
    """Where in a backup an object of DVC's lies."""
    return f"objects/{oid[:2]}/{oid[2:]}"


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def digest(path: Path, progress: OnBytes) -> str:
    """sha256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
            progress(len(block))
    return found.hexdigest()


def places(settings: Settings, service: ServiceSettings) -> dict[str, Path]:
    """Where on this machine each part of a backup belongs, by the beginning of its files' names; the longest counts."""
    found = {"project": settings.root, "home": settings.home, "objects": settings.home / "cache" / "files" / "md5"}
    if database := sqlite_file(settings):
        found[MLFLOW_DATABASE] = database
    if service.keys:
        found["service/keys"] = service.keys
    if service.store:
        found["service/characters"] = service.store
    return found


def place_of(name: str, where: Mapping[str, Path]) -> Path | None:
    """Where a file of a backup belongs; None where the settings of this machine name no place for it."""
    parts = PurePosixPath(name).parts
    for length in range(len(parts), 0, -1):
        if place := where.get("/".join(parts[:length])):
            return place.joinpath(*parts[length:])
    return None


def sqlite_file(settings: Settings) -> Path | None:
    """MLflow's database, where it is a file of this machine's."""
    uri = settings.tracking_uri
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def is_own_remote(settings: Settings) -> bool:
    """Whether the DVC remote is a folder of the project itself, which is lost with it."""
    folder = folder_of(settings.remote) or (None if "://" in settings.remote else Path(settings.remote).absolute())
    return folder is not None and any(folder.is_relative_to(own) for own in (settings.root, settings.home))


def program_versions() -> dict[str, str]:
    """Of the packages whose databases a backup holds."""
    return {name: importlib.metadata.version(name) for name in PROGRAMS}
