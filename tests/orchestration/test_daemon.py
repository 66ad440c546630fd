"""Dagster's daemon, really running: photos are dropped, processes are killed, and what it makes is counted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml

from orchestration.config.files import write_whole
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.pipeline import sensors
from orchestration.storage.instance import SCAN_TAG, dagster_yaml, open_instance
from tests.orchestration.faces import copy_project

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
LOOK_SECONDS = 2
QUIET_FOR = 3 * LOOK_SECONDS + 8  # seconds: two looks, a run of the look, and a tick of the automation
WITHIN = 600
"""Seconds until something must have happened; a busy machine may take many times what an idle one does."""
ONCE = {"faces": 1, "encoder": 1}


class Daemon:
    """A copy of a project with every asset made, and a daemon process that can be killed and started."""

    def __init__(self, trained: Path, root: Path, executor: str) -> None:
        copy_project(trained, root)
        # The daemon's code server reads the same settings from its environment.
        self.root = root
        self.settings = Settings(root=root, device="cpu", profile=str(root / "profile.yaml"), look_seconds=LOOK_SECONDS)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "DAGSTER_HOME": str(self.settings.dagster_home),
            "LIKENESS_ROOT": str(root),
            "LIKENESS_PROFILE": self.settings.profile,
            "LIKENESS_DEVICE": "cpu",
            "LIKENESS_LOOK_SECONDS": str(LOOK_SECONDS),
            "LIKENESS_EXECUTOR": executor,
            "LIKENESS_NOTIFY": "log",
            "FRESHNESS_DAEMON_INTERVAL_SECONDS": "2",
            "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
            "LIKENESS_DAGSTER_URL": "http://dagster.example",
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.groups: list[int] = []
        self.log = root / "daemon.log"
        _write_quick_yaml(self.settings)
        self.instance = open_instance(self.settings)

    def start(self) -> None:
        command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "tests.orchestration.daemon_project"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=REPOSITORY, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.groups.append(self.process.pid)

    def stop(self, sign: int = signal.SIGTERM, whole_group: bool = False) -> None:
        if self.process is None:
            return
        if whole_group:
            os.killpg(self.process.pid, sign)
        else:
            self.process.send_signal(sign)
        self.process.wait(60)
        self.process = None

    def kill_all(self) -> None:
        """Whatever the daemons left: code servers and run workers are in their sessions."""
        for group in self.groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(30)

    def made(self) -> dict[str, int]:
        """Materialisations by asset, looks aside."""
        keys = [key for key in self.instance.all_asset_keys() if key.to_user_string() != sensors.SCAN]
        counts = {
            key.to_user_string(): len(
                self.instance.fetch_materializations(dg.AssetRecordsFilter(key), limit=100).records
            )
            for key in keys
        }
        return {name: count for name, count in counts.items() if count}

    def since(self, before: dict[str, int]) -> dict[str, int]:
        return {
            name: count - before.get(name, 0) for name, count in self.made().items() if count != before.get(name, 0)
        }

    def wait(self, what: str, condition: Callable[[], bool], within: float = WITHIN) -> None:
        deadline = time.monotonic() + within
        while not condition():
            assert self.process is None or self.process.poll() is None, self.tail()
            assert time.monotonic() < deadline, f"{what}: not within {within} s\n{self.tail()}\n{self.state()}"
            time.sleep(0.5)

    def tail(self) -> str:
        return self.log.read_text()[-6000:]

    def state(self) -> str:
        runs = [f"{run.run_id[:8]} {run.status.value} {dict(run.tags)}" for run in self.runs(*dg.DagsterRunStatus)]
        return "\n".join([f"made so far: {self.made()}", *runs])

    def runs(self, *statuses: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(statuses=list(statuses))))

    def notices(self) -> list[dict[str, Any]]:
        log = self.settings.home / "notifications.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def freshness(self) -> str:
        key = dg.AssetKey(sensors.SCAN)
        record = self.instance.get_freshness_state_records([key]).get(key)
        return record.freshness_state.value if record else ""

    def drop(self, name: str) -> None:
        (self.root / "data" / "photos" / "someone" / name).write_text(f"a photo {name}")

    def hold(self, stage: str) -> None:
        (self.root / "started").unlink(missing_ok=True)
        write_whole(self.root / "slow", stage)

    def release(self) -> None:
        (self.root / "slow").unlink(missing_ok=True)

    def started(self) -> int:
        """The process that works on the stage that is held."""
        self.wait("the stage begins", (self.root / "started").exists)
        return int((self.root / "started").read_text())


def _write_quick_yaml(settings: Settings) -> None:
    """Our own dagster.yaml, in a hurry."""
    config = yaml.safe_load(dagster_yaml(settings))
    config["run_monitoring"] |= {"poll_interval_seconds": 2, "free_slots_after_run_end_seconds": 1}
    config["run_coordinator"]["config"] |= {"dequeue_interval_seconds": 1}
    (settings.dagster_home / "dagster.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture
def daemon(trained: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """With steps in the run's own process, which start sooner, unless a test asks for another executor."""
    made = Daemon(trained, tmp_path, getattr(request, "param", "in_process"))
    made.start()
    try:
        yield made
    finally:
        made.release()
        made.kill_all()
        made.instance.dispose()


