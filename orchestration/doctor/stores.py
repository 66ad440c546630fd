"""Disk, permissions, locks that nobody holds any more, and the DVC remote."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from engine.words import a_few
from orchestration.config.files import is_locked
from orchestration.config.settings import Settings
from orchestration.doctor.diagnosis import Diagnosis

NEEDS = {"smoke": 1.0, "quickstart": 4.0, "paper": 200.0}
"""GB that a first run of a profile writes under the home folder and the project."""
FEW = 4
"""Names in a line."""
OTHER_PROFILE, REMOTE_SHARE, TEMPORARY = 4.0, 0.5, 0.5


def disk(settings: Settings) -> Iterator[Diagnosis]:
    """Free bytes against what the profile needs, once for each file system."""
    need = NEEDS.get(settings.profile, OTHER_PROFILE)
    wanted = [("project", settings.root, need / 2), ("home", settings.home, need)]
    wanted.append(("temporary files", Path(tempfile.gettempdir()), TEMPORARY))
    if "://" not in settings.remote:
        wanted.append(("DVC remote", Path(settings.remote), need * REMOTE_SHARE))
    by_system: dict[int, list[tuple[str, Path, float]]] = {}
    for name, path, gigabytes in wanted:
        there = _existing(path)
        by_system.setdefault(there.stat().st_dev, []).append((name, there, gigabytes))
    for places in by_system.values():
        total, free = sum(gigabytes for *_, gigabytes in places), shutil.disk_usage(places[0][1]).free / 1e9
        names = ", ".join(name for name, *_ in places)
        detail = f"{free:.1f} GB free for {names}; {settings.profile} wants {total:.1f} GB"
        remedy = "free some (`likeness clean`), or move stores with LIKENESS_HOME and LIKENESS_DVC_REMOTE"
        yield Diagnosis.of(f"disk of {places[0][1]}", free >= total, detail, remedy)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return path if path.exists() else _existing(path.parent)


def permissions(settings: Settings) -> Iterator[Diagnosis]:
    """Whether this user, and nobody else, may write to the home folder."""
    home = _existing(settings.home)
    probe = home / f".likeness-doctor-{uuid.uuid4().hex}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield Diagnosis.error("permissions", f"{home}: {error.strerror}", "own it (chown), or set LIKENESS_HOME")
        return
    if others := _others_files(settings.home):
        detail = f"{len(others)} entries belong to another user, among them {others[0]}"
        yield Diagnosis.warning("permissions", detail, f"chown -R {os.getuid()}:{os.getgid()} {settings.home}")
    elif home == settings.home and (anyones := _anyones(home)):
        yield Diagnosis.warning("permissions", f"anyone may write to {anyones[0]}", f"chmod -R o-w {home}")
    else:
        yield Diagnosis.ok("permissions", f"{home} can be written")
    mask = _umask()
    if mask & 0o700:
        yield Diagnosis.error("umask", f"{mask:03o} takes rights from the owner of new files", "umask 022")


def _others_files(home: Path) -> list[Path]:
    """Entries of the home folder, two levels deep, that this user does not own."""
    entries = [*home.glob("*"), *home.glob("*/*")]
    return [path for path in entries if path.lstat().st_uid != os.getuid()]


def _anyones(home: Path) -> list[Path]:
    """Folders and files of the home folder, two levels deep, that every user of the machine may write."""
    entries = [home, *home.glob("*"), *home.glob("*/*")]
    return [path for path in entries if not path.is_symlink() and path.stat().st_mode & 0o002]


def _umask() -> int:
    """Without changing it, as os.umask would for a moment, in all threads."""
    for line in Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else ():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0


def locks(settings: Settings) -> Iterator[Diagnosis]:
    """Who is at work, and what dead processes left locked."""
    if is_locked(settings.home / "run.lock"):
        yield Diagnosis.ok("run.lock", "a `likeness run` is at work")
    rwlock = settings.root / ".dvc" / "tmp" / "rwlock"
    if dead := [pid for pid in _holders(rwlock) if not Path(f"/proc/{pid}").exists()]:
        detail = f"{rwlock} is held by process {', '.join(map(str, dead))}, which ended"
        yield Diagnosis.warning("DVC lock", detail, f"rm {rwlock}")
    else:
        yield Diagnosis.ok("locks", "none that a dead process left")


def _holders(rwlock: Path) -> list[int]:
    """Process numbers in DVC's file of read and write locks."""
    try:
        content = json.loads(rwlock.read_text() or "{}")
    except (FileNotFoundError, ValueError):
        return []
    entries = [lock for by_kind in content.values() for lock in [by_kind.get("write"), *by_kind.get("read", [])]]
    return sorted({int(entry["pid"]) for entry in entries if entry})


