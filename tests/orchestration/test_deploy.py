"""What deploy/ says and what the code reads must be the same; no cluster is asked."""

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestration.apps import replicas
from orchestration.config.catalog import STAGES
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.doctor.machine import LIBRARIES
from orchestration.storage.instance import dagster_yaml
from serving import ray_serve, static
from serving.configuration import ServiceSettings
from tests.orchestration.manifests import problems

DEPLOY = REPOSITORY / "deploy"
LOGIN = DEPLOY / "login"
YAML = sorted(DEPLOY.glob("*.yaml"))
DOCS = REPOSITORY / "docs"
TEXTS = [
    *YAML,
    DEPLOY / "login" / "compose.yaml",
    DEPLOY / "Dockerfile",
    DOCS / "deploy.md",
    DOCS / "serving.md",
    DOCS / "serving-cluster.md",
]


MOUNTING = ("ray-cluster.yaml", "ray-serve.yaml", "dagster-values.yaml")


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def _parts(value: Any) -> list[dict[str, Any]]:
    """Every mapping inside, however deep."""
    inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    own = [value] if isinstance(value, dict) else []
    return own + [part for each in inside for part in _parts(each)]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_variable_is_a_setting(path: Path) -> None:
    # The name alone, not the start of several.
    names = {name.lower() for name in re.findall(r"LIKENESS_([A-Z0-9_]*[A-Z0-9])\b", path.read_text())}
    known = {*Settings.model_fields, *(f"serve_{name}" for name in ServiceSettings.model_fields)}
    assert names <= known, names - known


@pytest.mark.parametrize("name", ["dagster-values.yaml", "ray-cluster.yaml", "ray-serve.yaml", "mlflow.yaml"])
def test_values_of_variables_are_ones_that_the_settings_take(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in _parts(_documents(name)):
        if str(part.get("name", "")).startswith("LIKENESS_"):
            monkeypatch.setenv(part["name"], part["value"])
    assert Settings().k8s_volume_claim == "likeness"
    ServiceSettings()


def test_steps_find_their_checkpoints_on_the_one_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    (volume,) = _documents("volume.yaml")
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]
    claim = volume["metadata"]["name"]
    assert claim == Settings().k8s_volume_claim
    claims = [part["claimName"] for name in MOUNTING for part in _claims(name)]
    assert claims and set(claims) == {claim}
    ray = _parts(_documents("ray-cluster.yaml"))
    mounts = {part["mountPath"] for part in ray if "mountPath" in part}
    assert mounts == {str(Settings().k8s_mount)}
    (told,) = {part["value"] for part in ray if part.get("name") == "LIKENESS_CHECKPOINTS"}
    assert told == str(Settings(executor="k8s").checkpoints)


def _claims(name: str) -> list[dict[str, Any]]:
    return [part for part in _parts(_documents(name)) if "claimName" in part]


