"""A training that begins with the last version's weights says so, and everything that follows a photo knows it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import BaseModel

from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import runner
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking
from orchestration.storage.version_index import VersionIndex
from orchestration.storage.versions import CONTINUED, STARTED, Version, latest
from stages.data.reads import Files
from tests.orchestration.conftest import Concatenate, stage

pytestmark = pytest.mark.slow


class Encoder(Concatenate):
    """What it was given, and what the version that it began with was given."""

    READS: Mapping[str, Any] = {"character": Files(("schema.yaml",))}
    LEARNED_FROM = "faces"
    refusal = ""
    learned_from: tuple[str, ...] = ()

    class Config(BaseModel, frozen=True, extra="forbid"):
        start: str = "last"

    def why_not_start(self, inputs: Mapping[str, Path], config: Any) -> str:
        self.learned_from = tuple((inputs[name] / "content.txt").read_text() for name in ("start.faces", "faces"))
        return self.refusal

    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        self.runs += 1
        before = (inputs[CONTINUED] / "content.txt").read_text() if CONTINUED in inputs else "nothing"
        (out / "content.txt").write_text(f"{(inputs['faces'] / 'content.txt').read_text()} after ({before})")
        return {"loss": 0.25}


class Project:
    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings, self.instance, self.lines = settings, instance, list[str]()
        self.module = Encoder("encoder", ("faces", "character"))
        self.stages = (
            stage("faces", ("photos",)),
            Stage("encoder", "data", ("dvc",), "", by_character=True, continues=True, module=self.module),
            stage("scorecard", ("encoder",), by_character=True),
        )

    def run(self) -> Version:
        self.lines.clear()
        runner.run(self.settings, self.instance, self.stages, Progress(self.lines.append, every=0), "embedded")
        return self.version("encoder", "embedded")

    def with_photo(self, text: str) -> Version:
        (self.settings.data / "photos" / "someone" / "content.txt").write_text(text)
        return self.run()

    def version(self, asset: str, character: str | None = None) -> Version:
        found = latest(self.instance, asset, character)
        assert found is not None
        return found

    def content(self, version: Version) -> str:
        return (Store.of(self.settings).fetch(version.md5) / "content.txt").read_text()


@pytest.fixture
def project(settings: Settings, instance: dg.DagsterInstance) -> Project:
    return Project(settings, instance)


def test_the_last_version_is_an_input_that_is_recorded_and_followed(project: Project) -> None:
    first = project.run()
    assert first.metadata[STARTED] == "from nothing: there is no version yet" and CONTINUED not in first.lineage
    second = project.with_photo("second")
    third = project.with_photo("third")
    assert project.content(third) == f"{_faces('third')} after ({project.content(second)})"
    assert second.metadata["inputs"][CONTINUED] == second.lineage[CONTINUED] == first.md5
    assert third.metadata[STARTED].startswith(f"from version {second.md5[:12]} of ")
    assert any(f"begun from version {second.md5[:12]}" in line for line in project.lines)
    assert project.module.learned_from == (_faces("second"), _faces("third"))
    run = Tracking.of(project.settings).client().get_run(third.metadata["mlflow_run_id"])
    assert run.data.tags[STARTED] == third.metadata[STARTED]
    index = VersionIndex(project.instance)
    assert [one.md5 for one in index.started_from(third.lineage[CONTINUED])] == [second.md5, first.md5]
    made = {(one.asset, one.md5) for one in index.made_from([first.lineage["photos"]])}
    assert {("encoder", third.md5), ("scorecard", project.version("scorecard", "embedded").md5)} <= made


def test_data_that_were_trained_on_before_are_not_trained_on_again(project: Project) -> None:
    first, runs = project.run(), project.module.runs
    project.with_photo("second")
    again = project.with_photo(FIRST)
    assert again.md5 == first.md5 and project.module.runs == runs + 1


@pytest.mark.parametrize("change", ["code", "parameters", "network"])
def test_what_cannot_be_gone_on_from_is_not_and_it_is_said_why(project: Project, change: str) -> None:
    first = project.run()
    if change == "code":
        project.module.VERSION = "2"  # pyright: ignore[reportAttributeAccessIssue]
    elif change == "parameters":
        schema = project.settings.characters / "embedded" / "schema.yaml"
        schema.write_text(schema.read_text() + "\n# another slider\n")
    else:
        project.module.refusal = "its network is another one: hidden"
    version = project.with_photo("second")
    reasons = {"code": "of the stage's code", "parameters": "other parameters", "network": "another one: hidden"}
    assert version.metadata[STARTED].startswith(f"from nothing, not from {first.md5[:12]}")
    assert reasons[change] in version.metadata[STARTED]
    assert CONTINUED not in version.lineage and project.content(version).endswith("after (nothing)")


FIRST = "data/photos/someone"


def _faces(photo: str) -> str:
    return f"a+{photo}"
