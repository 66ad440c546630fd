"""A project whose version 1 was registered by the code of another day: tests/data/registered_2026_11."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock
from zipfile import ZipFile

import dagster as dg
import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow import MlflowClient
from pydantic import BaseModel

from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import production_encoder, runner
from orchestration.promotion import packaging
from orchestration.storage.store import Store
from stages import scorecard
from tests.models.support import LANDMARKER
from tests.stages import small_tables
from tests.untrained import networks

KEPT = Path(__file__).parents[1] / "data" / "registered_2026_11"
RECORDS = json.loads((KEPT / "registry.json").read_text())
ANSWERS = json.loads((KEPT / "answers.json").read_text())
"""What the version answered on the day that it was registered, by how it was asked."""
MODEL = RECORDS["model"]


def unpack(folder: Path) -> Path:
    """The version's folder as MLflow saved it. The landmark model, most of its bytes, comes from where it came from."""
    with ZipFile(KEPT / "package.zip") as archive:
        archive.extractall(folder)
    content = LANDMARKER.read_bytes()
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() == RECORDS["landmarker_md5"]
    (folder / "artifacts" / "model" / "face_landmarker.task").write_bytes(content)
    return folder


def register(settings: Settings, package: Path) -> None:
    """Version 1 in MLflow's own tables and files, with the run, the tags and the aliases that it was left with.

    By MLflow's client alone: what stands there is not what the code of today would write.
    """
    # The client asks the URI of the whole process where a logged model lies.
    mlflow.set_tracking_uri(settings.tracking_uri)
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    experiment = client.create_experiment(
        RECORDS["experiment"]["name"], settings.model_files.as_uri(), RECORDS["experiment"]["tags"]
    )
    run = client.create_run(experiment, tags=RECORDS["run"]["tags"], run_name=RECORDS["run"]["name"]).info.run_id
    client.log_dict(run, json.loads((package / "scorecard.json").read_text()), "scorecard.json")
    client.set_terminated(run)
    logged = client.create_logged_model(experiment, name="encoder", source_run_id=run)
    place = Path(logged.artifact_location.removeprefix("file://"))
    shutil.copytree(package, place, ignore=shutil.ignore_patterns("scorecard.json", "__pycache__"))
    client.finalize_logged_model(logged.model_id, "READY")
    client.create_registered_model(MODEL)
    version = client.create_model_version(MODEL, f"models:/{logged.model_id}", run, model_id=logged.model_id)
    for name, value in RECORDS["version"]["tags"].items():
        client.set_model_version_tag(MODEL, version.version, name, value)
    for alias in RECORDS["version"]["aliases"]:
        client.set_registered_model_alias(MODEL, alias, version.version)


def as_packed(package: Path, folder: Path) -> Path:
    """The same files as they lay before MLflow took them: what a comparison fetches from the store."""
    shutil.copytree(package / "artifacts" / "model", folder / "model")
    shutil.copytree(package / "code", folder / "code", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(package / "loader.py", folder / "loader.py")
    return folder


def store(settings: Settings, package: Path) -> str:
    """The md5 of the version's folder as it was packed, kept where its asset would be."""
    with Store.of(settings).writing("production_encoder", "embedded") as draft:
        as_packed(package, draft.folder)
    return draft.md5


def faces(folder: Path) -> None:
    small_tables.faces(folder)
    _say_test(folder / "faces.parquet", "train")


def pairs(folder: Path) -> None:
    small_tables.pairs(folder)
    _say_test(folder / "pairs.parquet", "val")


def _say_test(path: Path, split: str) -> None:
    """Call these rows of a table held out."""
    table = pq.read_table(path)
    held_out = pa.array(["test" if name == split else name for name in table["split"].to_pylist()])
    pq.write_table(table.set_column(table.schema.get_field_index("split"), "split", held_out), path)


class Nothing(BaseModel, frozen=True, extra="forbid"):
    """The configuration of a stage that has none."""


class Made:
    """A stage that writes what a function writes."""

    VERSION = "1"
    Config: type[BaseModel] = Nothing

    def __init__(self, write: Callable[[Path], Any], *inputs: str) -> None:
        self.write, self.INPUTS = write, inputs

    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        shutil.rmtree(out)
        self.write(out)
        return {}


class Scored(Made):
    """A scorecard on these tables: what it says is not asked, what it was made of is."""

    Config = scorecard.Config

    def __init__(self) -> None:
        super().__init__(
            self._no_figures, "embedded", "character", "aligned_faces", "rendered_pairs", *packaging.NETWORKS
        )

    @staticmethod
    def _no_figures(out: Path) -> None:
        out.mkdir()
        (out / "scorecard.json").write_text('{"production": null}')


def run(settings: Settings, instance: dg.DagsterInstance, untrained: Path) -> runner.Outcome:
    """`likeness run`: a new version by the code of today, of untrained networks, on tables of a few rows."""
    inputs = networks(untrained, settings.characters / "embedded")
    meta = inputs["identity_model"] / "meta.json"
    meta.write_text(json.dumps({"model": "faceres", "verification": {"steps_kept": 0, "steps_trained": 0}}))

    def network(name: str) -> Stage:
        module = Made(lambda out: shutil.copytree(inputs[name], out), "embedded", "character")
        return Stage(name, "models", ("dvc",), "", by_character=True, module=module)

    stages = (
        Stage("aligned_faces", "data", ("dvc",), "", module=Made(faces, "photos")),
        Stage("rendered_pairs", "data", ("dvc",), "", by_character=True, module=Made(pairs, "character")),
        *map(network, packaging.NETWORKS),
        Stage("scorecard", "evaluation", ("dvc",), "", by_character=True, compares=True, module=Scored()),
        production_encoder.STAGE,
    )
    with mock.patch.object(small_tables, "CHARACTER", settings.characters / "embedded"):
        return runner.run(settings, instance, stages, Progress(lambda line: None), "embedded")
