"""What `likeness run` makes again, and what it leaves alone."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.checks.staleness import why_not_fresh
from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import runner
from orchestration.pipeline.definitions import build
from orchestration.storage.instance import HOME_TAG, RUN_TAG, AlreadyRunning, home_id, only_runner
from orchestration.storage.versions import latest

pytestmark = pytest.mark.slow

ALL = ["portraits", "faces", "pairs/embedded", "encoder/embedded"]


class Runner:
    """`likeness run` with a profile written for the test."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> None:
        self.settings, self.instance, self.stages = settings, instance, stages
        self.profile = Path(settings.profile)
        self.lines: list[str] = []

    def __call__(self, character: str = "embedded", **options: Any) -> list[str]:
        progress = Progress(self.lines.append, every=0)
        return runner.run(self.settings, self.instance, self.stages, progress, character, **options).made

    def module(self, name: str) -> Any:
        return next(stage.module for stage in self.stages if stage.name == name)


@pytest.fixture
def run(settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> Runner:
    return Runner(settings, instance, stages)


def test_everything_once_then_nothing(run: Runner) -> None:
    assert run() == ALL
    assert run() == []


def test_a_new_photo_does_not_render_pairs_again(run: Runner) -> None:
    run()
    (run.settings.data / "photos" / "new.txt").write_text("a photo")
    assert run() == ["faces", "encoder/embedded"]


def test_an_upstream_change_that_gives_the_same_bytes_retrains_nothing(run: Runner) -> None:
    run()
    run.module("portraits").VERSION = "2"
    assert run() == ["portraits"]


def test_a_changed_configuration_makes_its_stage_again_and_what_follows(run: Runner) -> None:
    run()
    run.profile.write_text("pairs: {text: b}\n")
    assert run() == ["pairs/embedded", "encoder/embedded"]


def test_a_second_character_shares_what_is_not_its_own(run: Runner) -> None:
    run()
    assert run("other") == ["pairs/other", "encoder/other"]
    assert run() == []


def test_a_changed_character_leaves_the_other_one_alone(run: Runner) -> None:
    run()
    run("other")
    (run.settings.characters / "other" / "content.txt").write_text("changed")
    assert run() == []
    assert run("other") == ["pairs/other", "encoder/other"]


def test_force_makes_what_is_fresh_and_only_limits(run: Runner) -> None:
    run()
    assert run(only="faces") == []
    assert run(only="faces", force=True) == ["faces"]


def test_only_says_which_input_was_never_made(run: Runner) -> None:
    with pytest.raises(runner.StageFailed, match="encoder needs faces, pairs"):
        run(only="encoder")


def test_a_failed_stage_is_one_line_and_the_next_run_goes_on_from_it(run: Runner) -> None:
    def explode(out: Path, context: Any) -> None:
        raise ValueError("loss is not finite")

    run.module("pairs").act = explode
    with pytest.raises(runner.StageFailed, match=r"^pairs failed: ValueError: loss is not finite$"):
        run()
    run.module("pairs").act = lambda out, context: None
    assert run() == ["pairs/embedded", "encoder/embedded"]


def test_checkpoints_survive_a_failure_and_go_after_success(run: Runner) -> None:
    seen: list[bool] = []

    def stop_half_way(out: Path, context: Any) -> None:
        seen.append((context.checkpoints / "half").exists())
        (context.checkpoints / "half").touch()
        if len(seen) == 1:
            raise ValueError("interrupted")

    run.module("portraits").act = stop_half_way
    with pytest.raises(runner.StageFailed):
        run()
    run()
    assert seen == [False, True]
    assert not list(run.settings.checkpoints.glob("portraits/*"))


def test_data_version_is_the_md5_and_lineage_names_every_ancestor(run: Runner) -> None:
    run()
    encoder = latest(run.instance, "encoder", "embedded")
    assert encoder is not None
    assert set(encoder.lineage) == {"embedded", "photos", "character", "portraits", "faces", "pairs"}
    faces = latest(run.instance, "faces")
    assert faces is not None and faces.md5 == encoder.lineage["faces"]


def test_each_materialisation_is_one_mlflow_run_with_params_metrics_and_inputs(run: Runner) -> None:
    from orchestration.storage.tracking import Tracking

    run()
    encoder = latest(run.instance, "encoder", "embedded")
    assert encoder is not None
    client = Tracking.of(run.settings).client()
    tracked = client.get_run(encoder.metadata["mlflow_run_id"])
    assert tracked.data.params == {"text": "a"}
    assert tracked.data.metrics["loss"] == 0.5
    assert tracked.data.tags["dagster.run_id"] == encoder.run_id
    assert tracked.inputs is not None
    assert {item.dataset.name: item.dataset.digest for item in tracked.inputs.dataset_inputs} == {
        name: encoder.lineage[name] for name in ("faces", "pairs", "character")
    }
    assert len(client.search_runs([tracked.info.experiment_id])) == len(ALL)


def test_a_source_changed_behind_dagsters_back_is_observed_before_the_stage_runs(run: Runner) -> None:
    run()
    (run.settings.data / "photos" / "new.txt").write_text("a photo")
    definitions = build(run.settings, run.stages, Progress(run.lines.append))
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        asset_selection=[dg.AssetKey("faces")], instance=run.instance, run_config=runner.QUIET, raise_on_error=False
    )
    assert result.success
    assert why_not_fresh(definitions, run.instance, "faces") == ""
    assert why_not_fresh(definitions, run.instance, "encoder", "embedded") == "faces has a new dependency data version"


def test_two_runs_at_once_are_refused(run: Runner) -> None:
    with only_runner(run.settings, run.instance), pytest.raises(AlreadyRunning):
        run()


KILLED = """
import os, sys
from pathlib import Path
from orchestration.storage.instance import open_instance
from orchestration.config.settings import Settings
from tests.orchestration.conftest import stage
from orchestration.pipeline import runner
from orchestration.config.progress import Progress
root = Path(sys.argv[1])
settings = Settings(root=root, device="cpu", profile=str(root / "profile.yaml"))
dying = stage("portraits", ("embedded", "character"))
dying.module.act = lambda out, context: os._exit(9)
with open_instance(settings) as instance:
    runner.run(settings, instance, (dying,), Progress(print), "embedded")
"""


def test_a_run_of_another_machine_that_shares_the_database_is_left_alone(run: Runner) -> None:
    shared = run.settings.model_copy(update={"database": "postgresql://shared"})
    started, tags = dg.DagsterRunStatus.STARTED, {RUN_TAG: "true", HOME_TAG: "another"}
    other = run.instance.add_run(dg.DagsterRun("job", status=started, tags=tags))

    def status() -> dg.DagsterRunStatus:
        found = run.instance.get_run_by_id(other.run_id)
        assert found is not None
        return found.status

    with pytest.raises(AlreadyRunning, match="on another machine makes job"), only_runner(shared, run.instance):
        pass
    assert status() == started
    run.instance.add_run_tags(other.run_id, {HOME_TAG: home_id(shared)})
    with only_runner(shared, run.instance):
        assert status() == dg.DagsterRunStatus.FAILURE, "its own lock says that it is dead"


def test_a_killed_run_does_not_block_the_next(run: Runner) -> None:
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(run.settings.root)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert killed.returncode == 9
    assert run() == ALL
    (dead,) = run.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={RUN_TAG: "true"}))
    assert dead.job_name