def test_a_ray_gpu_worker_is_large_enough_for_each_gpu_step() -> None:
    groups = {each["groupName"]: each for each in _documents("ray-cluster.yaml")[0]["spec"]["workerGroupSpecs"]}
    for stage in STAGES:
        (container,) = groups["gpu" if stage.uses_gpu else "cpu"]["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        assert float(limits["cpu"]) >= stage.resources.cpus, stage.name
        # Ray gives steps seven tenths of a node's memory, the rest is its object store's.
        assert float(limits["memory"].removesuffix("Gi")) * 0.7 >= stage.resources.memory_gb, stage.name
        assert float(limits.get("nvidia.com/gpu", 0)) >= stage.resources.gpus, stage.name


def test_one_image_and_the_versions_of_the_lock_are_named() -> None:
    images = [part["image"] for path in YAML for part in _parts(_documents(path.name)) if "image" in part]
    named = {image if isinstance(image, str) else f"{image['repository']}:{image['tag']}" for image in images}
    assert named == {"likeness:1.0", "postgres:15"}
    clusters = [part for name in ("ray-cluster.yaml", "ray-serve.yaml") for part in _parts(_documents(name))]
    versions = [part["rayVersion"] for part in clusters if "rayVersion" in part]
    assert versions == [importlib.metadata.version("ray")] * 2
    assert f"--version {importlib.metadata.version('dagster')} " in (DEPLOY / "dagster-values.yaml").read_text()


def test_kuberay_is_told_what_the_command_tells_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve.schema import ServeDeploySchema

    spec = _documents("ray-serve.yaml")[0]["spec"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"]))
    (application,) = config.applications
    assert (application.name, application.route_prefix) == (ray_serve.NAME, ray_serve.ROUTE)
    assert application.import_path == replicas.HERE
    order = replicas.ReplicaConfig(**application.args)
    assert order.host == config.http_options.host, "keys are asked for where other machines can ask"
    (workers,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    service = order.service()
    assert order.replicas * service.workers <= workers["maxReplicas"] * float(container["resources"]["limits"]["cpu"])
    shared = str(Settings().k8s_mount)
    assert service.keys is not None and str(service.keys).startswith(shared)
    assert service.store is not None and str(service.store).startswith(shared)
    assert workers["template"]["spec"]["terminationGracePeriodSeconds"] > service.grace
    assert config.http_options.port in {port["containerPort"] for port in container["ports"]}


def test_compose_gives_the_service_its_time_to_stop() -> None:
    (compose,) = _documents("compose.yaml")
    assert float(compose["services"]["service"]["stop_grace_period"].removesuffix("s")) > ServiceSettings().grace


def test_the_chart_queues_runs_as_the_instance_of_one_machine_does() -> None:
    (values,) = _documents("dagster-values.yaml")
    pools, runs = (yaml.safe_load(dagster_yaml(Settings()))["concurrency"][part] for part in ("pools", "runs"))
    assert values["concurrency"]["pools"] == {
        "defaultLimit": pools["default_limit"],
        "granularity": pools["granularity"],
    }
    assert values["concurrency"]["runs"] == {
        "maxConcurrentRuns": runs["max_concurrent_runs"],
        "tagConcurrencyLimits": runs["tag_concurrency_limits"],
    }


def test_no_password_stands_in_a_file() -> None:
    for path in YAML:
        for part in _parts(_documents(path.name)):
            for name, value in part.items():
                if "PASSWORD" in str(name).upper() and isinstance(value, str):
                    assert value.startswith("${"), f"{path.name}: {name}"
            if "PASSWORD" in str(part.get("name", "")).upper():
                assert "value" not in part, f"{path.name}: {part}"


def test_the_image_installs_what_the_makefile_installs() -> None:
    dockerfile, makefile = (DEPLOY / "Dockerfile").read_text(), (REPOSITORY / "Makefile").read_text()
    locks = ("--require-hashes -r requirements.lock", "--require-hashes -r requirements-cuda.lock")
    only_cuda = "-m pip show torch | grep '^Version: .*+cpu' >/dev/null"
    for command in (*locks, only_cuda, "--no-build-isolation -e .", "npm ci --omit=dev"):
        assert command in dockerfile and command in makefile
    assert dockerfile.count("-m pip install") == dockerfile.count("--no-deps")
    assert (
        "COPY --from=page /app/dist serving/web/dist" in dockerfile and static.DIST == REPOSITORY / "serving/web/dist"
    )
    assert set(LIBRARIES.values()) <= set(dockerfile.split())


# --- what the API server of a cluster would say


def test_every_manifest_is_what_its_api_version_takes() -> None:
    manifests = [document for name in ("volume.yaml", "mlflow.yaml") for document in _documents(name)]
    assert [each["kind"] for each in manifests] == ["PersistentVolumeClaim", "Deployment", "Service"]
    assert [problem for each in manifests for problem in problems(each)] == []


RAY_GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
RAY_KEYS = {
    "cluster": {"rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"},
    "service": {"serveConfigV2", "rayClusterConfig"},
}
"""What of KubeRay's ray.io/v1 is used; the names were held against its definitions."""


@pytest.mark.parametrize("name", ["ray-cluster.yaml", "ray-serve.yaml"])
def test_pods_of_ray_are_what_the_api_takes_and_ray_itself_reads_their_size(name: str) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    (document,) = _documents(name)
    assert document["apiVersion"] == "ray.io/v1" and set(document) == {"apiVersion", "kind", "metadata", "spec"}
    spec = document["spec"]
    if name == "ray-serve.yaml":
        assert set(spec) == RAY_KEYS["service"]
        spec = spec["rayClusterConfig"]
    assert set(spec) == RAY_KEYS["cluster"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert set(group) <= RAY_GROUP
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert problems(group["template"], "V1PodTemplateSpec") == []
    read = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"namespace": "likeness", **document["metadata"]}, "spec": spec}
    )
    types = read["available_node_types"]
    assert types[read["head_node_type"]]["resources"]["CPU"] == 0
    for group in spec["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        seen = types[group["groupName"]]
        assert seen["resources"]["CPU"] == int(limits["cpu"]), "Ray counts the limit"
        assert seen["resources"].get("GPU", 0) == int(limits.get("nvidia.com/gpu", 0))
        assert (seen["min_workers"], seen["max_workers"]) == (group["minReplicas"], group["maxReplicas"])


def test_what_the_charts_values_say_of_pods_is_what_the_api_takes() -> None:
    (values,) = _documents("dagster-values.yaml")
    (code,) = values["dagster-user-deployments"]["deployments"]
    probe = {name: value for name, value in code["startupProbe"].items() if name != "enabled"}
    container = {
        "name": code["name"],
        "image": f"{code['image']['repository']}:{code['image']['tag']}",
        "imagePullPolicy": code["image"]["pullPolicy"],
        "args": code["dagsterApiGrpcArgs"],
        "ports": [{"containerPort": code["port"]}],
        "env": code["env"],
        "envFrom": [{"secretRef": secret} for secret in code["envSecrets"]],
        "resources": code["resources"],
        "volumeMounts": code["volumeMounts"],
        "startupProbe": probe,
    }
    pod = {"containers": [container], "volumes": code["volumes"], "securityContext": code["podSecurityContext"]}
    assert problems(pod, "V1PodSpec") == []
    of_runs = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    assert problems({"containers": [], **of_runs["podSpecConfig"]}, "V1PodSpec") == []
    template = {"template": {"spec": {"containers": []}}}
    assert problems({**template, **of_runs["jobSpecConfig"]}, "V1JobSpec") == []
    for variable in values["dagsterDaemon"]["env"]:
        assert problems(variable, "V1EnvVar") == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hostnetwork": True}, "no field is called hostnetwork"),
        ({"hostNetwork": "yes"}, "'yes' is not of its type"),
        ({"containers": [{"image": "likeness"}]}, "must not be `None`"),
        ({"containers": [{"name": "a", "env": [{"name": "B", "value": 5}]}]}, "5 is not of its type"),
        ({"containers": [{"name": "a", "resources": {"limits": {"memory": "4 GB"}}}]}, "'4 GB' is no quantity"),
    ],
)
def test_a_wrong_manifest_would_be_found(change: dict[str, Any], told: str) -> None:
    (found,) = problems({"containers": [{"name": "a"}], **change}, "V1PodSpec")
    assert told in found