def test_photos_dropped_into_the_folder_are_one_retrain_and_none_the_second_time(daemon: Daemon) -> None:
    before = daemon.made()
    daemon.drop("new.txt")
    daemon.wait("faces and encoder are made again", lambda: daemon.since(before) == ONCE)
    time.sleep(QUIET_FOR)
    assert daemon.since(before) == ONCE
    looks = len(daemon.runs(dg.DagsterRunStatus.SUCCESS))
    (daemon.root / "data" / "photos" / "someone" / "new.txt").touch()
    daemon.wait("it looks again", lambda: len(daemon.runs(dg.DagsterRunStatus.SUCCESS)) > looks)
    time.sleep(QUIET_FOR)
    assert daemon.since(before) == ONCE, "the same bytes retrain nothing"
    assert daemon.notices() == []
    daemon.wait("the daemon evaluates the freshness policy", lambda: daemon.freshness() == "PASS")


@pytest.mark.parametrize("daemon", ["multiprocess"], indirect=True)
def test_a_killed_step_is_tried_again_and_its_retrain_counts_once(daemon: Daemon) -> None:
    before = daemon.made()
    daemon.hold("faces")
    daemon.drop("new.txt")
    os.kill(daemon.started(), signal.SIGKILL)
    daemon.release()
    daemon.wait("faces and encoder are made again", lambda: daemon.since(before) == ONCE)
    assert daemon.notices() == []


@pytest.mark.parametrize("daemon", ["multiprocess"], indirect=True)
def test_the_step_of_a_killed_run_ends_with_it_and_the_retrain_counts_once(daemon: Daemon) -> None:
    before = daemon.made()
    daemon.hold("faces")
    daemon.drop("new.txt")
    step = psutil.Process(daemon.started())
    forkserver = step.parent()
    worker = forkserver and forkserver.parent()
    assert worker is not None
    worker.kill()
    daemon.wait("the step ends", lambda: not step.is_running() or step.status() == psutil.STATUS_ZOMBIE)
    daemon.release()
    daemon.wait("faces and encoder are made again", lambda: daemon.since(before) == ONCE)


def test_a_killed_daemon_is_started_again_and_its_retrain_counts_once(daemon: Daemon) -> None:
    before = daemon.made()
    daemon.hold("faces")
    daemon.drop("new.txt")
    daemon.started()
    daemon.stop(signal.SIGKILL)
    daemon.start()
    time.sleep(QUIET_FOR)
    assert daemon.since(before) == {}
    daemon.release()
    daemon.wait("faces and encoder are made", lambda: daemon.since(before) == ONCE)
    time.sleep(QUIET_FOR)
    assert daemon.since(before) == ONCE


def test_what_a_machine_that_went_down_was_making_is_made_after_it_is_up(daemon: Daemon) -> None:
    before = daemon.made()
    daemon.hold("faces")
    daemon.drop("new.txt")
    daemon.started()
    daemon.stop(signal.SIGKILL, whole_group=True)
    daemon.release()
    daemon.start()
    daemon.wait("faces and encoder are made", lambda: daemon.since(before) == ONCE)
    time.sleep(QUIET_FOR)
    assert daemon.since(before) == ONCE
    assert daemon.notices() == [], "it was tried again, so there is nothing to tell"


def test_a_failed_retrain_is_told_once_and_waits_for_a_change(daemon: Daemon) -> None:
    before = daemon.made()
    daemon.drop("bad.txt")
    daemon.wait("somebody is told", lambda: bool(daemon.notices()))
    time.sleep(QUIET_FOR)
    (notice,) = daemon.notices()
    assert notice["event"] == "run_failed" and notice["assets"] == ["faces"]
    assert notice["detail"] == "ValueError: a photo is no photo"
    assert notice["url"] == f"http://dagster.example/runs/{notice['run_id']}"
    assert daemon.since(before) == {}
    (daemon.root / "data" / "photos" / "someone" / "bad.txt").unlink()
    daemon.drop("good.txt")
    daemon.wait("faces and encoder are made", lambda: daemon.since(before) == ONCE)


def test_two_runs_of_one_character_wait_for_each_other(daemon: Daemon) -> None:
    before = daemon.made()
    command = [sys.executable, "-m", "dagster", "job", "launch", "-m", "tests.orchestration.daemon_project"]
    for _ in range(2):
        launch = [*command, "-j", sensors.JOB, "--tags", json.dumps({"dagster/partition": "embedded"})]
        subprocess.run(launch, cwd=REPOSITORY, env=daemon.environment, check=True, capture_output=True)
    done = [dg.DagsterRunStatus.SUCCESS]

    def finished() -> list[dg.RunRecord]:
        wanted = dg.RunsFilter(statuses=done, tags={"dagster/partition": "embedded", SCAN_TAG: "true"})
        return sorted(daemon.instance.get_run_records(wanted), key=lambda record: record.start_time or 0)

    daemon.wait("both are done", lambda: len(finished()) == 2)
    first, second = finished()
    assert first.end_time is not None and second.start_time is not None and second.start_time >= first.end_time
    assert daemon.since(before) == {}
