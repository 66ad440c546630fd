"""A retraining is one thing: its runs, its versions and its model have one id, and it says what it changed."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import Result

from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.lineage import retraining_diff, retrainings
from orchestration.lineage.retrainings import DONE, FAILED, RUNNING, Retraining, UnknownRetraining
from orchestration.lineage.table_rows import RowChanges, compare
from orchestration.pipeline import retraining, runner, sensors
from orchestration.pipeline.definitions import build
from orchestration.storage.dagster_internals import ROOT_RUN_ID_TAG, TICK_ID_TAG
from orchestration.storage.instance import AUTOMATION_TAG, RETRAINING_TAG
from orchestration.storage.project import Project
from orchestration.storage.tracking import Tracking
from orchestration.storage.version_index import VersionIndex
from orchestration.storage.versions import latest
from tests.orchestration.promoting import Pipeline, likeness, new

__all__ = ["likeness", "new"]


class Studio:
    """A project, `likeness run` on it, and runs as Dagster's daemon launches them."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> None:
        self.settings, self.instance, self.stages = settings, instance, stages
        self.project = Project.of(settings, instance, stages)

    def run(self, **options: Any) -> runner.Outcome:
        progress = Progress(lambda line: None)
        return runner.run(self.settings, self.instance, self.stages, progress, "embedded", **options)

    def stage(self, name: str) -> Any:
        return next(stage.module for stage in self.stages if stage.name == name)

    def daemon(self, asset: str, partition: str | None = None, **tags: str) -> str:
        """A run of one asset by automation; its id."""
        definitions = build(self.settings, self.stages, Progress(lambda line: None))
        done = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[dg.AssetKey(asset)], partition_key=partition, instance=self.instance,
            run_config=runner.QUIET, raise_on_error=False,
            tags={AUTOMATION_TAG: "true", "dagster/sensor_name": "retrain", **tags},
        )  # fmt: skip
        return done.run_id

    def look(self) -> str:
        """A run of the job that looks at the sources; its id."""
        definitions = build(self.settings, self.stages, Progress(lambda line: None))
        job = definitions.resolve_job_def(sensors.JOB)
        tags = {"dagster/sensor_name": "changed_sources", "likeness/changed": "photos"}
        return job.execute_in_process(instance=self.instance, tags=tags).run_id

    def of(self, run_id: str) -> str | None:
        found = self.instance.get_run_by_id(run_id)
        return found.tags.get(RETRAINING_TAG) if found else None

    def add_photo(self, name: str) -> None:
        (self.settings.data / "photos" / "someone" / name).write_text(f"a photo {name}")

    def configure(self, **stages: Any) -> None:
        Path(self.settings.profile).write_text(yaml.safe_dump(stages))

    def all(self) -> list[Retraining]:
        return retrainings.find_all(self.project)


