"""Versions to promote: registered with given figures, or made by the pipeline, and the command that promotes them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from engine.schema import SCHEMA_FILE
from orchestration.cli.main import app
from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import production_encoder, runner
from orchestration.promotion import packaging
from orchestration.registry.registered_models import Registry
from orchestration.storage import versions
from orchestration.storage.tracking import Tracking
from tests.orchestration.conftest import Concatenate

NAMES = packaging.NETWORKS


def figures(similarity: float, recovery: float = 0.3) -> dict[str, Any]:
    """Sections with two scores."""
    ends = 0.01
    return {
        "recovery": {"visible": score(recovery, 0.0, ends)},
        "likeness": {"similarity": score(similarity, 0.5, ends)},
    }


def score(value: float, baseline: float | None, ends: float) -> dict[str, Any]:
    return {"value": value, "baseline": baseline, "bound": None, "ci": [value - ends, value + ends], "n": 100}


def beside(ours: float, theirs: float, **more: Any) -> dict[str, Any]:
    """A candidate's sections, and production's from the same run."""
    difference = {"value": round(ours - theirs, 5), "ci": [ours - theirs - 0.001, ours - theirs + 0.001], "n": 100}
    same = {"value": 0.0, "ci": [0.0, 0.0], "n": 100}
    differences = {"likeness.similarity": difference, "recovery.visible": same}
    return figures(ours) | {"production": {**figures(theirs), "differences": differences, **more}}


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry(Tracking.of(settings), "embedded")


@pytest.fixture
def registered(registry: Registry) -> Callable[..., str]:
    """Registers a version with these figures; its md5 is its own number."""
    client = MlflowClient(registry.tracking.uri, registry.tracking.uri)
    client.create_registered_model(registry.name)

    def register(card: Mapping[str, Any]) -> str:
        with registry.tracking.run("production_encoder", {}) as run:
            run.document(card, "scorecard.json")
        version = client.create_model_version(registry.name, "file:///nowhere", run.run_id)
        client.set_model_version_tag(registry.name, str(version.version), "md5", f"{version.version}.dir")
        return str(version.version)

    return register


@pytest.fixture
def likeness(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("LIKENESS_ROOT", str(settings.root))
    monkeypatch.setenv("LIKENESS_PROFILE", settings.profile)
    monkeypatch.setenv("LIKENESS_USER", "anna")
    return lambda *arguments: CliRunner().invoke(app, arguments)


class Scored(Concatenate):
    """A scorecard of figures that the test gives."""

    def __init__(self) -> None:
        super().__init__("scorecard", ("embedded", "character", *NAMES))
        self.similarity, self.rival = 0.8, 0.8
        self.given: Path | None = None

    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        self.given = inputs.get("production")
        card = beside(self.similarity, self.rival) if self.given else figures(self.similarity) | {"production": None}
        (out / "scorecard.json").write_text(json.dumps(card))
        return {}


class Pipeline:
    """The end of the graph: networks that are a few bytes, a scorecard as the test wants it, and the real gate."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        (settings.data / "embedded" / "landmarks").mkdir(exist_ok=True)
        (settings.data / "embedded" / "landmarks" / "face_landmarker.task").write_text("landmarks")
        assert (settings.characters / "embedded" / SCHEMA_FILE).is_file()
        self.settings, self.instance, self.scorecard = settings, instance, Scored()
        self.registry = Registry(Tracking.of(settings), "embedded")
        self.stages = (
            *(self._network(name) for name in NAMES),
            Stage("scorecard", "evaluation", ("dvc",), "", by_character=True, compares=True, module=self.scorecard),
            production_encoder.STAGE,
        )

    def _network(self, name: str) -> Stage:
        module = Concatenate(name, ("embedded", "character"))

        def write(out: Path, context: Any) -> None:
            text = yaml.safe_load(Path(self.settings.profile).read_text()).get(name, {}).get("text", "a")
            (out / "model.safetensors").write_text(f"{name} {text}")
            (out / "meta.json").write_text("{}")

        module.act = write
        return Stage(name, "models", ("dvc",), "", by_character=True, module=module)

    def __call__(self, encoder: str = "a", force: str = "", **gate: Any) -> runner.Outcome:
        """`likeness run`, with an encoder of this name."""
        # Networks of a few bytes have no metrics to be judged by.
        checks = {"metrics": dict.fromkeys(NAMES)}
        profile = {"encoder": {"text": encoder}, "production_encoder": gate, "checks": checks}
        Path(self.settings.profile).write_text(yaml.safe_dump(profile))
        progress = Progress(lambda line: None)
        return runner.run(
            self.settings, self.instance, self.stages, progress, "embedded", force or None, bool(force)
        )  # fmt: skip

    def metadata(self, asset: str) -> Mapping[str, Any]:
        version = versions.latest(self.instance, asset, "embedded")
        assert version is not None
        return version.metadata


@pytest.fixture
def new(settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Of which nothing was made yet."""
    monkeypatch.setenv("LIKENESS_USER", "anna")
    return Pipeline(settings, instance)
