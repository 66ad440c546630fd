"""What Ray is asked for, without a cluster."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestration.apps import replicas
from orchestration.apps.service import ServingError
from orchestration.config.settings import environment_elsewhere
from serving import ray_serve
from serving.configuration import ServiceSettings
from serving.ray_serve import ClusterError, ScalingConfig, replica_settings


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServiceSettings.model_fields:
        monkeypatch.delenv(f"LIKENESS_SERVE_{name.upper()}", raising=False)


def test_a_replica_has_one_worker_and_the_cpu_or_its_gpu() -> None:
    assert (
        replica_settings(ServiceSettings(), ScalingConfig()).workers,
        replica_settings(ServiceSettings(), ScalingConfig()).device,
    ) == (1, "cpu")
    assert replica_settings(ServiceSettings(), ScalingConfig(gpus=0.5)).device == "cuda"


def test_the_environment_decides_over_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_SERVE_WORKERS", "3")
    monkeypatch.setenv("LIKENESS_SERVE_DEVICE", "cpu")
    service = replica_settings(ServiceSettings(), ScalingConfig(gpus=1))
    assert (service.workers, service.device) == (3, "cpu")


def _options(scaling: ScalingConfig, **settings: Any) -> Any:
    service = replica_settings(ServiceSettings(**settings), scaling)
    return ray_serve.application(lambda: pytest.fail("built too early"), service, scaling)._bound_deployment


def test_ray_is_asked_for_what_the_workers_use_and_never_refuses_before_the_service_does() -> None:
    deployment = _options(ScalingConfig(replicas=3, gpus=0.5), workers=2, queue=10, batch=8, grace=7)
    assert deployment.num_replicas == 3
    options = deployment.ray_actor_options
    assert options is not None and (options["num_cpus"], options["num_gpus"]) == (2, 0.5)
    assert deployment.max_ongoing_requests > 10 + 2 * 8
    assert deployment._deployment_config.graceful_shutdown_timeout_s == 7


def test_a_canary_takes_a_processor_and_a_shadow_what_nobody_wants() -> None:
    alone, both = _options(ScalingConfig()), _options(ScalingConfig(), shadow="candidate", canary=5)
    assert both.ray_actor_options["num_cpus"] == alone.ray_actor_options["num_cpus"] + 1
    assert _options(ScalingConfig(), shadow="candidate").ray_actor_options == alone.ray_actor_options


def test_replicas_may_grow_with_the_photos_that_wait() -> None:
    growing = _options(ScalingConfig(replicas=2, most_replicas=6))._deployment_config.autoscaling_config
    assert (growing.min_replicas, growing.max_replicas) == (2, 6)
    assert _options(ScalingConfig(replicas=2))._deployment_config.autoscaling_config is None


@pytest.mark.parametrize("wrong", [{"replicas": 0}, {"replicas": 3, "most_replicas": 2}, {"gpus": -1}, {"replica": 1}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ScalingConfig(**wrong)


def test_no_password_and_nothing_of_this_machine_goes_to_the_replicas() -> None:
    here = {
        "LIKENESS_MLFLOW_URI": "http://mlflow:5000",
        "LIKENESS_SERVE_STORE": "/mnt/characters",
        "LIKENESS_DATABASE": "postgresql://somebody:secret@host/likeness",
        "LIKENESS_WORKERS": "64",
        "LIKENESS_PROFILE": "",
        "PGPASSWORD": "secret",
    }
    assert environment_elsewhere(here, without=("LIKENESS_EXECUTOR",)) == {
        "LIKENESS_MLFLOW_URI": "http://mlflow:5000",
        "LIKENESS_SERVE_STORE": "/mnt/characters",
    }


def test_a_replica_without_the_keys_that_it_needs_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path))
    with pytest.raises(ServingError, match=r"open to other machines.*`likeness key add NAME`"):
        replicas._build(replicas.ReplicaConfig())


def test_proxies_that_listen_elsewhere_are_not_taken_for_those_that_were_asked_for() -> None:
    ray_serve._require_same(None, "127.0.0.1", 8000)
    ray_serve._require_same({"host": "127.0.0.1", "port": 8000}, "127.0.0.1", 8000)
    with pytest.raises(ClusterError, match=r"0\.0\.0\.0, port 8000 already"):
        ray_serve._require_same({"host": "0.0.0.0", "port": 8000}, "127.0.0.1", 8000)


def test_other_applications_of_the_cluster_are_asked_for_again() -> None:
    other = {"name": "theirs", "import_path": "their:app", "runtime_env": {"env_vars": {"A": "1"}}}
    details = {"applications": {"theirs": {"deployed_app_config": other}, ray_serve.NAME: {"deployed_app_config": {}}}}
    assert ray_serve._others(details) == [other]


def test_the_reason_is_the_last_line_of_the_deployment_that_failed() -> None:
    trace = 'Traceback:\n  File "a.py"\nengine.schema.SchemaError: no schema.yaml\n\n'
    failed = {"message": "Failed to update the deployments.", "deployments": {"Replica": {"message": trace}}}
    assert ray_serve._reason(failed) == "engine.schema.SchemaError: no schema.yaml"
    assert ray_serve._reason({"message": "", "deployments": {}}) == "Ray does not say why"