# --- docker compose


def test_services_of_compose_name_volumes_and_services_that_are_there() -> None:
    files = [_documents(name)[0] for name in ("compose.yaml", "login/compose.yaml")]
    services = files[0]["services"] | files[1]["services"]
    volumes = {name for each in files for name in each["volumes"]}
    for name, service in ((name, service) for each in files for name, service in each["services"].items()):
        assert set(service.get("depends_on", ())) <= set(services), name
        named = {volume.partition(":")[0] for volume in service.get("volumes", ())}
        for volume in named:
            assert volume in volumes or volume.startswith("./login"), f"{name}: {volume}"


def test_the_login_leads_to_services_that_are_there() -> None:
    services = {**_documents("compose.yaml")[0]["services"], **_documents("login/compose.yaml")[0]["services"]}
    told = "".join(path.read_text() for path in LOGIN.glob("*.caddy")) + (LOGIN / "Caddyfile").read_text()
    upstreams = dict(re.findall(r"\{\$(?:DAGSTER|DAGSTER_READ_ONLY|MLFLOW|SERVICE|GATEWAY):(\w+):(\d+)\}", told))
    assert upstreams == {"webserver": "3000", "viewer": "3000", "mlflow": "5000", "service": "8000", "login": "9091"}
    assert set(upstreams) <= set(services)
    webserver = _documents("compose.yaml")[0]["services"]["webserver"]
    mine, its = (dict(each["environment"]) for each in (services["viewer"], webserver))
    assert mine.pop("PGPASSWORD").startswith("${POSTGRES_PASSWORD:?") and mine.items() < its.items()
    assert services["viewer"]["volumes"] == webserver["volumes"]
    keys = _documents("login/compose.yaml")[0]["services"]
    proxy = keys["caddy"]["environment"]["PROXY_KEY"]
    assert keys["webserver"]["environment"]["LIKENESS_PROXY_KEY"] == proxy, "the proxy's and Dagster's"
    allowed = services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert "mlflow.studio.example" in allowed and "mlflow:5000" in allowed
