"""A version that the code of another day registered is loaded, served, compared and rolled back to by today's."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient
from mlflow import MlflowClient
from typer.testing import CliRunner

from engine.character_json import read_document
from engine.schema import Schema
from models.images import encode_png
from orchestration.cli.main import app
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.promotion import packaging
from orchestration.storage import mlflow_client
from orchestration.storage.instance import open_instance
from serving.app import build
from serving.configuration import ServiceSettings
from stages import scorecard
from stages.context import Context
from stages.evaluation import schema_mapping
from stages.evaluation.scores import scores
from stages.scorecard import appearance, imitator, likeness, recovery, verification
from tests.models.support import PHOTOS as ALL_PHOTOS
from tests.models.support import aligned_photos
from tests.orchestration import earlier_databases, registered_before
from tests.orchestration.conftest import make_project
from tests.orchestration.registered_before import ANSWERS, MODEL, RECORDS
from tests.orchestration.servers import free_port, running, wait_for
from tests.serving import support
from tests.stages import small_tables
from tests.untrained import networks

PHOTOS = REPOSITORY / "examples" / "photos"
OBAMA = PHOTOS / "obama" / "obama.jpg"
pytestmark = pytest.mark.slow
CLOSE = 2e-3
"""By how much an answer may differ from one machine to another."""


class Project:
    """A project with that version in production, and its command line."""

    def __init__(self, root: Path, package: Path) -> None:
        self.root, self.package = root, package

    def __call__(self, *arguments: str) -> Any:
        """What `likeness ARGUMENTS --json` says."""
        done = CliRunner(env=self.environment).invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, f"{arguments}: {done.output}\n{done.exception!r}"
        return json.loads(done.stdout)

    @property
    def environment(self) -> dict[str, str]:
        profile = str(self.root / "profile.yaml")
        return {"LIKENESS_ROOT": str(self.root), "LIKENESS_PROFILE": profile, "LIKENESS_DEVICE": "cpu"}

    @property
    def settings(self) -> Settings:
        return Settings(root=self.root, device="cpu", profile=str(self.root / "profile.yaml"))

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.settings.tracking_uri, self.settings.tracking_uri)

    def answers(self, out: Path, *options: str) -> dict[str, Any]:
        """The character of a photo by the version in production, as `likeness create` writes it."""
        photos = (
            [str(photo) for photo in sorted((PHOTOS / "macron").iterdir())] if "--person" in options else [str(OBAMA)]
        )
        (created,) = self("create", *photos, "--out", str(out), "--size", "64", *options)
        return read_document(Path(created["character"]))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return registered_before.unpack(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, empty_stores: Path, gathered: Path, package: Path) -> Project:
    """The version alone, as it was left."""
    root = tmp_path_factory.mktemp("project")
    settings = make_project(root, "embedded")
    shutil.copyfile(package / "artifacts" / "model" / "schema.yaml", settings.characters / "embedded" / "schema.yaml")
    shutil.rmtree(settings.data / "embedded")
    (settings.data / "embedded").symlink_to(gathered)
    shutil.copytree(empty_stores, settings.home)
    registered_before.register(settings, package)
    profile = {"scorecard": dict.fromkeys(("people", "judged", "validation", "photos", "pairs"), 2)}
    profile |= {"production_encoder": {"auto_promote": False}, "checks": {"metrics": dict.fromkeys(NETWORKS)}}
    (root / "profile.yaml").write_text(json.dumps(profile))
    return Project(root, package)


NETWORKS = packaging.NETWORKS


@pytest.fixture(scope="module")
def followed(made: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Beside it version 2, which the code of today made."""
    settings = made.settings
    registered_before.store(settings, made.package)
    with open_instance(settings) as instance:
        registered_before.run(settings, instance, tmp_path_factory.mktemp("untrained"))
    return made


def same(answer: dict[str, Any], then: dict[str, Any]) -> None:
    """A character is the one of that day, up to rounding."""
    assert answer["parameters"] == pytest.approx(then["parameters"], abs=CLOSE)
    assert list(answer["discrete"]) == list(then["discrete"])
    for group, choice in then["discrete"].items():
        assert answer["discrete"][group]["choice"] == choice["choice"]
        assert answer["discrete"][group]["probabilities"] == pytest.approx(choice["probabilities"], abs=CLOSE)


