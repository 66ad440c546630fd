"""The code server is killed: what it was making, or was to make, is made by itself, without the weekly time.

It is two processes: the one that Dagster asks passes everything on to the one that has loaded the code.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.execution.backfill import PartitionBackfill

from orchestration.config.settings import REPOSITORY
from orchestration.pipeline.definitions import build
from tests.orchestration.daemon_project import STAGES
from tests.orchestration.test_daemon import ONCE, Daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
AWAY = 12.0
"""Seconds: long enough for Dagster to look at runs and failures, and to see that the code server is away."""
ASKED, CODE = "code-server", "grpc"


class Supervised(Daemon):
    """Dagster's daemon and its code server as `likeness start` keeps them running."""

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "tests.orchestration.supervised_project"]
            self.process = subprocess.Popen(
                command, cwd=REPOSITORY, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.wait("the daemon begins", lambda: "daemon       ready" in self.log.read_text())

    def servers(self, *kinds: str) -> list[psutil.Process]:
        """The code server's processes."""
        assert self.process is not None
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                words = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if "orchestration.apps.child" not in words and any(kind in words for kind in kinds):
                found.append(process)
        return found

    def kill(self, *kinds: str) -> None:
        for process in self.servers(*kinds):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def keep_away(self) -> None:
        """Kill the code server, and again whenever it is back, for a while."""
        until = time.monotonic() + AWAY
        while time.monotonic() < until:
            self.kill(ASKED, CODE)
            time.sleep(0.5)

    def kill_all(self) -> None:
        """The processes of child.py are leaders of groups of their own, and end with the supervisor."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                super().kill_all()


@pytest.fixture
def daemon(trained: Path, tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(trained, tmp_path, "in_process")
    try:
        made.start()
        yield made
    finally:
        made.release()
        made.kill_all()
        made.instance.dispose()


def test_it_is_away_when_a_run_is_to_be_retried(daemon: Supervised) -> None:
    before = daemon.made()
    daemon.hold("faces")
    daemon.drop("new.txt")
    os.kill(daemon.started(), signal.SIGKILL)
    daemon.keep_away()
    daemon.release()
    daemon.wait("faces and encoder are made again", lambda: daemon.since(before) == ONCE)
    assert daemon.notices() == []


def test_the_process_with_the_code_is_killed_while_nothing_is_made(daemon: Supervised) -> None:
    before = daemon.made()
    (code,) = daemon.servers(CODE)
    code.kill()
    daemon.wait("another is started", lambda: any(one.pid != code.pid for one in daemon.servers(CODE)))
    daemon.drop("new.txt")
    daemon.wait("faces and encoder are made", lambda: daemon.since(before) == ONCE)


def test_it_is_away_during_a_backfill(daemon: Supervised) -> None:
    before = daemon.made()
    daemon.hold("pairs")
    daemon.instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            "backfill",
            build(daemon.settings, STAGES).resolve_asset_graph(),
            ["embedded", "other"],
            [dg.AssetKey("pairs"), dg.AssetKey("encoder")],
            time.time(),
            {},
            daemon.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    daemon.started()
    daemon.keep_away()
    daemon.release()
    both = {"pairs": 2, "encoder": 2}
    daemon.wait("both characters are made", lambda: daemon.since(before) == both)

    def ended() -> str:
        backfill = daemon.instance.get_backfill("backfill")
        assert backfill is not None
        return backfill.status.value

    daemon.wait("the backfill ends", lambda: ended().startswith("COMPLETED"))
    # A run that could not go on while the code was away has failed, and another made all of it. Whether Dagster looks
    # between the two, and calls the backfill failed, is a matter of seconds.
    runs = daemon.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": "backfill"}))
    assert ended() == "COMPLETED_SUCCESS" or any(run.is_failure for run in runs), daemon.state()
