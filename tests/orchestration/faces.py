"""A small graph of the real one's shape whose tables, sheets and pages hold the bytes of photos."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from PIL import Image, PngImagePlugin
from pydantic import BaseModel
from typer.testing import CliRunner

from orchestration.cli.main import app
from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import runner
from orchestration.registry.registered_models import Registry
from orchestration.storage.instance import open_instance
from orchestration.storage.tracking import Tracking
from orchestration.storage.versions import latest

ROWS = ("id", "source", "person", "split", "image")


class Faces:
    """aligned_faces: a row for each photo, a contact sheet that shows them all."""

    VERSION, INPUTS = "1", ("photos", "portraits")

    class Config(BaseModel, frozen=True, extra="forbid"):
        split: str = "test"
        official: bool = False
        refused: tuple[str, ...] = ()

    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        folder = inputs["photos"]
        photos = [path for path in sorted(folder.rglob("*.jpg")) if path.stem not in config.refused]
        rows = [("portraits/0", "portraits", "nobody", "train", b"a portrait")]
        for path in photos:
            inside = path.relative_to(folder)
            rows.append((f"photos/{inside.as_posix()}", "photos", inside.parts[0], config.split, path.read_bytes()))
        pq.write_table(
            pa.table({name: [row[at] for row in rows] for at, name in enumerate(ROWS)}), out / "faces.parquet"
        )
        pairs = pa.table({"source": ["photos"] if config.official else pa.array([], pa.string())})
        pq.write_table(pairs, out / "verification_pairs.parquet")
        picture(out / "photos.png", [row[-1] for row in rows[1:]])
        picture(out / "portraits.png", [b"a portrait"])
        return {"photos": float(len(photos))}


class Model:
    """A network: weights, figures, and a sheet of the faces that it was given."""

    VERSION = "3"
    """As the identity model's: of older ones test people chose the weights."""

    class Config(BaseModel, frozen=True, extra="forbid"):
        steps: int = 10

    def __init__(self, name: str, *inputs: str, page: bool = False) -> None:
        self.name, self.INPUTS, self.page = name, inputs, page
        self.act: Any = lambda: None
        self.pack: Any = lambda out: None

    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        self.act()
        files = [path for folder in inputs.values() for path in sorted(folder.rglob("*")) if path.is_file()]
        learnt = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        (out / "model.safetensors").write_text(f"weights {learnt}")
        images = []
        if "aligned_faces" in inputs:
            images = pq.read_table(inputs["aligned_faces"] / "faces.parquet")["image"].to_pylist()
            picture(out / "sheet.png", images[1:])
        (out / "meta.json").write_text(json.dumps({"model": self.name, "steps": config.steps}))
        if self.page:
            (out / "scorecard.html").write_bytes(b"<html>" + b"".join(images))
        self.pack(out)
        return {"loss": 0.5}


def copy_project(root: Path, new: Path) -> None:
    """Copy a project with its stores: MLflow alone writes down where it lies, and remembers it by a run's id."""
    shutil.copytree(root, new, dirs_exist_ok=True)
    _artifact_repos_cache.clear()
    with sqlite3.connect(new / ".likeness" / "mlflow" / "mlflow.db") as database:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("model_versions", "source"),
            ("model_versions", "storage_location"),
        ):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(root), str(new)))


@contextmanager
def opened_copy(root: Path, new: Path) -> Iterator[PeopleProject]:
    """A copy of a PeopleProject's folder, as a project of its own."""
    copy_project(root, new)
    settings = Settings(root=new, device="cpu", profile=str(new / "profile.yaml"))
    with open_instance(settings) as instance:
        yield PeopleProject(settings, instance)


def picture(path: Path, contents: list[bytes]) -> None:
    """A PNG in which these bytes can be found again."""
    about = PngImagePlugin.PngInfo()
    about.add_text("shown", b"".join(contents).decode("latin-1"))
    Image.new("RGB", (8, 8), (len(contents), 0, 0)).save(path, pnginfo=about)


