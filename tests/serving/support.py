"""Releases for the service: untrained networks, packed and saved as the registry would have them."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from orchestration.apps.service import ENGINE
from orchestration.config.settings import Settings
from orchestration.promotion import packaging
from orchestration.registry.registered_models import Registry
from orchestration.storage.tracking import Tracking
from serving.dependencies import Paths
from serving.releases import NothingReleased, Release, ReleaseBroken, SourceDown
from serving.workers.refiner import RefinerConfig
from stages.data.inputs import package_folder
from tests.untrained import networks

EMBEDDED = packaging.REPOSITORY / "characters" / "embedded"
ASSETS = packaging.REPOSITORY / "data" / "embedded"
PHOTOS = packaging.REPOSITORY / "examples" / "photos"
OBAMA = PHOTOS / "obama" / "obama.jpg"
WARMING = (320, 320)
"""Height and width of the picture that a worker reads before the first request."""
DEADLY = (13, 13)
FAILING = (17, 17)
"""Height and width of a picture over which the code of `deadly` ends its process, and of one over which it raises."""


def astronaut() -> bytes:
    return (package_folder("skimage") / "data" / "astronaut.png").read_bytes()


def save(folder: Path, weights: Mapping[str, Path] | None = None, code: Path = packaging.CODE) -> Path:
    """A release as MLflow saves it."""
    import mlflow.pyfunc

    packed = folder / "packed"
    packed.mkdir(parents=True)
    packaging.pack(weights or networks(folder / "networks", EMBEDDED), packed, code)
    (package,) = (packed / "code").iterdir()
    mlflow.pyfunc.save_model(
        folder / "saved",
        python_model=str(packed / "loader.py"),
        code_paths=[str(package)],
        artifacts={"model": str(packed / "model")},
        pip_requirements=[],
    )
    return folder / "saved"


def otherwise(folder: Path) -> Mapping[str, Path]:
    """Untrained networks whose encoder answers otherwise than that of `networks`."""
    found = networks(folder, EMBEDDED)
    path = found["encoder"] / "model.safetensors"
    weights = load_file(path)
    noise = torch.Generator().manual_seed(1)
    shaken = {
        name: weight + torch.randn(weight.shape, generator=noise) if weight.is_floating_point() else weight
        for name, weight in weights.items()
    }
    save_file(shaken, path)
    return found


def odd(folder: Path, statement: str) -> Path:
    """A version of models/ that first does this over every picture but the one that warms it."""
    return changed(folder, f"        if image.shape[:2] != {WARMING}:\n            {statement}\n")


def registered(home: Path, versions: int) -> Registry:
    """The registry of a home folder, with so many versions, the first in production."""
    registry = Registry(Tracking.of(Settings(home=home)), "embedded")
    weights = networks(home / "networks", EMBEDDED)
    for number in range(versions):
        packed = home / f"packed-{number}"
        packed.mkdir()
        packaging.pack(weights, packed)
        with registry.tracking.run("production_encoder", {}) as tracked:
            packaging.log_model(registry.tracking, tracked.run_id, packed, registry.name)
    registry.alias_store.promote("1", "test", "the first")
    return registry


def deadly(folder: Path) -> Path:
    """A version of models/ that ends its process over a picture of the size DEADLY, and fails over one of FAILING."""
    dies = f"        if image.shape[:2] == {DEADLY}:\n            import os\n\n            os._exit(1)\n"
    fails = f"        if image.shape[:2] == {FAILING}:\n            raise KeyError('nobody foresaw this')\n"
    return changed(folder, dies + fails)


def changed(folder: Path, before_reading: str) -> Path:
    """A version of models/ with these lines before it looks for a face in `image`."""
    shutil.copytree(packaging.CODE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    predictor = folder / "predictor.py"
    text, before = predictor.read_text(), "    def _locate(self, image: NDArray) -> _Located | NoFace:\n"
    assert before in text
    predictor.write_text(text.replace(before, before + before_reading))
    return folder


def release(version: int = 1) -> Release:
    origin = {"model": "likeness-embedded", "version": version, "run": "0" * 32, "commit": None, "inputs": {}}
    return Release("likeness-embedded", version, origin)


@dataclass
class Shelf:
    """A `Source` of folders: what is in production is whatever the test says."""

    folders: dict[int, Path]
    version: int | None = 1
    up: bool = True
    fetched: list[int] = field(default_factory=list)

    def current(self) -> Release:
        if not self.up:
            raise SourceDown("no answer")
        if self.version is None:
            raise NothingReleased("no model is in production yet")
        return release(self.version)

    def last(self) -> Release | None:
        return release(self.fetched[-1]) if self.fetched else None

    def fetch(self, release: Release) -> Path:
        folder = self.folders[release.version]
        if not folder.is_dir():
            raise ReleaseBroken(f"there is no {folder.name}")
        self.fetched.append(release.version)
        return folder

    def hold(self, release: Release) -> bool:
        return self.folders[release.version].is_dir()


def paths(home: Path, character: Path = EMBEDDED) -> Paths:
    return Paths(character, ASSETS, home, ENGINE)


def refining(character: Path = EMBEDDED, seconds: float = 60.0) -> RefinerConfig:
    return RefinerConfig(engine=ENGINE, character=character, embedded=ASSETS, seconds=seconds)


async def until(true: Callable[[], Any], seconds: float = 240.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.05)


def run(test: Awaitable[None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(600):
            await test

    asyncio.run(main())
