"""The clocks of `make bench-orchestration` give each moment to the innermost part, and measure a real run."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from rich.console import Console

from benchmarks import orchestration as bench
from benchmarks.clock import DAGSTER, DVC, MLFLOW, PARTS, STAGES, START, Clock
from orchestration.config.progress import Progress
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.pipeline.runner import run
from orchestration.storage.versions import latest

pytestmark = pytest.mark.slow


def test_a_moment_counts_for_the_innermost_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def work(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("benchmarks.clock.BEGAN", now)
    monkeypatch.setattr("benchmarks.clock.time", SimpleNamespace(monotonic=lambda: now))
    clock, owner = Clock(), SimpleNamespace()

    @contextmanager
    def writing() -> Iterator[str]:
        work(1)
        yield "folder"
        work(2)

    def outer() -> str:
        work(4)
        with owner.writing() as folder:
            work(8)
        return folder

    owner.writing, owner.outer = writing, outer
    clock.around(owner, "writing", DVC)
    clock.around(owner, "outer", STAGES)
    assert owner.outer() == "folder"
    assert (clock.seconds[DVC], clock.seconds[STAGES]) == (3, 12)


def test_an_error_passes_through_the_clocks() -> None:
    clock, owner = Clock(), SimpleNamespace()

    @contextmanager
    def writing() -> Iterator[None]:
        yield

    owner.writing = writing
    clock.around(owner, "writing", DVC)
    with pytest.raises(ValueError, match="full"), owner.writing():
        raise ValueError("full")
    assert clock._inside == [START]


def test_a_watched_command_does_what_the_command_does_and_its_parts_add_up(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "seconds.json"
    command = [sys.executable, "-m", "benchmarks.clock", str(out), "models", "--json"]
    environment = {**os.environ, "LIKENESS_ROOT": str(settings.root)}
    began = time.monotonic()
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    whole = time.monotonic() - began
    assert json.loads(done.stdout) == [], done.stderr
    seconds = json.loads(out.read_text())
    assert set(seconds) == set(PARTS)
    assert seconds[MLFLOW] > 0 and seconds[DAGSTER] == 0 and 0 < sum(seconds.values()) <= whole


def test_a_filled_store_has_so_many_materialisations_and_everything_stays_fresh(
    settings: Settings, instance: dg.DagsterInstance, stages
) -> None:
    quiet = Progress(lambda line: None)
    run(settings, instance, stages, quiet, "embedded")
    before = latest(instance, "encoder", "embedded")
    assert bench.fill(settings.root, settings.profile, 25) == 25
    after = latest(instance, "encoder", "embedded")
    assert before and after and before.md5 == after.md5
    assert run(settings, instance, stages, quiet, "embedded").made == []


def test_a_target_that_is_missed_is_shown_as_missed() -> None:
    parts = dict.fromkeys(PARTS, 1.0)
    document = {
        "runs": [{"profile": "quickstart", "seconds": 7.0, "parts": parts, "overhead": 6 / 7}],
        "no_change": [{"materialisations": 10, "seconds": 7.0, "parts": parts, "overhead": 1.0}],
        "project": [{"asset": "encoder", "stage": 99.0, "around": 0.5, "dagster": 0.5}],
    }
    document["no_change"][0]["one_asset"] = document["runs"][0]
    overhead, of_project, unchanged = bench.targets(document)
    assert (overhead["reached"], of_project["reached"], unchanged["reached"]) == (False, True, True)
    text = StringIO()
    bench.show({**document, "targets": [overhead, of_project, unchanged]}, Console(file=text, width=150))
    assert "missed" in text.getvalue() and "1.0%" in text.getvalue()
