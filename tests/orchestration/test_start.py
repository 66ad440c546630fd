"""`likeness start` with its servers really running: killed one by one, during a training, and all together."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from orchestration.apps import services
from orchestration.config import addresses
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.storage.instance import open_instance
from orchestration.storage.tracking import Tracking
from tests.orchestration.conftest import make_project
from tests.orchestration.servers import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
STARTS_WITHIN, AGAIN_WITHIN = 600.0, 600.0


@dataclass
class Platform:
    """A running `likeness start`."""

    settings: Settings
    process: subprocess.Popen[bytes]
    dagster: str
    mlflow: str
    log: Path

    def server(self, words: str) -> psutil.Process:
        """The process of a service whose command has these words; the one of child.py that runs it has them too."""
        found = [process for process in self.processes() if words in " ".join(process.cmdline())]
        return next(process for process in found if "orchestration.apps.child" not in process.cmdline())

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def likeness(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchestration.cli", *arguments],
            cwd=REPOSITORY, env=environment(self.settings), capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip


def environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, "LIKENESS_ROOT": str(settings.root), "LIKENESS_PROFILE": settings.profile}


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait_until(true: Callable[[], object], seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def begin(settings: Settings) -> Platform:
    dagster, mlflow = free_ports(2)
    log = settings.root / "start.log"
    ports = ("--port", str(dagster), "--mlflow-port", str(mlflow))
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.cli", "start", *ports],
            cwd=REPOSITORY, env=environment(settings), stdout=file, stderr=file,
        )  # fmt: skip
    platform = Platform(settings, process, f"http://127.0.0.1:{dagster}", f"http://127.0.0.1:{mlflow}", log)
    wait_until(lambda: "Ctrl-C stops all" in log.read_text() or process.poll() is not None, STARTS_WITHIN, log)
    assert process.poll() is None, log.read_text()
    return platform


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    started = begin(make_project(tmp_path_factory.mktemp("platform"), "embedded"))
    try:
        yield started
    finally:
        started.process.send_signal(signal.SIGTERM)
        started.process.wait(300)


def test_everything_answers_and_doctor_agrees(platform: Platform) -> None:
    assert answers(f"{platform.dagster}/server_info") and answers(f"{platform.mlflow}/health")
    names, findings = {"Dagster", "daemon", "webserver", "MLflow server", "MLflow"}, []

    def agrees() -> bool:
        findings[:] = json.loads(platform.likeness("doctor", "--json").stdout)
        return names <= {finding["name"] for finding in findings if finding["level"] == "ok"}

    wait_until(agrees, AGAIN_WITHIN, platform.log)
    assert not [finding for finding in findings if finding["name"] in names and finding["level"] != "ok"]


def test_a_second_start_says_where_the_first_listens(platform: Platform) -> None:
    done = platform.likeness("start")
    assert done.returncode == 1 and platform.dagster in done.stderr and "runs already" in done.stderr


def test_what_a_command_writes_the_server_shows(platform: Platform) -> None:
    tracking = Tracking.of(platform.settings)
    with tracking.run("beside", {}) as run:
        run.metrics({"loss": 0.5}, 1)
        run.document({"a": 1}, "a.json")
    assert run.url.startswith(f"{platform.mlflow}/#/experiments/") and run.url.endswith(run.run_id)
    with urllib.request.urlopen(f"{platform.mlflow}/api/2.0/mlflow/runs/get?run_id={run.run_id}", timeout=60) as answer:
        shown = json.load(answer)["run"]
    assert shown["info"]["status"] == "FINISHED" and shown["data"]["metrics"][0]["value"] == 0.5
    with urllib.request.urlopen(
        f"{platform.mlflow}/get-artifact?path=a.json&run_uuid={run.run_id}", timeout=60
    ) as file:
        assert json.load(file) == {"a": 1}


def test_a_training_on_the_server_outlives_its_death(platform: Platform) -> None:
    """As on another machine: metrics go through the server, which is killed in the middle and started again."""
    remote = Tracking(
        uri=platform.mlflow, home=str(platform.settings.home), page=platform.mlflow, experiment="elsewhere"
    )
    with remote.run("training", {}) as run:
        run.metrics({"loss": 1.0}, 0)
        run.flush()
        platform.server("uvicorn").kill()
        wait_until(lambda: not answers(f"{platform.mlflow}/health"), 120, platform.log)
        began = time.monotonic()
        for step in range(1, 2001):
            run.metrics({"loss": 1.0 / (step + 1)}, step)
        assert time.monotonic() - began < 60.0, "a training does not wait for the server"
    steps = [metric.step for metric in remote.client().get_metric_history(run.run_id, "loss")]
    assert sorted(steps) == list(range(2001))
    assert remote.client().get_run(run.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("words", ["dagster_webserver", "dagster._daemon"])
def test_a_killed_server_answers_again(platform: Platform, words: str) -> None:
    killed, moment = platform.server(words), time.time()
    killed.kill()
    wait_until(lambda: not killed.is_running(), 120, platform.log)
    if words == "dagster_webserver":
        wait_until(lambda: answers(f"{platform.dagster}/server_info"), AGAIN_WITHIN, platform.log)
    else:
        wait_until(lambda: _beats(platform.settings, moment), AGAIN_WITHIN, platform.log)
    assert "died (SIGKILL)" in platform.log.read_text()


def _beats(settings: Settings, since: float) -> bool:
    with open_instance(settings) as instance:
        statuses = [status for status in instance.get_daemon_statuses().values() if status.required]
    return all(status.last_heartbeat and status.last_heartbeat.timestamp > since for status in statuses)


def test_a_killed_code_server_answers_again(platform: Platform) -> None:
    socket_file = services.code_socket(platform.settings)
    assert services.serves_code(socket_file)
    killed = platform.server("code-server")
    killed.kill()
    wait_until(lambda: not killed.is_running(), 120, platform.log)
    wait_until(lambda: services.serves_code(socket_file), AGAIN_WITHIN, platform.log)
    query = json.dumps({"query": "{ assetNodes { assetKey { path } } }"}).encode()
    request = urllib.request.Request(f"{platform.dagster}/graphql", query, {"Content-Type": "application/json"})

    def assets() -> int:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return len(json.load(answer)["data"]["assetNodes"])
        except (OSError, TypeError, KeyError):  # the webserver has lost the old one, and not yet found the new one
            return 0

    # The webserver asks the new one for its graph when it has noticed it.
    wait_until(lambda: assets() > 8, AGAIN_WITHIN, platform.log)


def test_sigterm_ends_everything_and_it_starts_again(platform: Platform) -> None:
    processes = platform.processes()
    assert len(processes) >= 8
    platform.process.send_signal(signal.SIGTERM)
    assert platform.process.wait(300) == 0
    assert not [process for process in processes if process.is_running()]
    assert addresses.running(platform.settings) == {}
    again = begin(platform.settings)
    processes = again.processes()
    again.process.send_signal(signal.SIGKILL)
    again.process.wait(120)
    wait_until(lambda: not [process for process in processes if process.is_running()], 300, again.log)
    assert addresses.running(platform.settings) == {}
