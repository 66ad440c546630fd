"""What is known is not made again: going back, changes that a stage does not read, and results that do not count."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import runner
from orchestration.storage.erasure_log import Erasure, ErasureLog, now
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking
from orchestration.storage.versions import Version, latest
from stages.data.reads import Files
from tests.orchestration.conftest import Concatenate, stage

pytestmark = pytest.mark.slow

NEW, ALL = "data/photos/new.txt", ["portraits", "faces", "model", "pairs/embedded", "encoder/embedded"]


class Model(Concatenate):
    """Reads a part of the faces: their first photo."""

    READS: Mapping[str, Any] = {"faces": Files(("first.txt",))}

    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        self.runs += 1
        self.act(out, context)
        (out / "content.txt").write_text(f"{config.text} {(inputs['faces'] / 'first.txt').read_text()}")
        return {"loss": 0.25}


class Faces(Concatenate):
    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        (out / "first.txt").write_text((inputs["photos"] / "someone" / "content.txt").read_text())
        return super().run(inputs, config, out, context)


@pytest.fixture
def stages() -> tuple[Stage, ...]:
    def own(name: str, kind: type[Concatenate], *inputs: str) -> Stage:
        return Stage(name, "data", ("dvc",), name, module=kind(name, inputs))

    return (
        stage("portraits", ("embedded", "character")),
        own("faces", Faces, "photos", "portraits"),
        own("model", Model, "faces"),
        stage("pairs", ("embedded", "character"), by_character=True),
        stage("encoder", ("faces", "model", "pairs"), by_character=True),
    )


class Project:
    def __init__(self, settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> None:
        self.settings, self.instance, self.stages = settings, instance, stages
        self.lines: list[str] = []

    def run(self, **options: Any) -> runner.Outcome:
        self.lines.clear()
        return runner.run(
            self.settings, self.instance, self.stages, Progress(self.lines.append, every=0), "embedded", **options
        )

    def write(self, path: str, text: str) -> None:
        (self.settings.root / path).write_text(text)

    def version(self, asset: str, character: str | None = None) -> Version:
        found = latest(self.instance, asset, character)
        assert found is not None
        return found

    def runs(self) -> dict[str, int]:
        return {one.name: one.module.runs for one in self.stages}

    def store(self) -> Store:
        return Store.of(self.settings)


@pytest.fixture
def project(settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> Project:
    return Project(settings, instance, stages)


def test_what_a_stage_does_not_read_makes_it_not_again(project: Project) -> None:
    assert project.run().made == ALL
    before = project.version("model")
    project.write(NEW, "a photo that only scores")
    outcome = project.run()
    assert (outcome.made, outcome.reused) == (["faces", "encoder/embedded"], ["model"])
    assert outcome.fresh == ["portraits", "pairs/embedded"]
    after = project.version("model")
    assert after.md5 == before.md5 and after.run_id != before.run_id
    assert project.runs()["model"] == 1
    assert project.run().fresh == ALL


def test_what_a_stage_reads_makes_it_again(project: Project) -> None:
    project.run()
    project.write("data/photos/someone/content.txt", "another first photo")
    outcome = project.run()
    assert (outcome.made, outcome.reused) == (["faces", "model", "encoder/embedded"], [])


def test_going_back_to_known_inputs_takes_their_known_results(project: Project) -> None:
    project.run()
    before = {name: project.version(name).md5 for name in ("faces", "model")}
    project.write("data/photos/someone/content.txt", "another first photo")
    project.run()
    project.write("data/photos/someone/content.txt", "data/photos/someone")
    outcome = project.run()
    assert (outcome.made, outcome.reused) == ([], ["faces", "model", "encoder/embedded"])
    assert {name: project.version(name).md5 for name in before} == before
    folder = project.settings.root / "artifacts" / "faces"
    assert project.store().md5(folder) == before["faces"], "the working copy is that version too"
    assert project.run().fresh == ALL


def test_going_back_in_the_configuration_too(project: Project) -> None:
    project.run()
    profile = Path(project.settings.profile)
    profile.write_text("pairs: {text: b}\n")
    assert project.run().made == ["pairs/embedded", "encoder/embedded"]
    profile.write_text("{}\n")
    assert project.run().reused == ["pairs/embedded", "encoder/embedded"]


def test_other_code_knows_nothing(project: Project) -> None:
    project.run()
    project.stages[2].module.VERSION = "2"
    assert project.run().made == ["model"]


def test_force_makes_what_is_known(project: Project) -> None:
    project.run()
    assert project.run(only="model", force=True).made == ["model"]
    assert project.runs()["model"] == 2


def test_what_is_said_of_a_known_result_is_true(project: Project) -> None:
    project.run()
    first, faces = project.version("model"), project.version("faces").md5
    project.write(NEW, "a photo")
    project.run()
    (line,) = [line for line in project.lines if "model" in line and "run" in line]
    assert f"faces changed, but nothing that it reads of it: taken from run {first.run_id[:8]} of 20" in line
    second = project.version("model")
    assert second.metadata["inputs"]["faces"] == second.lineage["faces"] == project.version("faces").md5 != faces
    assert second.lineage["photos"] == project.version("photos").md5
    assert second.metadata["reused"]["run"] == first.run_id and second.metadata["reused"]["inputs"] == {"faces": faces}
    assert second.metadata["loss"] == 0.25, "its figures come along"


def test_the_first_run_is_named_however_often_its_result_is_taken(project: Project) -> None:
    project.run()
    first = project.version("model")
    for text in ("a photo", "another photo"):
        project.write(NEW, text)
        project.run()
    assert project.version("model").metadata["reused"]["run"] == first.run_id


def test_a_known_result_is_no_new_run_in_mlflow(project: Project) -> None:
    project.run()
    project.write(NEW, "a photo")
    project.run()
    client = Tracking.of(project.settings).client()
    model = project.version("model")
    tracked = client.get_run(model.metadata["mlflow_run_id"])
    assert tracked.data.tags["dagster.run_id"] == model.metadata["reused"]["run"]
    names = [run.data.tags["asset"] for run in client.search_runs([tracked.info.experiment_id])]
    assert names.count("model") == 1 and names.count("faces") == 2


def _erase(project: Project, md5: str) -> None:
    entry = Erasure("1", {}, {}, "tester", now(), "", erased=dict.fromkeys(project.store().listing(md5).values(), "x"))
    ErasureLog(project.instance).write(entry)


def _damage(project: Project, md5: str) -> None:
    """The other file has the bytes of a photo, which must stay."""
    oid = project.store().listing(md5)["content.txt"]
    for place in ("cache", "remote"):
        for path in (project.settings.home / place).rglob(f"{oid[:2]}/{oid[2:]}"):
            path.chmod(0o644)
            path.write_text("damaged")
            path.chmod(0o444)


def _lose(project: Project, md5: str) -> None:
    project.store().remove(set(project.store().listing(md5).values()))


@pytest.mark.parametrize("spoil", [_erase, _damage, _lose])
def test_a_result_that_was_erased_damaged_or_lost_is_made_again(project: Project, spoil: Any) -> None:
    project.run()
    md5 = project.version("faces").md5
    project.write("data/photos/someone/content.txt", "another first photo")
    project.run()
    spoil(project, md5)
    project.write("data/photos/someone/content.txt", "data/photos/someone")
    outcome = project.run()
    assert outcome.made[0] == "faces" and "faces" not in outcome.reused
    assert project.version("faces").md5 == md5


def test_what_another_machine_made_is_taken_from_the_remote(project: Project) -> None:
    project.run()
    project.write("data/photos/someone/content.txt", "another first photo")
    project.run()
    for folder in ("cache", "inputs"):
        shutil.rmtree(project.settings.home / folder)
    project.write("data/photos/someone/content.txt", "data/photos/someone")
    assert project.run().reused == ["faces", "model", "encoder/embedded"]


def test_what_nobody_noted_is_made_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.pipeline.run_cache.remember", lambda *about: None)
    project.run()
    monkeypatch.undo()
    project.write(NEW, "a photo")
    assert project.run().made == ["faces", "model", "encoder/embedded"]


def test_a_character_that_is_changed_while_it_is_read_is_read_again(project: Project) -> None:
    texts = iter(("while it is read", "while it is read"))

    def change(out: Path, context: Any) -> None:
        project.write("characters/embedded/content.txt", next(texts))
        (context.checkpoints / "step").write_text("100")

    project.stages[3].module.act = change
    assert project.run(only="pairs").made == ["pairs/embedded"]
    made, character = project.version("pairs", "embedded"), project.version("characters", "embedded")
    assert project.runs()["pairs"] == 2 and made.lineage["character"] == character.md5
    assert "while it is read" in (project.store().fetch(made.md5) / "content.txt").read_text()
    assert project.run(only="pairs").fresh == ["pairs/embedded"]


def test_a_character_that_never_stays_as_it_is_stops_the_run(project: Project) -> None:
    texts = map(str, range(9))
    project.stages[3].module.act = lambda out, context: project.write("characters/embedded/x.txt", next(texts))
    with pytest.raises(runner.StageFailed, match="was changed while pairs/embedded was made from it"):
        project.run(only="pairs")


def test_what_is_not_read_of_a_character_may_change_meanwhile(project: Project) -> None:
    pairs = project.stages[3].module
    pairs.READS = {"character": Files(("content.txt",))}  # pyright: ignore[reportAttributeAccessIssue]
    pairs.act = lambda out, context: project.write("characters/embedded/x.txt", str(pairs.runs))
    assert project.run(only="pairs").made == ["pairs/embedded"] and pairs.runs == 1


def test_checkpoints_stay_until_the_result_is_noted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []

    def train(out: Path, context: Any) -> None:
        found.append((context.checkpoints / "step").exists())
        (context.checkpoints / "step").write_text("100")

    def fails(*about: Any) -> None:
        raise ValueError("the record cannot be written")

    project.stages[0].module.act = train
    monkeypatch.setattr("orchestration.pipeline.run_cache.remember", fails)
    with pytest.raises(runner.StageFailed, match="cannot be written"):
        project.run(only="portraits")
    monkeypatch.undo()
    assert project.run(only="portraits").made == ["portraits"]
    assert found == [False, True], "it goes on from them"
    assert not list(project.settings.checkpoints.rglob("step")), "they were removed once it was noted"