def test_it_is_loaded_and_answers_what_it_answered_then(made: Project, tmp_path: Path) -> None:
    document, then = made.answers(tmp_path), ANSWERS["photo"]
    same(document, then)
    assert (
        document["photo"].keys() == then["photo"].keys() | {"precision"}
        and document["schema_md5"] == then["schema_md5"]
    )
    assert document["photo"]["box"] == pytest.approx(then["photo"]["box"], abs=1)
    assert document["photo"]["warnings"] == then["photo"]["warnings"]
    origin = {name: value for name, value in then["provenance"].items() if name != "run"}
    assert {name: value for name, value in document["provenance"].items() if name != "run"} == origin


def test_it_reads_several_photos_of_one_person(made: Project, tmp_path: Path) -> None:
    document, then = made.answers(tmp_path, "--person", "macron"), ANSWERS["person"]
    same(document, then)
    assert [photo["sha256"] for photo in document["photos"]] == [photo["sha256"] for photo in then["photos"]]


def test_it_searches_on_from_its_answer(made: Project, tmp_path: Path) -> None:
    refinement, then = made.answers(tmp_path, "--refine", "2")["refinement"], ANSWERS["refined"]["refinement"]
    assert (refinement["steps"], refinement["drawn_by"]) == (2, "engine")
    for term in ("identity", "content"):
        assert refinement[term] == pytest.approx(then[term], abs=0.02)


def test_mlflow_loads_it_without_our_commands(made: Project) -> None:
    mlflow.set_tracking_uri(made.settings.tracking_uri)
    mlflow.set_registry_uri(made.settings.tracking_uri)
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@production")
    (answer,) = model.predict(pd.DataFrame({"photo": [OBAMA.read_bytes()]}))
    same(answer, ANSWERS["photo"])


def test_its_records_are_read(made: Project) -> None:
    version = made("models", "1")
    assert (version["version"], version["rejected"]) == (1, False)
    assert version["aliases"] == RECORDS["version"]["aliases"] and version["tags"] == RECORDS["version"]["tags"]
    assert version["moves"] == RECORDS["version"]["moves"] and version["figures"] == RECORDS["version"]["figures"]


def test_a_worker_of_the_service_reads_photos_with_it(package: Path, tmp_path: Path) -> None:
    """The service with the real worker process, given the folder as MLflow fetches it."""
    service = ServiceSettings(workers=1)
    with TestClient(build(service, support.Shelf({1: package}), support.paths(tmp_path)), "http://127.0.0.1") as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.1)
        answer = client.post("/v1/characters", files={"photo": OBAMA.read_bytes()})
        assert answer.status_code == 201, answer.text
        saved = ANSWERS["photo"]
        schema = Schema.load(support.paths(tmp_path).character)
        parameters, discrete = schema.completed(saved["parameters"], saved["discrete"])
        same(answer.json(), {**saved, "parameters": parameters, "discrete": discrete})
        nobody = client.post("/v1/characters", files={"photo": encode_png(np.full((64, 64, 3), 90, np.uint8))})
        assert nobody.json()["type"] == "/problems/no-face"


def test_its_files_have_the_md5_that_its_tags_say(made: Project) -> None:
    assert registered_before.store(made.settings, made.package) == RECORDS["version"]["tags"]["md5"]


def test_its_networks_are_scored_by_their_own_code(package: Path, tmp_path: Path) -> None:
    """What the scorecard asks of them, beside the networks of today in one process."""
    folder = registered_before.as_packed(package, tmp_path / "packed")
    schema, crop = Schema.load(folder / "model"), aligned_photos()[ALL_PHOTOS.index(OBAMA)]
    its = schema_mapping.networks(folder, schema, "cpu")
    with torch.no_grad():
        faces = torch.from_numpy(crop[None]).permute(0, 3, 1, 2).float() / 255
        x = its.encoder.read(its.identity, faces)
        same(schema.to_document(x[0].numpy()), ANSWERS["photo"])
        assert torch.equal(its.encoder(its.encoder.look(its.identity, faces)[1]), x)
        assert its.imitator(x).shape[2:] == (its.imitator.size, its.imitator.size)
        assert its.parser(faces).argmax(1).shape == (1, 32, 32)
    assert not type(its.encoder).__module__.startswith("models."), "its own code, not today's"


