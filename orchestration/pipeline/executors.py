"""Where the steps of a run are executed, and what each asks for: one setting, LIKENESS_EXECUTOR.

    multiprocess   processes of this machine, forked from one that has imported everything (the default)
    in_process     the run's own process
    ray            jobs of a Ray cluster
    k8s            jobs of Kubernetes, where Dagster's Helm chart launches the runs

A step in another place has the same LIKENESS_* environment as the run, but for what holds a password: secrets reach it
by the cluster's own means.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from engine.errors import LikenessError
from engine.processes import end_with_parent
from orchestration.config.catalog import Resources, Stage
from orchestration.config.settings import CLUSTERS, Settings, environment_elsewhere
from orchestration.storage.dagster_internals import all_assets_job
from orchestration.storage.instance import POOL

# Imported once in the parent of every step: a step then starts in a tenth of a second.
PRELOADED = ["orchestration.definitions", "torch", "mlflow", "dvc.repo"]


class ExecutorError(LikenessError):
    """The executor that the settings name cannot be used; the message says what to do."""


def executor(settings: Settings) -> dg.ExecutorDefinition:
    """The executor of every run."""
    match settings.executor:
        case "in_process":
            return dg.in_process_executor
        case "ray":
            return _ray(settings)
        case "k8s":
            return _k8s(settings)
    start = {"forkserver": {"preload_modules": PRELOADED}}
    return dg.multiprocess_executor.configured({"max_concurrent": 2, "start_method": start})


def _ray(settings: Settings) -> dg.ExecutorDefinition:
    from orchestration.pipeline.ray_steps import patient_ray_executor

    # The step's command is `dagster`: of the environment that this process runs in, where no other is activated there.
    path = f"{Path(sys.executable).parent}:${{PATH}}"
    environment = [f"{name}={value}" for name, value in {"PATH": path, **step_environment(settings)}.items()]
    return patient_ray_executor.configured({"ray": {"address": settings.ray_address, "env_vars": environment}})


def _k8s(settings: Settings) -> dg.ExecutorDefinition:
    from dagster_k8s import k8s_job_executor

    volume = {"name": "likeness", "persistentVolumeClaim": {"claimName": settings.k8s_volume_claim}}
    config = {
        "job_image": settings.k8s_image,
        "job_namespace": settings.k8s_namespace,
        "service_account_name": settings.k8s_service_account,
        "env_secrets": list(settings.k8s_secrets),
        "env_vars": [f"{name}={value}" for name, value in step_environment(settings).items()],
        "volumes": [volume],
        "volume_mounts": [{"name": "likeness", "mountPath": str(settings.k8s_mount)}],
        "load_incluster_config": "KUBERNETES_SERVICE_HOST" in os.environ,
    }
    return k8s_job_executor.configured({name: value for name, value in config.items() if value not in ("", [])})


def execute(
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    module: str = "orchestration.definitions",
    **options: Any,
) -> dg.JobExecutionResult:
    """One run of these assets by the executor of the `defs` in a module, which every step's process makes again.

    options: as `dg.execute_job` takes them.
    """
    keys = [dg.AssetKey(asset) for asset in assets]
    return dg.execute_job(all_assets_job(module), instance, asset_selection=keys, **options)


def require_reachable(settings: Settings) -> None:
    """Raises ExecutorError when `likeness run` cannot have its steps executed where the settings say."""
    if settings.executor == "k8s":
        raise ExecutorError(
            "on Kubernetes runs are started by Dagster (its pages, schedules, sensors): see docs/deploy.md; "
            "to run in this very process: LIKENESS_EXECUTOR=in_process"
        )
    if settings.executor != "ray":
        return
    from ray.job_submission import JobSubmissionClient

    try:
        JobSubmissionClient(settings.ray_address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ExecutorError(
            f"no Ray job server answers at {settings.ray_address}: start one (`ray start --head`), or correct "
            f"LIKENESS_RAY_ADDRESS, which is the dashboard's address (port 8265)"
        ) from error


def tie_step_to_run(settings: Settings) -> None:
    """A step in a process of its own ends with its run's: made again, the run would work beside it on the same files.

    By the other executors the step's process is the run's own, which outlives its code server, or a cluster's affair.
    """
    if settings.executor == "multiprocess":
        end_with_parent()


def step_environment(settings: Settings) -> dict[str, str]:
    """What a step on another machine is told: the run's settings, but what holds a password or is about its machine."""
    told = environment_elsewhere(os.environ)
    # The run's machine has the photos, the step's need not; it reads what was recorded.
    told.setdefault("LIKENESS_SOURCES", "remote")
    if settings.executor == "k8s":
        told["LIKENESS_CHECKPOINTS"] = str(settings.checkpoints)
        # A pod begins with nothing; the engine's textures and shapes are computed by the first.
        told.setdefault("LIKENESS_CACHE", str(settings.k8s_mount / "cache"))
    return dict(sorted(told.items()))


