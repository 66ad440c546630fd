"""What each executor is told, and the Kubernetes job of each asset's step; no cluster is asked."""

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
import yaml
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import construct_dagster_k8s_job, get_user_defined_k8s_config

from orchestration.config.catalog import STAGES, Resources, Stage
from orchestration.config.settings import Settings
from orchestration.pipeline.definitions import build
from orchestration.pipeline.executors import (
    ExecutorError,
    check_names,
    executor,
    op_tags,
    require_reachable,
    resources_of,
    step_environment,
)
from orchestration.pipeline.production_encoder import NAME
from orchestration.storage.instance import limit_pool
from tests.orchestration.conftest import stage

GPU = "nvidia.com/gpu"
GPU_STAGES = {each.name for each in STAGES if each.uses_gpu}
PASSWORD = "not-for-everyone"
CHECKPOINTS = "/mnt/likeness/checkpoints"
K8S = {
    "LIKENESS_EXECUTOR": "k8s",
    "LIKENESS_K8S_IMAGE": "studio/likeness:1.4",
    "LIKENESS_K8S_SECRETS": '["likeness", "dvc-remote"]',
    "LIKENESS_K8S_VOLUME_CLAIM": "shared",
    "LIKENESS_K8S_SERVICE_ACCOUNT": "trainer",
    "LIKENESS_K8S_GPU_NODE_SELECTOR": '{"gpu": "h100"}',
    "LIKENESS_K8S_GPU_TOLERATIONS": '[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]',
    "LIKENESS_DVC_REMOTE": "s3://studio/likeness",
    "LIKENESS_MLFLOW_URI": f"http://likeness:{PASSWORD}@mlflow:5000",
    "LIKENESS_DATABASE": "postgresql://likeness@postgres/likeness",
    "LIKENESS_WORKERS": "64",
}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The Kubernetes job of each asset's step, as dagster_k8s makes it from the executor's and the step's tags."""
    for name, value in K8S.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    config = _config(executor(settings))
    given = {name: value for name, value in config.items() if name in K8sContainerContext.__new__.__code__.co_varnames}
    launcher = _launcher(tmp_path)
    graph = build(settings).resolve_asset_graph()
    made = {}
    for name in (*(each.name for each in STAGES), NAME):
        tags = graph.get(dg.AssetKey(name)).assets_def.op.tags
        step = K8sContainerContext(**given).merge(K8sContainerContext(run_k8s_config=get_user_defined_k8s_config(tags)))
        job = construct_dagster_k8s_job(
            step.get_k8s_job_config(config["job_image"], launcher),
            args=["dagster", "api", "execute_step"],
            job_name=f"dagster-step-{name.replace('_', '-')}",
            component="step_worker",
            user_defined_k8s_config=step.run_k8s_config,
        )
        made[name] = job.to_dict()["spec"]["template"]["spec"]
    return made


def _config(definition: dg.ExecutorDefinition) -> dict[str, Any]:
    """The executor's configuration, checked by its own schema."""
    evaluated = definition.apply_config_mapping({"config": {}})
    assert evaluated.success and evaluated.value, evaluated.errors
    return dict(evaluated.value["config"])


def _launcher(folder: Path) -> K8sRunLauncher:
    """The run launcher of Dagster's Helm chart, which knows a cluster that is never asked."""
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    kubeconfig = {"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}]}
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig | {"clusters": [cluster], "contexts": [context]}))
    return K8sRunLauncher(
        service_account_name="dagster",
        instance_config_map="dagster-instance",
        postgres_password_secret="dagster-postgresql-secret",
        dagster_home="/opt/dagster/dagster_home",
        load_incluster_config=False,
        kubeconfig_file=str(folder / "kubeconfig"),
    )