def test_it_is_scored_on_a_character_with_sliders_that_came_later(
    package: Path, gathered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every section that asks for parameters; its imitator at those alone that it has learned."""
    sections = (recovery, verification, likeness, appearance, imitator)
    monkeypatch.setattr(scorecard, "COMPARED", sections)
    inputs = {"embedded": gathered, "character": small_tables.CHARACTER}
    for name, write in (("aligned_faces", registered_before.faces), ("rendered_pairs", registered_before.pairs)):
        inputs[name] = tmp_path / name
        write(inputs[name])
    old, new = registered_before.as_packed(package, tmp_path / "old"), tmp_path / "new"
    new.mkdir()
    packaging.pack(networks(tmp_path / "untrained", small_tables.CHARACTER), new, packaging.CODE)
    config = scorecard.Config(people=2, judged=2, validation=2, photos=2, pairs=2)
    theirs = scorecard.compare(inputs, config, new, old, Context("cpu"))["production"]
    refused = {path for path, score in scores(theirs) if "cannot be scored" in score.get("reason", "")}
    assert refused == {f"imitator.{name}" for name in ("l1", "psnr", "psnr_head", "ssim", "identity")}
    reason = "this version cannot be scored: its imitator was trained before there were hair_lightness, hair_warmth, "
    assert theirs["imitator"]["l1"]["reason"].startswith(reason)
    assert {path.split(".")[0] for path in theirs["differences"]} == {section.__name__ for section in sections}


@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_it_is_compared_with_a_new_version_and_rolled_back_to(followed: Project, tmp_path: Path) -> None:
    earlier_databases.take_back(followed.settings)
    mlflow_client._make_tables.cache_clear()
    assert followed("upgrade") == {"dagster": True, "mlflow": True}
    same(followed.answers(tmp_path / "before"), ANSWERS["photo"])
    promoted = followed("promote", "2", "--compare", "--force", "--why", "to see")
    assert (promoted["version"], promoted["record"]["from"]) == (2, "1")
    theirs = compared(followed, "2")
    assert (theirs["version"], theirs["md5"]) == (1, RECORDS["version"]["tags"]["md5"])
    assert "cannot be scored" not in json.dumps(theirs), "each section was scored by the version's own code"
    assert {score.split(".")[0] for score in theirs["differences"]} >= {"recovery", "likeness", "imitator", "parsing"}
    new = followed.answers(tmp_path / "new")
    assert new["provenance"]["version"] == 2 and new["parameters"] != ANSWERS["photo"]["parameters"]
    back = followed("rollback", "--why", "seen")
    assert (back["left"], back["now"]) == (2, 1)
    same(followed.answers(tmp_path / "after"), ANSWERS["photo"])
    newest, oldest = followed("models")
    assert newest["rejected"] and oldest["aliases"] == ["production"]


def compared(project: Project, version: str) -> dict[str, Any]:
    """What the comparison with the version in production found out about that one."""
    run = project.client.get_model_version(MODEL, version).run_id
    uri = project.client.get_run(str(run)).info.artifact_uri
    return mlflow.artifacts.load_dict(f"{uri}/comparison.json")["production"]


@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_the_service_follows_from_it_to_a_new_version_and_back(followed: Project) -> None:
    port, log = free_port(), followed.root / "serve.log"
    environment = {**followed.environment, "LIKENESS_SERVE_FOLLOW": "0.5", "LIKENESS_SERVE_WORKERS": "1"}
    command = [sys.executable, "-m", "orchestration.cli", "serve", "--port", str(port)]
    with running(command, log, environment, cwd=REPOSITORY) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/healthz", process, log)

        def answered_by(version: int) -> dict[str, Any]:
            deadline = time.monotonic() + 600
            while time.monotonic() < deadline:
                assert process.poll() is None, log.read_text()[-4000:]
                answer = httpx.post(f"{url}/v1/characters", files={"photo": OBAMA.read_bytes()}, timeout=300)
                if answer.status_code == 201 and answer.json()["provenance"]["version"] == version:
                    return answer.json()
                time.sleep(0.5)
            raise AssertionError(f"version {version} does not answer:\n{log.read_text()[-4000:]}")

        same(answered_by(1), ANSWERS["photo"])
        followed("promote", "2", "--force", "--why", "to see it followed")
        answered_by(2)
        followed("rollback", "--why", "seen")
        same(answered_by(1), ANSWERS["photo"])
