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

DEPLOY = REPOSITORY / "deploy"
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
    pools = yaml.safe_load(dagster_yaml(Settings()))["concurrency"]["pools"]
    assert values["concurrency"]["pools"] == {
        "defaultLimit": pools["default_limit"],
        "granularity": pools["granularity"],
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


# --- the login


LOGIN = DEPLOY / "login"
PORTS = {"webserver": "3000", "viewer": "3000", "mlflow": "5000", "service": "8000", "login": "9091"}


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _login_rule(domain: str, group: str, method: str, path: str) -> str:
    """What Authelia would say: the policy of the first rule that fits."""
    for rule in yaml.safe_load((LOGIN / "authelia.yaml").read_text())["access_control"]["rules"]:
        subjects = _several(rule.get("subject", f"group:{group}"))
        fits = domain in _several(rule["domain"]) and f"group:{group}" in subjects
        fits &= method in rule.get("methods", [method])
        if fits and any(re.search(pattern, path) for pattern in rule.get("resources", [""])):
            return rule["policy"]
    return "deny"


def test_viewers_can_change_nothing_in_mlflow() -> None:
    """Of every request that MLflow knows."""
    from mlflow.server.handlers import get_endpoints

    changes = re.compile(r"_(create|update|delete|set|log|rename|transition|restore|register|upload|link|start|end)_")
    asked = {(method, path, f"{handler.__name__}_") for path, handler, methods in get_endpoints() for method in methods}
    assert len(asked) > 100
    for method, path, handler in asked:
        mine = _login_rule("mlflow.studio.example", "viewers", method, path)
        if method != "GET":
            assert mine == "deny" or "_search_" in handler, (method, path)
        assert mine == "deny" or not changes.search(handler), (method, path)
        assert _login_rule("mlflow.studio.example", "platform", method, path) == "two_factor"
    searches = {path for method, path, _ in asked if method == "POST" and path.startswith("/ajax-api/2.0/mlflow/")}
    seen = {path for path in searches if _login_rule("mlflow.studio.example", "viewers", "POST", path) != "deny"}
    assert seen == {f"/ajax-api/2.0/mlflow/{kind}/search" for kind in ("runs", "experiments", "logged-models")}


def test_every_page_has_the_login_before_it_and_leads_to_a_service_that_is_there() -> None:
    services = {**_documents("compose.yaml")[0]["services"], **_documents("login/compose.yaml")[0]["services"]}
    caddy = (LOGIN / "Caddyfile").read_text()
    sites = dict(re.findall(r"^(\S+\.studio\.example) \{\n(.*?)^\}", caddy, re.M | re.S))
    rules = yaml.safe_load((LOGIN / "authelia.yaml").read_text())["access_control"]
    known = {name for rule in rules["rules"] for name in _several(rule["domain"])}
    assert set(sites) == known | {"login.studio.example"} and rules["default_policy"] == "deny"
    for name, site in sites.items():
        assert ("import login\n" in site) is (name != "login.studio.example"), name
        ((upstream, port),) = re.findall(r"reverse_proxy (\w+):(\d+)", site)
        assert upstream in services and port == PORTS[upstream]
    webserver = _documents("compose.yaml")[0]["services"]["webserver"]
    mine, its = (dict(each["environment"]) for each in (services["viewer"], webserver))
    assert mine.pop("PGPASSWORD").startswith("${POSTGRES_PASSWORD:?") and mine.items() < its.items()
    assert services["viewer"]["volumes"] == webserver["volumes"]
    allowed = services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert "mlflow.studio.example" in allowed and "mlflow:5000" in allowed
