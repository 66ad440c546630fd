"""A training that is killed and gone on with is one MLflow run, with whole curves."""

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from mlflow.entities import Run

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.storage import versions
from orchestration.storage.instance import open_instance
from orchestration.storage.tracking import Tracking
from stages.context import Context
from tests.orchestration import killed_training
from tests.stages import tiny_training

pytestmark = pytest.mark.slow


@pytest.fixture
def killed(settings: Settings) -> Settings:
    """A project whose training was ended with SIGKILL at step 50; its last checkpoint is of step 40."""
    command = [sys.executable, "-m", "tests.orchestration.killed_training", str(settings.root)]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    (run,) = runs(settings)
    assert run.info.status == "RUNNING"
    return settings


def runs(settings: Settings) -> list[Run]:
    """Newest first."""
    client = Tracking.of(settings).client()
    experiment = client.get_experiment_by_name("likeness")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def curve(settings: Settings, run: Run, key: str) -> list[tuple[int, float]]:
    history = Tracking.of(settings).client().get_metric_history(run.info.run_id, key)
    return [(metric.step, metric.value) for metric in history]


def uninterrupted(tmp_path: Path) -> dict[str, list[tuple[int, float]]]:
    """What a training logs that nobody kills."""
    logged: dict[str, list[tuple[int, float]]] = {}

    def note(values: dict[str, float], step: int) -> None:
        for key, value in values.items():
            logged.setdefault(key, []).append((step, value))

    config = tiny_training.Config(training=killed_training.TRAINING)
    tiny_training.run({}, config, tmp_path, Context(on_metrics=note))  # pyright: ignore[reportArgumentType]
    return logged


def test_it_goes_on_in_its_run_and_no_step_is_missing_or_there_twice(killed: Settings, tmp_path: Path) -> None:
    (before,) = runs(killed)
    killed_training.run(killed)
    (run,) = runs(killed)
    assert run.info.run_id == before.info.run_id and run.info.status == "FINISHED"
    assert run.info.end_time and run.info.start_time == before.info.start_time
    (tmp_path / "whole").mkdir()
    whole = uninterrupted(tmp_path / "whole")
    for key in ("tiny/loss", "tiny/squared", "tiny/error", "tiny/learning_rate"):
        logged = curve(killed, run, key)
        assert [step for step, _ in logged] == [step for step, _ in whole[key]], key
        # Two processes may sum in another order; tests/stages/training/test_trainer.py holds that a resume is exact.
        assert [value for _, value in logged] == pytest.approx([value for _, value in whole[key]], rel=1e-3), key
    assert [step for step, _ in curve(killed, run, "tiny/samples_per_second")] == list(range(1, 61))
    with open_instance(killed) as instance:
        version = versions.latest(instance, "model", None)
        assert version is not None and version.metadata["mlflow_run_id"] == run.info.run_id
        (made,) = instance.fetch_materializations(dg.AssetKey("model"), limit=5).records
        assert run.data.tags["dagster.run_id"] == made.run_id
    assert not list(killed.checkpoints.rglob("*.jsonl")), "the next one is a run of its own"


def test_a_run_that_was_deleted_is_begun_anew_with_the_whole_curve(killed: Settings) -> None:
    (before,) = runs(killed)
    Tracking.of(killed).client().delete_run(before.info.run_id)
    killed_training.run(killed)
    (run,) = runs(killed)
    assert run.info.run_id != before.info.run_id and run.info.status == "FINISHED"
    assert [step for step, _ in curve(killed, run, "tiny/loss")] == list(range(1, 61))


def test_a_run_whose_checkpoints_are_gone_is_closed_as_killed_by_the_next_one(killed: Settings) -> None:
    import shutil

    (before,) = runs(killed)
    shutil.rmtree(killed.checkpoints)
    killed_training.run(killed)
    new, old = runs(killed)
    assert old.info.run_id == before.info.run_id and old.info.status == "KILLED"
    assert new.info.status == "FINISHED"
    assert [step for step, _ in curve(killed, new, "tiny/loss")] == list(range(1, 61))


def test_a_run_of_a_dagster_run_that_is_not_over_or_not_ours_is_left_alone(killed: Settings) -> None:
    client = Tracking.of(killed).client()
    (old,) = runs(killed)
    for name in ("somebody else's", ""):
        tags = {"asset": "model", "dagster.run_id": name}
        client.create_run(old.info.experiment_id, tags={key: value for key, value in tags.items() if value})
    killed_training.run(killed)
    assert sorted(run.info.status for run in runs(killed)) == ["FINISHED", "RUNNING", "RUNNING"]