def pool(stage: Stage, settings: Settings) -> str | None:
    """On one machine all heavy steps take turns; a cluster has CPUs enough, and its GPU steps alone do."""
    return POOL if stage.uses_gpu or settings.executor not in CLUSTERS else None


def check_names(settings: Settings, stages: Sequence[Stage]) -> None:
    """Raises ExecutorError where LIKENESS_RESOURCES names an asset that there is not."""
    if unknown := sorted(set(settings.resources) - {stage.name for stage in stages}):
        raise ExecutorError(f"LIKENESS_RESOURCES: no asset is called {', '.join(unknown)}")


def resources_of(stage: Stage, settings: Settings) -> Resources:
    """What the stage's step asks for under these settings. Raises ExecutorError for a key that there is not."""
    wanted = stage.resources
    try:
        wanted = replace(wanted, **settings.resources.get(stage.name, {}))
    except TypeError as error:
        raise ExecutorError(f"LIKENESS_RESOURCES, {stage.name}: the keys are gpus, cpus and memory_gb") from error
    if settings.device == "cpu":
        return replace(wanted, gpus=0)
    if stage.trains and settings.devices != "auto":
        return replace(wanted, gpus=wanted.gpus * settings.devices)
    return wanted


def op_tags(stage: Stage, settings: Settings) -> dict[str, Any]:
    """One declaration, told to each executor that can be told; the others leave it alone."""
    wanted = resources_of(stage, settings)
    return {"dagster-ray/config": _ray_tag(wanted), "dagster-k8s/config": _k8s_tag(wanted, settings)}


def _limits_of_the_step(wanted: Resources) -> dict[str, str]:
    """A step sees all cores of its node, not those it was given."""
    cores = str(max(1, int(wanted.cpus)))
    return {"LIKENESS_WORKERS": cores, "OMP_NUM_THREADS": cores}


def _ray_tag(wanted: Resources) -> dict[str, Any]:
    environment = _limits_of_the_step(wanted)
    if not wanted.gpus:
        # Ray hides GPUs only from who asked for some.
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return {
        "num_cpus": wanted.cpus,
        "num_gpus": wanted.gpus,
        "memory": int(wanted.memory_gb * 2**30),
        "runtime_env": {"env_vars": environment},
    }


def _k8s_tag(wanted: Resources, settings: Settings) -> dict[str, Any]:
    memory = f"{int(wanted.memory_gb * 1024)}Mi"
    gpus = {"nvidia.com/gpu": str(int(wanted.gpus))} if wanted.gpus else {}
    container = {
        # No limit of CPU: it would slow a step down on an idle node.
        "resources": {
            "requests": {"cpu": str(wanted.cpus), "memory": memory, **gpus},
            "limits": {"memory": memory, **gpus},
        },
        "env": [{"name": name, "value": value} for name, value in _limits_of_the_step(wanted).items()],
    }
    pod: dict[str, Any] = {}
    if wanted.gpus and settings.k8s_gpu_node_selector:
        pod["node_selector"] = settings.k8s_gpu_node_selector
    if wanted.gpus and settings.k8s_gpu_tolerations:
        pod["tolerations"] = list(settings.k8s_gpu_tolerations)
    return {"container_config": container} | ({"pod_spec_config": pod} if pod else {})