def registered(settings: Settings) -> Iterator[Diagnosis]:
    """Whether the files of registered models, and of what those in use were made from, are still to be had."""
    from orchestration.lineage import registered_data
    from orchestration.storage.store import RemoteDown
    from orchestration.storage.store_errors import SEEK

    try:
        found = registered_data.examine(settings)
    except RemoteDown:
        return  # the check of the remote says so
    if not found.models:
        return
    name = "registered data"
    lost, damaged, lacking = (list(each.values()) for each in (found.lost, found.damaged, found.lacking))
    if lost:
        detail = f"files are nowhere any more of {a_few(lost, FEW)}"
        yield Diagnosis.error(name, detail, f"{SEEK}; `likeness restore` names the files")
    if damaged:
        yield Diagnosis.warning(name, f"damaged in the remote: {a_few(damaged, FEW)}", "likeness push --check")
    if lacking:
        yield Diagnosis.warning(name, f"not whole in the remote: {a_few(lacking, FEW)}", "likeness push")
    if not (lost or damaged or lacking):
        detail = f"{found.fine} versions that {found.models} registered models need are kept"
        yield Diagnosis.ok(name, detail)


def dvc(settings: Settings) -> Iterator[Diagnosis]:
    """Whether DVC's own command line would use the same cache and remote."""
    from orchestration.storage.dvc_config import differences, to_write

    if not (settings.root / ".dvc").is_dir():
        return
    if wrong := differences(settings):
        told = [f"its {name} is {own or 'not set'}, likeness uses {wanted}" for name, (own, wanted) in wrong.items()]
        written = wrong.keys() == to_write(settings).keys()
        by_hand = "set LIKENESS_DVC_REMOTE or LIKENESS_HOME, or remove it from .dvc/config.local"
        remedy = "`likeness push` writes .dvc/config.local" if written else by_hand
        yield Diagnosis.warning("dvc command", "; ".join(told), remedy)
    else:
        yield Diagnosis.ok("dvc command", "means the same cache and remote")


def remote(settings: Settings) -> Iterator[Diagnosis]:
    """Whether the DVC remote takes, gives and deletes a file."""
    from orchestration.storage.store import RemoteDown, Store

    if not (settings.root / ".dvc").is_dir():
        yield Diagnosis.error("DVC", f"{settings.root} is no DVC repository", "git checkout .dvc, or dvc init --no-scm")
        return
    if "://" not in settings.remote and not Path(settings.remote).exists():
        writable = os.access(_existing(Path(settings.remote)), os.W_OK)
        detail = f"{settings.remote}: the first run makes it" if writable else f"{settings.remote} cannot be made"
        yield Diagnosis.of("DVC remote", writable, detail, "set LIKENESS_DVC_REMOTE to a folder that can be written")
        return
    try:
        Store.of(settings).probe()
    except (RemoteDown, OSError) as error:
        yield Diagnosis.error("DVC remote", str(error), "start it, or correct LIKENESS_DVC_REMOTE and its credentials")
    else:
        yield Diagnosis.ok("DVC remote", f"{settings.remote}: wrote, read and deleted a probe")
