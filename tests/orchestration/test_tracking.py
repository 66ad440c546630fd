"""A training never waits for MLflow; what ends a run is told, whatever MLflow does; links open where a server is."""

import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient

from orchestration.apps import services
from orchestration.config import retries
from orchestration.config.addresses import Addresses
from orchestration.config.settings import Settings
from orchestration.doctor import servers
from orchestration.storage.charts import Curve
from orchestration.storage.mlflow_client import TrackingUnreachable, retry_mlflow
from orchestration.storage.tracking import ExperimentDeleted, TrackedRun, Tracking


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tracking:
    """An address where no server listens; MLflow's own retries are off, so that ours are seen."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return Tracking(uri="http://127.0.0.1:9", home=str(tmp_path))


def test_every_metric_arrives_in_batches_from_another_thread(settings: Settings) -> None:
    tracking = Tracking.of(settings)
    with tracking.run("many", {}) as run:
        for step in range(2500):
            run.metrics({"loss": 1 / (step + 1), "broken": float("nan")}, step)
    client = tracking.client()
    history = client.get_metric_history(run.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(step, 1 / (step + 1)) for step in range(2500)]
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert "broken" not in run.history and run.history["loss"].values[0] == 1.0


class Silent:
    """A client of a server that takes a call and does not answer."""

    def __init__(self) -> None:
        self.calls, self.ended, self.gave_up = 0, threading.Event(), False

    def log_batch(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        self.gave_up = not self.ended.wait(300)


@pytest.fixture
def silent() -> Iterator[Silent]:
    client = Silent()
    yield client
    client.ended.set()


def test_metrics_do_not_wait_for_a_server_that_is_silent(silent: Silent) -> None:
    run = TrackedRun(cast(MlflowClient, silent), "abc", "")
    for step in range(1000):
        run.metrics({"loss": 1.0}, step)
    with pytest.raises(TrackingUnreachable, match="took no metrics"):
        run.end("FINISHED", patience=0.5)
    assert silent.calls <= 1 and not silent.gave_up, "the first call was waited for"


def test_metrics_do_not_wait_for_a_server_that_is_down(nobody: Tracking) -> None:
    run = TrackedRun(nobody.client(), "abc", "")
    for step in range(1000):
        run.metrics({"loss": 1.0}, step)
    with pytest.raises(TrackingUnreachable):
        run.end("FINISHED", patience=0.5)


@pytest.mark.slow
def test_a_call_is_tried_again_until_the_server_answers(nobody: Tracking) -> None:
    client, calls = nobody.client(), 0

    def flaky() -> str:
        nonlocal calls
        calls += 1
        return "answer" if calls == 3 else str(client.get_run("abc"))

    assert retry_mlflow(flaky, patience=600.0) == "answer"
    with pytest.raises(TrackingUnreachable, match="did not answer"):
        retry_mlflow(lambda: client.get_run("abc"), patience=0.5)


def test_what_the_server_refuses_is_not_tried_again(settings: Settings) -> None:
    from mlflow.exceptions import MlflowException

    client, calls = Tracking.of(settings).client(), 0

    def refused() -> None:
        nonlocal calls
        calls += 1
        client.get_run("0" * 32)

    with pytest.raises(MlflowException, match="not found"):
        retry_mlflow(refused)
    assert calls == 1


def test_steps_that_begin_at_once_all_tell_what_they_read(settings: Settings) -> None:
    tracking = Tracking.of(settings)
    with tracking.run("first", {}) as first:
        client = first.client
        experiment = client.get_run(first.run_id).info.experiment_id
    runs = [TrackedRun(client, client.create_run(experiment).info.run_id, "") for _ in range(4)]
    together = threading.Barrier(len(runs), timeout=60)

    def tell(run: TrackedRun) -> None:
        for number in range(10):
            together.wait()
            run.inputs({f"table {number}": "md5"})

    threads = [threading.Thread(target=tell, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [client.get_run(run.run_id).inputs for run in runs]
    assert [inputs and len(inputs.dataset_inputs) for inputs in told] == [10] * 4


def test_a_closed_run_stops_trying(nobody: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(retries, pause, 600.0)
    closed, client, calls = threading.Event(), nobody.client(), 0

    def down() -> None:
        nonlocal calls
        calls += 1
        threading.Timer(0.5, closed.set).start()  # in the pause after it
        client.get_run("abc")

    began = time.monotonic()
    with pytest.raises(TrackingUnreachable):
        retry_mlflow(down, 1200.0, closed)
    assert calls <= 2 and time.monotonic() - began < 300.0, "the pause of ten minutes was ended"


def test_a_failed_and_an_interrupted_run_are_closed_as_such(settings: Settings) -> None:
    tracking, ended = Tracking.of(settings), {}
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), tracking.run("bad", {}) as run:
            ended[error] = run.run_id
            raise error
    client = tracking.client()
    assert client.get_run(ended[ValueError]).info.status == "FAILED"
    assert client.get_run(ended[KeyboardInterrupt]).info.status == "KILLED"


def test_a_link_leads_to_the_server_that_runs_or_to_the_address_that_was_set(settings: Settings) -> None:
    later = "http://127.0.0.1:5000/#/experiments/1/runs/abc"
    assert Tracking.of(settings).url("1", "abc") == later, "where `likeness start` will have it"
    with services.only_supervisor(settings, Addresses(mlflow_port=5210)):
        assert Tracking.of(settings).url("1", "abc") == "http://127.0.0.1:5210/#/experiments/1/runs/abc"
    public = settings.model_copy(update={"mlflow_url": "https://mlflow.studio.example/"})
    assert Tracking.of(public).url("1", "abc") == "https://mlflow.studio.example/#/experiments/1/runs/abc"
    elsewhere = settings.model_copy(update={"mlflow_uri": "http://10.0.0.5:5000"})
    assert Tracking.of(elsewhere).model_url("m", "2") == "http://10.0.0.5:5000/#/models/m/versions/2"


@pytest.mark.slow
def test_the_remedy_for_a_deleted_experiment_brings_it_back(settings: Settings) -> None:
    tracking = Tracking.of(settings)
    with tracking.run("before", {}) as run:
        pass
    client = tracking.client()
    client.delete_experiment(client.get_run(run.run_id).info.experiment_id)
    with pytest.raises(ExperimentDeleted, match="was deleted in MLflow, with all") as error, tracking.run("", {}):
        pass
    (finding,) = servers.mlflow(settings)
    assert finding.level == "error" and f"{finding.detail}: {finding.remedy}" == str(error.value)
    done = subprocess.run(finding.remedy, shell=True, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with tracking.run("after", {}) as run:
        pass
    assert client.get_run(run.run_id).info.status == "FINISHED"
    (finding,) = servers.mlflow(settings)
    assert finding.level == "ok"


def test_a_renamed_experiment_is_followed_by_a_new_one(settings: Settings) -> None:
    tracking = Tracking.of(settings)
    with tracking.run("before", {}) as before:
        pass
    client = tracking.client()
    client.rename_experiment(client.get_run(before.run_id).info.experiment_id, "mine")
    with tracking.run("after", {}) as after:
        pass
    found = [client.get_experiment(client.get_run(run.run_id).info.experiment_id).name for run in (before, after)]
    assert found == ["mine", "likeness"]


def test_a_long_curve_takes_no_more_memory_than_a_short_one() -> None:
    curve = Curve()
    for step in range(100_000):
        curve.add(step, float(step))
    assert len(curve.steps) < Curve.MOST and curve.steps == [int(value) for value in curve.values]
    distances = {later - earlier for earlier, later in pairwise(curve.steps)}
    assert curve.steps[0] == 0 and curve.steps[-1] > 99_000 and len(distances) == 1
