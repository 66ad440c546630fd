"""The graph on a real Ray cluster of this machine, whose GPUs are pretended: what each step was given."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob

from orchestration.config.settings import Settings
from orchestration.pipeline import executors, runner
from orchestration.storage import project as storage_project
from orchestration.storage.instance import POOL, open_instance
from tests.orchestration.cluster_graph import MODULE, PROFILE, graph
from tests.orchestration.conftest import make_project
from tests.orchestration.ray_head import ray_head
from tests.orchestration.test_smoke_graph import Project

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2700)]
GPUS, CPUS = 2, 32
GPU_STEPS = {each.name for each in graph() if each.uses_gpu}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ray_head(GPUS, CPUS, {}) as address:
        yield address


@pytest.fixture
def project(
    address: str, tmp_path: Path, empty_stores: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Settings, dg.DagsterInstance]]:
    """A project whose steps Ray executes, two GPU steps at once; its sources were looked at."""
    made = make_project(tmp_path, "embedded")
    Path(made.profile).write_text(PROFILE)
    shutil.copytree(empty_stores, made.home)
    given = {"ROOT": str(made.root), "PROFILE": made.profile, "EXECUTOR": "ray", "RAY_ADDRESS": address}
    for name, value in (given | {"GPU_STEPS": str(GPUS)}).items():
        monkeypatch.setenv(f"LIKENESS_{name}", value)
    settings = Settings()
    with open_instance(settings) as instance:
        runner.observe_sources(storage_project.Project.of(settings, instance, graph()), graph(), "embedded")
        yield settings, instance


def _run(instance: dg.DagsterInstance, *assets: str) -> dg.JobExecutionResult:
    # Dagster keeps what it made last of a job's name; the environment is another now.
    ReconstructableJob.get_definition.cache_clear()
    ReconstructableJob.get_repository_definition.cache_clear()
    tags = {runner.PARTITION_TAG: "embedded"}
    return executors.execute(instance, assets, MODULE, run_config=runner.QUIET, tags=tags)


def _seen(settings: Settings) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (settings.home / "seen").glob("*.json")}


def _claimed(instance: dg.DagsterInstance) -> int:
    return len(instance.event_log_storage.get_concurrency_info(POOL).claimed_slots)


def test_each_gpu_step_has_a_gpu_to_itself_and_the_others_have_none(
    project: tuple[Settings, dg.DagsterInstance],
) -> None:
    settings, instance = project
    result = _run(instance, *(each.name for each in graph()))
    assert result.success, runner.reason(result)
    seen = _seen(settings)
    assert set(seen) == {each.name for each in graph()}
    assert {name: told["gpus"] for name, told in seen.items() if name not in GPU_STEPS} == {"aligned_faces": ""}
    on_gpus = [seen[name] for name in sorted(GPU_STEPS)]
    assert {told["gpus"] for told in on_gpus} == {"0", "1"}
    for told in on_gpus:
        beside = [other for other in on_gpus if other is not told and _overlap(told, other)]
        assert told["gpus"] not in [other["gpus"] for other in beside]
    assert {told["workers"] for told in seen.values()} == {4}
    assert len({told["process"] for told in seen.values()} | {os.getpid()}) == len(seen) + 1
    assert _claimed(instance) == 0


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one["began"] < other["ended"] and other["began"] < one["ended"]


def test_a_killed_step_is_tried_again_and_goes_on_from_its_checkpoint(
    project: tuple[Settings, dg.DagsterInstance],
) -> None:
    settings, instance = project
    (settings.home / "stop_at").mkdir()
    (settings.home / "stop_at" / "imitator").touch()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(_run, instance, "rendered_pairs", "imitator")
        os.kill(_process_that_waits(settings.home / "seen" / "imitator.waiting"), signal.SIGKILL)
        result = running.result(1200)
    assert result.success, runner.reason(result)
    (killed,) = (event for event in result.all_events if event.is_step_up_for_retry)
    assert re.search(r"exit code 137.*Killed", str(killed.step_retry_data.error), re.DOTALL), killed
    assert _seen(settings)["imitator"]["resumed"] is True
    assert _claimed(instance) == 0


def test_a_training_on_two_devices_is_given_two_gpus(
    project: tuple[Settings, dg.DagsterInstance], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, instance = project
    monkeypatch.setenv("LIKENESS_DEVICES", "2")
    result = _run(instance, "rendered_pairs", "imitator")
    assert result.success, runner.reason(result)
    assert sorted(_seen(settings)["imitator"]["gpus"].split(",")) == ["0", "1"]


def _process_that_waits(file: Path) -> int:
    deadline = time.monotonic() + 1200
    while not file.exists():
        assert time.monotonic() < deadline, f"{file.name} did not come"
        time.sleep(0.2)
    return json.loads(file.read_text())["process"]


def test_likeness_run_makes_an_asset_of_the_real_graph_on_ray(
    address: str, gathered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it, in processes that share nothing, is test_kubernetes.py's matter."""
    for name, value in {"EXECUTOR": "ray", "RAY_ADDRESS": address, "GPU_STEPS": str(GPUS)}.items():
        monkeypatch.setenv(f"LIKENESS_{name}", value)
    project = Project(tmp_path)
    assert json.loads(project("run", "--only", "rendered_pairs", "--json"))["made"] == ["rendered_pairs/embedded"]
    with open_instance(Settings(root=tmp_path)) as instance:
        (run,) = instance.get_runs()
        assert any("in Ray job dagster-step-" in entry.message for entry in instance.all_logs(run.run_id))
