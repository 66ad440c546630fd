"""Where a result that was taken from the run cache came from, whose photos it stands for, and whose it cannot show."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.lineage.erase_search import EraseSearch
from orchestration.lineage.photo_index import PhotoIndex
from orchestration.lineage.photo_trace import CHOSEN, SCORED, UNUSED, PhotoTrace, trace
from orchestration.pipeline.runner import Outcome, run
from orchestration.storage.erasure_log import ErasureLog
from orchestration.storage.instance import open_instance
from orchestration.storage.store import Store
from orchestration.storage.version_index import VersionIndex
from stages.data.reads import Files, Rows
from tests.orchestration.conftest import make_project
from tests.orchestration.faces import PeopleProject

pytestmark = pytest.mark.slow

TRAINED_ON = Rows("faces.parquet", ("split", "image"), ("train",))
READS: dict[str, dict[str, Any]] = {
    "identity_model": {"aligned_faces": TRAINED_ON},
    "encoder": {"aligned_faces": TRAINED_ON, "identity_model": Files(("model.safetensors",))},
    "production_encoder": {"scorecard": Files(())},
}


class Reusing(PeopleProject):
    """Models learn from the portraits, and the photos only score."""

    first_faces: str
    outcome: Outcome

    def go(self) -> Outcome:
        return run(self.settings, self.instance, self.stages, Progress(lambda line: None), "embedded")

    def photo_index(self) -> PhotoIndex:
        return PhotoIndex(
            self.settings, Store.of(self.settings), VersionIndex(self.instance), ErasureLog(self.instance)
        )

    def trace(self, photo: str) -> PhotoTrace:
        return trace(self.photo_index(), self.photo_index().find(photo))


@pytest.fixture(scope="module")
def reusing(tmp_path_factory: pytest.TempPathFactory, empty_stores: Path) -> Iterator[Reusing]:
    """Version 1 in production; then a photo came that only scores, and the models were taken over."""
    settings: Settings = make_project(tmp_path_factory.mktemp("reusing"), "embedded")
    shutil.copytree(empty_stores, settings.home)
    with open_instance(settings) as instance:
        project = Reusing(settings, instance)
        for stage in project.stages:
            if stage.name in READS:
                stage.module.READS = READS[stage.name]
        project.go()
        project.register("production")
        project.first_faces = project.md5("aligned_faces")
        project.add_photo("cid/new")
        project.outcome = project.go()
        yield project


def nodes(project: PeopleProject, target: str) -> dict[str, dict]:
    return {node["asset"]: node for node in json.loads(project("lineage", target, "--json"))["nodes"]}


def test_a_photo_that_only_scores_trains_nothing_and_is_scored(reusing: Reusing) -> None:
    assert reusing.outcome.reused == ["identity_model", "encoder/embedded", "production_encoder/embedded"]
    assert reusing.outcome.made == ["aligned_faces", "scorecard/embedded"]


def test_lineage_says_what_a_version_was_made_of_and_what_gave_the_same(reusing: Reusing) -> None:
    newest = reusing.md5("aligned_faces")
    for target in ("production", reusing.md5("identity_model")):
        model = nodes(reusing, target)["identity_model"]
        assert model["inputs"]["aligned_faces"] == reusing.first_faces and model["reused"] is None
        assert model["same_of"] == [{"aligned_faces": newest}]
        assert f"the same came of aligned_faces {newest[:12]}" in " ".join(reusing("lineage", target).split())


def test_lineage_of_what_was_made_beside_a_known_result_says_who_made_that(reusing: Reusing) -> None:
    model = nodes(reusing, reusing.md5("scorecard"))["identity_model"]
    assert model["inputs"]["aligned_faces"] == reusing.md5("aligned_faces")
    assert model["reused"]["inputs"]["aligned_faces"] == reusing.first_faces
    assert model["dagster_run"] != model["reused"]["run"]


def test_a_model_that_was_scored_on_a_photo_since_is_known_to_be(reusing: Reusing) -> None:
    (use,) = reusing.trace("cid/new.jpg").uses
    assert use.how == SCORED and not use.retrain
    assert UNUSED not in {use.how for use in reusing.trace("ann/one.jpg").uses}


def test_test_people_chose_the_weights_of_older_models(reusing: Reusing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.identity_model.CHOSEN_BY_TEST_PEOPLE", ("3",))
    (use,) = reusing.trace("ann/one.jpg").uses
    assert use.how == CHOSEN and use.retrain


def test_what_was_made_before_a_photo_came_cannot_show_it(reusing: Reusing) -> None:
    photo_index = reusing.photo_index()
    plan = EraseSearch(photo_index).plan(photo_index.find("cid/new.jpg"))
    shown = {version.asset for version in plan.trace.showing}
    assert shown == {"aligned_faces", "scorecard"}
    assert not {*photo_index.store.listing(reusing.md5("identity_model")).values()} & {*plan.objects}
    older = EraseSearch(photo_index).plan(photo_index.find("ann/one.jpg"))
    assert "identity_model" in {version.asset for version in older.trace.showing}
