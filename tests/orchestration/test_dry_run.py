"""`likeness run --dry-run` says what a run would make and why, and makes and records nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from typer.testing import CliRunner

from engine.errors import LikenessError
from orchestration.cli.main import app
from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import plan, runner
from orchestration.pipeline.plan import DEPENDS, MAKE, NOT_REACHED, NOTHING, STOP, TAKE_OVER, Step
from orchestration.storage.tracking import Tracking
from stages.data.reads import Appearance
from tests.orchestration.conftest import make_project

pytestmark = pytest.mark.slow

ALL = ["portraits", "faces", "pairs/embedded", "encoder/embedded"]


class Project:
    """`likeness run`, before and after."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> None:
        self.settings, self.instance, self.stages = settings, instance, stages
        # As the real stages that draw: words for people do not matter to them.
        for name in ("portraits", "pairs"):
            self.module(name).READS = {"character": Appearance()}

    def module(self, name: str) -> Any:
        return next(stage.module for stage in self.stages if stage.name == name)

    def run(self, **options: Any) -> runner.Outcome:
        progress = Progress(lambda line: None)
        return runner.run(self.settings, self.instance, self.stages, progress, "embedded", **options)

    def plan(self, **options: Any) -> plan.Plan:
        return plan.plan(self.settings, self.instance, self.stages, "embedded", **options)

    def steps(self, **options: Any) -> dict[str, Step]:
        return {step.asset: step for step in self.plan(**options).steps}

    def actions(self, **options: Any) -> list[str]:
        return [step.action for step in self.plan(**options).steps]

    def write(self, path: str, text: str) -> None:
        (self.settings.root / path).write_text(text)

    def configure(self, **stages: Any) -> None:
        Path(self.settings.profile).write_text(yaml.safe_dump(stages))

    def recorded(self) -> tuple[int, int, set[str]]:
        """Events of Dagster, runs of MLflow, and files of the project but for what remembers hashes."""
        events = self.instance.event_log_storage.get_maximum_record_id() or 0
        client = Tracking.of(self.settings).client()
        runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
        root, caches = self.settings.root, (".likeness/dvc", ".likeness/inputs", ".dvc/tmp")
        files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        return events, len(runs), {path for path in files if not path.startswith(caches)}


@pytest.fixture
def project(settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> Project:
    return Project(settings, instance, stages)


def test_what_was_never_made_would_be_made_and_nothing_is_recorded(project: Project) -> None:
    before = project.recorded()
    found = project.plan()
    assert [(step.action, step.why.split(";")[0]) for step in found.steps] == [(MAKE, "never made")] * 4
    assert [source.why for source in found.sources] == ["never seen before"] * len(found.sources)
    assert found.document()["cost"]["not_measured"] == ALL
    assert project.recorded() == before
    assert project.run().made == ALL and project.actions() == [NOTHING] * 4


def test_a_new_photo_is_told_with_what_follows_and_what_it_cost_last_time(project: Project) -> None:
    project.run()
    project.write("data/photos/new.txt", "a photo")
    before, found = project.recorded(), project.plan()
    assert project.recorded() == before
    assert {source.name: source.why for source in found.sources if source.changed} == {"photos": "new.txt new"}
    faces, encoder = found.steps[1], found.steps[3]
    assert [step.action for step in found.steps] == [NOTHING, MAKE, NOTHING, DEPENDS]
    assert faces.why == "photos changed" and faces.cost and faces.cost.seconds > 0
    assert encoder.why.startswith("faces first: nothing to do where what it reads of it comes out the same")
    costs = found.document()["cost"]
    assert 0 < costs["at_least"]["seconds"] < costs["at_most"]["seconds"] and costs["not_measured"] == []
    assert project.run().made == ["faces", "encoder/embedded"]


def test_words_for_people_change_nothing_that_is_drawn(project: Project) -> None:
    project.run()
    schema = project.settings.characters / "embedded" / "schema.yaml"
    schema.write_text(schema.read_text().replace("label: a}", "label: Another word}"))
    found = project.plan()
    assert {source.why for source in found.sources if source.changed} == {"schema.yaml changed: words only (label)"}
    assert [step.action for step in found.steps] == [TAKE_OVER, NOTHING, TAKE_OVER, MAKE]
    assert {found.steps[0].why, found.steps[2].why} == {"label in schema.yaml changed: words only, nothing to do"}
    assert found.steps[3].why == "character changed"
    outcome = project.run()
    assert (outcome.reused, outcome.made) == (["portraits", "pairs/embedded"], ["encoder/embedded"])


def test_going_back_is_taken_over(project: Project) -> None:
    project.run()
    project.configure(pairs={"text": "b"})
    steps = project.steps()
    assert (steps["pairs/embedded"].action, steps["encoder/embedded"].action) == (MAKE, DEPENDS)
    assert steps["pairs/embedded"].why == "configuration: text a became b"
    project.run()
    project.configure()
    assert project.actions() == [NOTHING, NOTHING, TAKE_OVER, TAKE_OVER]
    outcome = project.run()
    assert (outcome.made, outcome.reused) == ([], ["pairs/embedded", "encoder/embedded"])


def test_new_code_and_lost_files_are_reasons(project: Project) -> None:
    project.run()
    project.module("faces").VERSION = "2"
    assert project.steps()["faces"].why == "code version 1 became 2"
    project.run()
    for place in ("cache", "remote"):
        for path in (project.settings.home / place / "files" / "md5").rglob("*"):
            path.unlink() if path.is_file() else None
    assert "neither in the cache nor" in project.steps()["pairs/embedded"].why


def test_one_asset_alone_and_all_by_force(project: Project) -> None:
    assert project.steps(only="encoder")["encoder/embedded"].action == STOP
    project.run()
    project.write("data/photos/new.txt", "a photo")
    assert project.steps(only="encoder") == {"encoder/embedded": Step("encoder/embedded", NOTHING, "up to date")}
    assert project.actions(force=True) == [MAKE] * 4
    with pytest.raises(LikenessError, match="no asset is called encode"):
        project.plan(only="encode")


def test_a_version_that_a_check_bars_ends_the_plan_as_it_ends_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run()

    class Barred:
        blocks = True

        def __str__(self) -> str:
            return "faces failed its check metrics: worse"

    newest = plan.results.newest
    monkeypatch.setattr(plan.results, "newest", lambda of, ref: [Barred()] if ref.name == "faces" else newest(of, ref))
    assert project.actions() == [NOTHING, STOP, NOT_REACHED, NOT_REACHED]


@pytest.fixture
def likeness(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("LIKENESS_DEVICE", "cpu")
    return lambda *arguments: CliRunner().invoke(app, ["run", "--dry-run", *arguments])


def test_the_command_on_a_project_that_has_nothing_begins_nothing(
    tmp_path: Path, likeness: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path, "embedded")
    monkeypatch.setenv("LIKENESS_ROOT", str(tmp_path))
    monkeypatch.setenv("LIKENESS_PROFILE", "smoke")
    done = likeness("--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert {asset["action"] for asset in document["assets"]} == {MAKE}
    assert document["profile"] == {"now": "smoke", "until_now": None}
    assert not (tmp_path / ".likeness" / "dagster").exists() and not (tmp_path / "artifacts").exists()
    assert "nothing was made" in likeness().stdout
    assert "no asset is called nothing" in likeness("--only", "nothing").stderr