def make_stages() -> tuple[Stage, ...]:
    def stage(name: str, group: str, *inputs: str, by_character: bool = False) -> Stage:
        module = Faces() if name == "aligned_faces" else Model(name, *inputs, page=name == "scorecard")
        return Stage(name, group, ("dvc",), name, by_character=by_character, module=module)

    return (
        stage("portraits", "data", "embedded", "character"),
        stage("aligned_faces", "data"),
        stage("identity_model", "models", "embedded", "aligned_faces"),
        stage("imitator", "models", "embedded", "character", by_character=True),
        stage("encoder", "models", "aligned_faces", "identity_model", "imitator", "character", by_character=True),
        stage("scorecard", "evaluation", "aligned_faces", "encoder", by_character=True),
        stage("production_encoder", "production", "encoder", "scorecard", by_character=True),
    )


class PeopleProject:
    """A project with people, a pipeline and a registry, and its command line."""

    said = ""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings, self.instance, self.stages = settings, instance, make_stages()
        self.configure()
        self.photos = settings.data / "photos"
        shutil.rmtree(self.photos / "someone", ignore_errors=True)
        for name in ("ann/one", "ann/two", "bob/one"):
            self.add_photo(name)

    def add_photo(self, name: str) -> bytes:
        path = self.photos / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.pixels(name))
        return path.read_bytes()

    @staticmethod
    def pixels(name: str) -> bytes:
        return f"<pixels of {name}>".encode()

    def configure(self, **stages: Mapping[str, Any]) -> None:
        # These models have no figures to be judged by.
        checks = {"metrics": {stage.name: None for stage in self.stages if stage.group == "models"}}
        Path(self.settings.profile).write_text(json.dumps({"checks": checks, **stages}))

    def packs(self, asset: str, pack: Any) -> None:
        """Let a model write more than weights: `pack` gets its folder."""
        (module,) = (stage.module for stage in self.stages if stage.name == asset)
        module.pack = pack  # pyright: ignore[reportOptionalMemberAccess,reportAttributeAccessIssue]

    def run(self, **options: Any) -> list[str]:
        progress = Progress(lambda line: None)
        return runner.run(self.settings, self.instance, self.stages, progress, "embedded", **options).made

    def md5(self, asset: str) -> str:
        by_character = next((stage.by_character for stage in self.stages if stage.name == asset), False)
        version = latest(self.instance, asset, "embedded" if by_character else None)
        assert version is not None
        return version.md5

    def register(self, *aliases: str) -> str:
        """A registered version of the newest encoder, with the tags that the pipeline gives it."""
        made = latest(self.instance, "production_encoder", "embedded")
        assert made is not None
        registry = Registry(Tracking.of(self.settings), "embedded")
        client = registry.client
        if not client.search_registered_models(f"name='{registry.name}'"):
            client.create_registered_model(registry.name)
        run = made.metadata["mlflow_run_id"]
        number = str(client.create_model_version(registry.name, f"runs:/{run}/encoder", run_id=run).version)
        tags = {"md5": made.md5, "git.commit": "abc", "dagster.run_id": made.run_id, "character": "embedded"}
        for name, value in (tags | {f"input.{asset}": md5 for asset, md5 in made.lineage.items()}).items():
            client.set_model_version_tag(registry.name, number, name, value)
        for alias in aliases:
            client.set_registered_model_alias(registry.name, alias, number)
        return number

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """stdout of `likeness ARGUMENTS`; what it says besides is in `self.said`."""
        environment = {
            "LIKENESS_ROOT": str(self.settings.root),
            "LIKENESS_PROFILE": self.settings.profile,
            "LIKENESS_DEVICE": "cpu",
        }
        done = CliRunner(env=environment).invoke(app, list(arguments))
        self.said = done.stderr
        assert done.exit_code == status, f"{arguments}: {done.output}\n{done.exception!r}"
        return done.stdout

    def where(self, content: bytes) -> list[str]:
        """Every file of the project that has these bytes in it."""
        root = self.settings.root
        files = (path for path in root.rglob("*") if path.is_file())
        return sorted(path.relative_to(root).as_posix() for path in files if content in path.read_bytes())
