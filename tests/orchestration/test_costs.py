"""What a step costs is measured where it runs, recorded beside its version, summed, and held against a budget."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from typer.testing import Result

from orchestration.config.catalog import Resources, Stage
from orchestration.config.profiles import ProfileError, resolve_checks
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import runner
from orchestration.storage.costs import KEPT, Cost, CostMeter, energy, gpus_of
from orchestration.storage.tracking import Tracking
from orchestration.storage.versions import Version, latest
from tests.orchestration.promoting import Pipeline, likeness

__all__ = ["likeness"]
BURN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"
MEMORY = """
import time
held = b"x" * {}
print("held", flush=True)
time.sleep(60)
"""


def burn(seconds: float) -> None:
    exec(BURN.format(seconds))


def meter(**options: Any) -> CostMeter:
    return CostMeter(gpus=0, watts_per_core=12, watts_per_gpu=200, **options)


# --- measuring


def test_seconds_of_processes_that_ended_and_of_those_that_live_count() -> None:
    living = subprocess.Popen([sys.executable, "-c", BURN.format(0.3) + "time.sleep(60)"])
    try:
        with meter() as measured:
            subprocess.run([sys.executable, "-c", BURN.format(0.3)], check=True)
            burn(0.3)
            while measured.cost().cpu_seconds < 0.9 and measured.cost().seconds < 30:
                burn(0.01)
        assert 0.6 <= measured.cost().cpu_seconds < 30
    finally:
        living.kill()
        living.wait()


def test_memory_of_a_process_that_was_started_counts_at_its_peak() -> None:
    with meter() as measured:
        before, size = measured.cost().peak_memory_bytes, 200_000_000
        started = subprocess.Popen([sys.executable, "-c", MEMORY.format(size)], stdout=subprocess.PIPE)
        assert started.stdout and started.stdout.readline()
        measured.cost()
        started.kill()
        started.wait()
        started.stdout.close()
    assert measured.cost().peak_memory_bytes > before + size / 2


def test_work_that_is_gone_on_with_costs_what_it_had_cost(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), meter(kept=tmp_path):
        burn(0.2)
        raise KeyboardInterrupt
    first = Cost(**json.loads((tmp_path / KEPT).read_text()))
    assert first.cpu_seconds > 0.19
    with meter(kept=tmp_path) as second:
        burn(0.2)
        assert second.cost().cpu_seconds >= first.cpu_seconds + 0.19


def test_a_sum_has_the_larger_peak_and_names_that_survive_being_recorded() -> None:
    one, other = Cost(1, 2, 3, 40, 5, 6), Cost(10, 20, 30, 4, 50, 60)
    assert Cost.total([one, other]) == Cost(11, 22, 33, 40, 55, 66)
    assert Cost.of({**one.figures(), "loss": 0.5}) == one
    assert Cost.of({"loss": 0.5}) is None


def test_energy_is_that_of_the_published_formula() -> None:
    """An hour of two cores, one GPU and 10 GB."""
    cost = Cost(seconds=3600, cpu_seconds=7200, gpu_seconds=3600, peak_memory_bytes=10e9)
    assert energy(cost, 12, 200) == pytest.approx(2 * 12 + 200 + 10 * 0.3725)


def test_gpus_are_counted_where_a_stage_takes_one() -> None:
    draws = Stage("portraits", "data", (), "", resources=Resources(gpus=1))
    reads = Stage("aligned_faces", "data", (), "")
    cuda, cpu = Settings(device="cuda"), Settings(device="cpu")
    assert [gpus_of(cuda, draws), gpus_of(cuda, reads), gpus_of(cpu, draws)] == [1, 0, 0]


# --- recording


class Project:
    """`likeness run` on stages that take no time."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> None:
        self.settings, self.instance, self.stages = settings, instance, stages
        self.lines: list[str] = []

    def run(self, **options: Any) -> runner.Outcome:
        progress = Progress(self.lines.append, every=0)
        return runner.run(self.settings, self.instance, self.stages, progress, "embedded", **options)

    def budget(self, **limits: Any) -> None:
        Path(self.settings.profile).write_text(yaml.safe_dump({"checks": {"budget": limits}}))

    def version(self, asset: str) -> Version:
        found = latest(self.instance, asset)
        assert found is not None
        return found