@pytest.fixture
def studio(settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> Studio:
    return Studio(settings, instance, stages)


@pytest.mark.slow
def test_one_run_of_the_command_is_one_retraining_everywhere(studio: Studio) -> None:
    first = studio.run()
    studio.add_photo("new.txt")
    meanwhile: list[Retraining] = []
    studio.stage("encoder").act = lambda out, context: meanwhile.append(studio.all()[0])
    outcome = studio.run()
    (running,) = meanwhile
    assert (running.id, running.state, running.made, running.kept) == (outcome.retraining, RUNNING, ["faces"], [])
    assert 0 < running.seconds < outcome.seconds and running.ended is None
    assert outcome.retraining > first.retraining and outcome.made == ["faces", "encoder/embedded"]
    made = latest(studio.instance, "encoder", "embedded")
    assert made and made.metadata["retraining"] == outcome.retraining and made.metadata["why"] == "faces changed"
    client = Tracking.of(studio.settings).client()
    tracked = client.search_runs(["1"], f"tags.retraining = '{outcome.retraining}'")
    assert {each.info.run_id for each in tracked} >= {made.metadata["mlflow_run_id"]} and len(tracked) == 2
    newest, before = studio.all()
    assert (newest.id, newest.state, newest.made) == (outcome.retraining, DONE, outcome.made)
    assert newest.kept == ["portraits", "pairs/embedded"] and newest.characters == ["embedded"]
    assert newest.by.startswith("likeness run by ") and newest.why == "photos changed (faces)"
    assert newest.cost and newest.cost.figures("")["seconds"] == pytest.approx(outcome.cost["seconds"])
    assert before.made == first.made and before.why.startswith("never made (")
    assert studio.run().retraining == "", "nothing was made: it is none"
    assert len(studio.all()) == 2


@pytest.mark.slow
def test_what_failed_is_gone_on_with_under_its_id(studio: Studio) -> None:
    def fail(out: Path, context: Any) -> None:
        raise ValueError("a bug")

    studio.stage("faces").act = fail
    with pytest.raises(runner.StageFailed):
        studio.run()
    (failed,) = studio.all()
    assert failed.state == FAILED and list(failed.unsuccessful) == ["faces"] and failed.made == ["portraits"]
    studio.stage("faces").act = lambda out, context: None
    outcome = studio.run()
    (found,) = studio.all()
    assert outcome.retraining == found.id == failed.id
    assert found.state == DONE and len(found.made) == 4 and len(found.runs) == 5
    studio.configure(pairs={"text": "b"})
    assert studio.run().retraining != found.id


@pytest.mark.slow
def test_the_daemons_waves_are_one_retraining_that_begins_with_the_look(studio: Studio) -> None:
    studio.run()
    studio.add_photo("new.txt")
    look = studio.look()
    began = studio.of(look)
    assert began and studio.of(studio.look()) is None, "a look that finds nothing begins nothing"
    first = studio.daemon("faces", **{TICK_ID_TAG: "7"})
    second = studio.daemon("encoder", "embedded", **{TICK_ID_TAG: "8"})
    assert [studio.of(first), studio.of(second)] == [began, began]
    found = studio.all()[0]
    assert (found.id, found.by, found.why) == (began, "sensor changed_sources", "photos changed (faces)")
    assert found.made == ["faces", "encoder/embedded"] and len(found.runs) == 3


@pytest.mark.slow
def test_runs_of_one_tick_and_retries_share_an_id_where_no_input_changed(studio: Studio) -> None:
    studio.run()
    studio.configure(portraits={"text": "b"}, pairs={"text": "b"})
    one = studio.daemon("portraits", **{TICK_ID_TAG: "9"})
    other = studio.daemon("pairs", "embedded", **{TICK_ID_TAG: "9"})
    follows = studio.daemon("faces", **{TICK_ID_TAG: "10"})
    assert studio.of(one) == studio.of(other) == studio.of(follows) != studio.all()[-1].id
    assert "text a became b" in studio.all()[0].why
    by_hand = studio.daemon("encoder", "embedded", **{AUTOMATION_TAG: "", "dagster/sensor_name": "", "user": "anna"})
    assert studio.of(by_hand) not in (None, studio.of(one)), "what a person launches is its own"
    again = studio.instance.add_run(dg.DagsterRun("job", tags={ROOT_RUN_ID_TAG: by_hand}))
    assert retraining.of_run(studio.project, again.run_id) == studio.of(by_hand)


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def test_rows_are_compared_by_their_id_or_as_a_whole(tmp_path: Path) -> None:
    old = [{"id": "a", "image": b"1", "landmarks": [0.1]}, {"id": "b", "image": b"2", "landmarks": None}]
    new = [{"id": "b", "image": b"2", "landmarks": [0.5]}, {"id": "c", "image": b"3", "landmarks": [0.1]}]
    before, after = write(tmp_path / "old.parquet", old), write(tmp_path / "new.parquet", new)
    assert compare(before, after) == RowChanges(before=2, after=2, added=1, removed=1, changed=1)
    assert compare(before, before) == RowChanges(before=2, after=2, added=0, removed=0)
    pairs = [{"first": "a", "second": "b"}, {"first": "a", "second": "b"}, {"first": "b", "second": "c"}]
    before, after = write(tmp_path / "pairs.parquet", pairs), write(tmp_path / "fewer.parquet", pairs[1:])
    assert compare(before, after) == RowChanges(before=3, after=2, added=0, removed=1)


@pytest.mark.slow
def test_what_a_retraining_changed_is_told_beside_what_was_there_before(studio: Studio) -> None:
    rows = [{"id": "a", "image": b"1"}, {"id": "b", "image": b"2"}]
    studio.stage("faces").act = lambda out, context: write(out / "faces.parquet", rows)
    studio.run()
    rows[1:] = [{"id": "b", "image": b"3"}, {"id": "c", "image": b"4"}]
    studio.add_photo("new.txt")
    (studio.settings.data / "photos" / "someone" / "content.txt").write_text("another")
    studio.configure(encoder={"text": "b"})
    studio.stage("encoder").VERSION = "2"
    studio.run()
    found = retrainings.find(studio.project, "last")
    diff = retraining_diff.diff(found, VersionIndex(studio.instance), studio.project.store)
    (photos,) = diff.sources
    assert (photos.source, photos.added, photos.changed, photos.removed) == (
        "photos", ["someone/new.txt"], ["someone/content.txt"], []
    )  # fmt: skip
    faces, encoder = diff.assets
    assert faces.rows == {"faces.parquet": RowChanges(before=2, after=3, added=1, removed=0, changed=1)}
    assert faces.metrics == {"length": (2.0, 3.0)} and faces.code is None and faces.config == {}
    assert encoder.code == ("1", "2") and encoder.config == {"text": ("a", "b")}
    assert encoder.cost[0]["seconds"] > 0 and diff.cost[1]["seconds"] > 0
    with pytest.raises(UnknownRetraining, match="no retraining is called 1999"):
        retrainings.find(studio.project, "1999")
    with pytest.raises(UnknownRetraining, match="2 retrainings begin with 2"):
        retrainings.find(studio.project, "2")


@pytest.mark.slow
def test_the_registered_version_and_the_commands_say_which_retraining(
    new: Pipeline, likeness: Callable[..., Result]
) -> None:
    new("a")
    new.scorecard.similarity = 0.7
    outcome = new("b")
    assert new.registry.find("2").tags["retraining"] == outcome.retraining
    listed = json.loads(likeness("retrainings", "--json").stdout)
    assert listed[0]["id"] == outcome.retraining
    (model,) = listed[0]["models"]
    assert (model["version"], model["new"], model["in_production"]) == (2, True, False) and "refused" in model["gate"]
    (first,) = listed[1]["models"]
    assert first["gate"] == "in production"
    shown = json.loads(likeness("retrainings", outcome.retraining[:-1], "--json").stdout)
    (similarity,) = (score for score in shown["diff"]["scores"] if score["path"] == "likeness.similarity")
    assert (similarity["before"], similarity["after"]) == (0.8, 0.7) and similarity["after_ci"]
    assert outcome.retraining in shown["links"]["dagster"] and outcome.retraining in shown["links"]["mlflow"]
    text = likeness("retrainings", "last").stdout
    assert "likeness-embedded 2: refused" in text and "text a → b" in text and "likeness.similarity" in text
    assert outcome.retraining in likeness("retrainings").stdout