def _container(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["containers"]
    return container


def _environment(job: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each["value"] or each["value_from"] for each in _container(job)["env"]}


def test_each_gpu_asset_asks_kubernetes_for_its_gpu_and_no_other_asset_does(jobs: dict[str, dict[str, Any]]) -> None:
    for name, job in jobs.items():
        resources = _container(job)["resources"]
        gpus = {kind: resources[kind].get(GPU) for kind in ("requests", "limits")}
        wanted = "1" if name in GPU_STAGES else None
        assert gpus == {"requests": wanted, "limits": wanted}, name
        assert resources["requests"]["memory"] == resources["limits"]["memory"], name
        assert float(resources["requests"]["cpu"]) >= 1, name


def test_gpu_steps_go_to_the_gpu_nodes(jobs: dict[str, dict[str, Any]]) -> None:
    for name, job in jobs.items():
        on_gpu_nodes = name in GPU_STAGES
        assert job.get("node_selector") == ({"gpu": "h100"} if on_gpu_nodes else None), name
        tolerated = [each["key"] for each in job.get("tolerations") or ()]
        assert tolerated == ([GPU] if on_gpu_nodes else []), name


def test_every_step_has_the_image_and_the_service_account(jobs: dict[str, dict[str, Any]]) -> None:
    assert {_container(job)["image"] for job in jobs.values()} == {"studio/likeness:1.4"}
    assert {job["service_account_name"] for job in jobs.values()} == {"trainer"}


def test_passwords_come_from_secrets_and_stand_in_no_job(jobs: dict[str, dict[str, Any]]) -> None:
    for name, job in jobs.items():
        sources = [each["secret_ref"]["name"] for each in _container(job)["env_from"] if each.get("secret_ref")]
        assert sources == ["likeness", "dvc-remote"], name
        password = _environment(job)["DAGSTER_PG_PASSWORD"]["secret_key_ref"]
        assert password["name"] == "dagster-postgresql-secret", name
        assert PASSWORD not in json.dumps(job, default=str), name


def test_checkpoints_lie_on_the_shared_volume(jobs: dict[str, dict[str, Any]]) -> None:
    for name, job in jobs.items():
        claims = {
            volume["name"]: volume["persistent_volume_claim"]["claim_name"]
            for volume in job["volumes"]
            if volume.get("persistent_volume_claim")
        }
        mounts = {mount["mount_path"]: claims.get(mount["name"]) for mount in _container(job)["volume_mounts"]}
        assert mounts["/mnt/likeness"] == "shared", name
        assert _environment(job)["LIKENESS_CHECKPOINTS"] == CHECKPOINTS, name


def test_a_step_is_told_the_runs_settings_and_uses_the_cores_it_was_given(jobs: dict[str, dict[str, Any]]) -> None:
    environment = _environment(jobs["encoder"])
    assert environment["LIKENESS_DVC_REMOTE"] == "s3://studio/likeness"
    assert environment["LIKENESS_SOURCES"] == "remote"
    assert environment["LIKENESS_WORKERS"] == environment["OMP_NUM_THREADS"] == "4"
    assert sum(each["name"] == "LIKENESS_WORKERS" for each in _container(jobs["encoder"])["env"]) == 1


def test_ray_and_kubernetes_are_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in STAGES:
        tags = op_tags(each, Settings())
        ray, k8s = tags["dagster-ray/config"], tags["dagster-k8s/config"]["container_config"]["resources"]["requests"]
        assert ray["num_cpus"] == float(k8s["cpu"])
        assert ray["num_gpus"] == float(k8s.get(GPU, 0))
        assert ray["memory"] == int(k8s["memory"].removesuffix("Mi")) * 2**20


def test_a_training_asks_for_as_many_gpus_as_it_uses() -> None:
    settings = Settings(devices=4)
    assert {each.name: resources_of(each, settings).gpus for each in STAGES} == {
        each.name: 4 if each.trains else each.resources.gpus for each in STAGES
    }
    assert sum(each.trains for each in STAGES) == 5


def test_nobody_asks_for_a_gpu_where_the_device_is_the_cpu() -> None:
    assert {resources_of(each, Settings(device="cpu")).gpus for each in STAGES} == {0}


def test_what_one_asset_asks_for_can_be_changed_and_a_wrong_key_is_named() -> None:
    encoder = next(each for each in STAGES if each.name == "encoder")
    changed = resources_of(encoder, Settings(resources={"encoder": {"cpus": 8, "memory_gb": 32}}))
    assert changed == Resources(gpus=1, cpus=8, memory_gb=32)
    with pytest.raises(ExecutorError, match="LIKENESS_RESOURCES, encoder: the keys are gpus, cpus and memory_gb"):
        resources_of(encoder, Settings(resources={"encoder": {"cores": 8}}))
    with pytest.raises(ExecutorError, match="no asset is called decoder"):
        check_names(Settings(resources={"decoder": {"cpus": 8}}), STAGES)


def test_on_a_cluster_only_gpu_steps_take_turns(settings: Settings, stages: tuple[Stage, ...]) -> None:
    mixed = (*stages[:-1], stage("gpu", ("faces",), resources=Resources(gpus=1)))
    graph = build(settings.model_copy(update={"executor": "ray"}), mixed).resolve_asset_graph()
    assert {each.name for each in mixed if graph.get(dg.AssetKey(each.name)).pools} == {"gpu"}


def test_the_pool_is_as_large_as_the_settings_say_on_a_cluster_alone(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    def limits() -> dict[str, int]:
        return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}

    limit_pool(settings.model_copy(update={"gpu_steps": 4}), instance)
    assert limits() == {}
    limit_pool(settings.model_copy(update={"gpu_steps": 4, "executor": "ray"}), instance)
    assert limits() == {"device": 4}
    limit_pool(settings.model_copy(update={"executor": "ray"}), instance)
    assert limits() == {"device": 4}


def test_ray_hides_the_gpus_from_steps_that_asked_for_none() -> None:
    for each in STAGES:
        environment = op_tags(each, Settings())["dagster-ray/config"]["runtime_env"]["env_vars"]
        assert ("CUDA_VISIBLE_DEVICES" in environment) is not each.uses_gpu, each.name


def test_a_step_elsewhere_is_told_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_MLFLOW_URI", f"http://likeness:{PASSWORD}@mlflow:5000")
    monkeypatch.setenv("LIKENESS_PROFILE", "smoke")
    monkeypatch.setenv("LIKENESS_NOTIFY", f"slack://{PASSWORD}")
    monkeypatch.setenv("LIKENESS_SMTP_PASSWORD", PASSWORD)
    told = step_environment(Settings(executor="ray"))
    assert told["LIKENESS_PROFILE"] == "smoke" and "LIKENESS_MLFLOW_URI" not in told
    monkeypatch.setenv("LIKENESS_MLFLOW_URI", "http://mlflow:5000")
    assert step_environment(Settings(executor="ray"))["LIKENESS_MLFLOW_URI"] == "http://mlflow:5000"


def test_checkpoints_have_a_folder_of_their_own_or_the_shared_volume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Settings(root=tmp_path).checkpoints == tmp_path / ".likeness" / "checkpoints"
    assert Settings(executor="k8s").checkpoints == Path(CHECKPOINTS)
    monkeypatch.setenv("LIKENESS_CHECKPOINTS", "/nfs/checkpoints")
    assert Settings().checkpoints == Settings(executor="k8s").checkpoints == Path("/nfs/checkpoints")


def test_a_ray_that_does_not_answer_is_one_line_with_the_remedy() -> None:
    with pytest.raises(ExecutorError, match=r"no Ray job server answers at http://127.0.0.1:1: start one"):
        require_reachable(Settings(executor="ray", ray_address="http://127.0.0.1:1"))


def test_likeness_run_says_who_starts_runs_on_kubernetes() -> None:
    with pytest.raises(ExecutorError, match="started by Dagster"):
        require_reachable(Settings(executor="k8s"))


class _Silent:
    """A handler whose server went away."""

    name = "silent"

    def check_step_health(self, context: object) -> None:
        raise requests.exceptions.ConnectionError("refused")


def test_a_ray_that_went_away_is_waited_for_but_not_for_ever() -> None:
    from orchestration.pipeline.ray_steps import PatientHandler

    context: Any = None
    handler: Any = _Silent()
    assert PatientHandler(handler, patience=60).check_step_health(context).is_healthy
    health = PatientHandler(handler, patience=0).check_step_health(context)
    assert not health.is_healthy
    assert re.fullmatch(
        r"Ray's job server has not answered for 0 seconds .*: start it again.*", health.unhealthy_reason or ""
    )