@pytest.fixture
def project(settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> Project:
    return Project(settings, instance, stages)


@pytest.mark.slow
def test_a_step_is_recorded_with_its_cost_in_dagster_and_mlflow_and_summed_for_the_run(project: Project) -> None:
    stage = next(stage for stage in project.stages if stage.name == "faces")
    stage.module.act = lambda out, context: burn(0.3)
    outcome = project.run()
    version = project.version("faces")
    cost = Cost.of(version.metadata)
    assert cost and 0.3 <= cost.cpu_seconds < 60 and cost.peak_memory_bytes > 1e7 and cost.energy_wh > 0
    content = project.settings.root / "artifacts" / "faces" / "content.txt"
    assert cost.stored_bytes > content.stat().st_size, "the file and its folder's listing"
    run = Tracking.of(project.settings).client().get_run(version.metadata["mlflow_run_id"])
    assert Cost.of(run.data.metrics) == cost
    assert outcome.cost["cpu_seconds"] > cost.cpu_seconds and project.run().cost == {}


@pytest.mark.slow
def test_costs_change_no_bytes_and_what_is_there_is_not_stored_again(project: Project) -> None:
    project.run()
    before = project.version("portraits")
    project.run(only="portraits", force=True)
    after, cost = project.version("portraits"), Cost.of(project.version("portraits").metadata)
    assert after.run_id != before.run_id and after.md5 == before.md5
    assert cost and cost.stored_bytes == 0


@pytest.mark.slow
def test_what_is_over_budget_is_told_and_stops_nothing(project: Project) -> None:
    project.budget(portraits={"cpu_seconds": 1e-6, "stored_mb": 100}, run={"seconds": 1e-6}, faces={"cpu_seconds": 1e6})
    outcome = project.run()
    assert outcome.made == ["portraits", "faces", "pairs/embedded", "encoder/embedded"]
    (warning,) = [line for line in project.lines if "warning" in line]
    assert "check budget: cost_keeps_budget cpu_seconds: " in warning and "expected ≤ 1e-06" in warning
    (limit,) = outcome.over_budget
    assert limit.startswith("cost_keeps_budget seconds: ")
    project.budget(portraits={"cpu_seconds": 1e6})
    assert project.run().made == [], "another budget makes nothing again"


def test_a_budget_of_no_stage_is_an_error(settings: Settings, stages: tuple[Stage, ...]) -> None:
    Path(settings.profile).write_text("checks: {budget: {encoderr: {seconds: 1}}}\n")
    with pytest.raises(ProfileError, match="budget: there is none for encoderr; there are: run, portraits"):
        resolve_checks(settings.profile, stages)
    Path(settings.profile).write_text("checks: {budget: {faces: {hours: 1}}}\n")
    with pytest.raises(ProfileError, match=r"budget\.faces\.hours: Extra inputs are not permitted"):
        resolve_checks(settings.profile, stages)


@pytest.mark.slow
def test_a_version_has_the_cost_of_all_that_it_came_from_and_of_what_was_new(
    settings: Settings, instance: dg.DagsterInstance, likeness: Callable[..., Result]
) -> None:
    run = Pipeline(settings, instance)
    run("a")
    (first,) = json.loads(likeness("models", "--json").stdout)
    assert first["cost"]["all"] == first["cost"]["new"]
    run.scorecard.similarity = 0.9
    run("b")
    second = json.loads(likeness("models", "2", "--json").stdout)["cost"]
    steps = {name: Cost.of(run.metadata(name)) for name in ("encoder", "scorecard", "production_encoder")}
    new = Cost.total(cost for cost in steps.values() if cost)
    assert second["new"] == pytest.approx(new.figures(""))
    assert second["all"]["cpu_seconds"] > second["new"]["cpu_seconds"]
    shown = likeness("models", "2").stdout
    assert "what was new in it cost " in shown and "all that it came from cost " in shown
    assert "Wh" in likeness("models").stdout
