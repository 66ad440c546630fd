"""The whole graph as the cluster of docs/deploy.md runs it: by Dagster's launcher and executor of Kubernetes jobs, each
step a process that shares nothing with others but the bucket, MLflow, PostgreSQL and the volume of the checkpoints.

What is not tried: a kubelet, and the network and the image of a cluster.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster_graphql.client.query import LAUNCH_PIPELINE_EXECUTION_MUTATION
from dagster_graphql.test.utils import execute_dagster_graphql

from orchestration.config.catalog import STAGES
from orchestration.config.profiles import PROFILES
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.pipeline import production_encoder
from orchestration.pipeline.executors import resources_of
from orchestration.storage import versions
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking
from tests.orchestration.pods import MOUNTS, NAMESPACE, ROOT, Cluster, Pod, cluster, require_mounts
from tests.orchestration.postgres_server import PASSWORD, postgres_server
from tests.orchestration.servers import free_ports, wait_for
from tests.orchestration.test_worker import BUCKET, S3

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
DAGSTER_HOME = MOUNTS / "dagster_home"
DEPLOY = REPOSITORY / "deploy"
SOURCES = ("embedded", "photos", "characters")
MADE = [*(each.name for each in STAGES), production_encoder.NAME]
PARTITION = {"dagster/partition": "embedded"}


@dataclass
class Platform:
    """The cluster, the daemon's view of Dagster, and how runs are launched."""

    cluster: Cluster
    instance: dg.DagsterInstance
    settings: Settings
    workspace: WorkspaceProcessContext

    def run(self, *assets: str, **tags: str) -> dg.DagsterRun:
        """One run of these assets, started as Dagster's pages do; when it has ended."""
        selection = [{"path": [name]} for name in assets]
        where = {
            "repositoryLocationName": "likeness",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
        }
        params = {
            "selector": {**where, "assetSelection": selection},
            "runConfigData": {},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        context = self.workspace.create_request_context()
        result = execute_dagster_graphql(context, LAUNCH_PIPELINE_EXECUTION_MUTATION, {"executionParams": params})
        launched = result.data["launchPipelineExecution"]
        assert "run" in launched, launched.get("message", launched)
        run_id = launched["run"]["runId"]
        deadline = time.monotonic() + 1300
        while (run := self.instance.get_run_by_id(run_id)) and not run.is_finished:
            assert time.monotonic() < deadline, self.told(run_id)
            time.sleep(0.5)
        assert run is not None and run.is_success, self.told(run_id)
        return run

    def told(self, run_id: str) -> str:
        """What there is to say about a run that failed."""
        entries = self.instance.all_logs(run_id)
        failed = [e.dagster_event for e in entries if e.dagster_event and e.dagster_event.is_failure]
        errors = [getattr(event.event_specific_data, "error", None) for event in failed]
        reasons = [error.to_string()[-4000:] for error in errors if error]
        events = [entry.user_message or entry.message for entry in entries][-12:]
        ended = [pod for pod in self.cluster.pods.values() if pod.process.poll()]
        logs = [f"--- {pod.name}, exit code {pod.process.returncode}\n{pod.log[-3000:]}" for pod in ended]
        return "\n".join([*events, *logs, *reasons])

    def pod_of(self, step: str) -> Pod:
        """The pod that a step ran in."""
        (found,) = (pod for pod in self.cluster.pods.values() if pod.environment.get("DAGSTER_RUN_STEP_KEY") == step)
        return found


def _values(database: str, mlflow: str, profile: Path) -> dict[str, Any]:
    """The chart's values for this machine: other addresses, a smaller profile, the pods' place for the image, and a
    core a step, whose threads would wait for each other."""
    text = (DEPLOY / "dagster-values.yaml").read_text()
    cores = json.dumps({stage.name: {"cpus": 1} for stage in STAGES})
    executor = "- {name: LIKENESS_EXECUTOR, value: k8s}"
    others = {
        executor: f"{executor}\n        - {{name: LIKENESS_RESOURCES, value: '{cores}'}}",
        "postgresql://dagster@dagster-postgresql/dagster": database,
        "http://mlflow:5000": mlflow,
        "s3://studio-likeness/dvc": f"s3://{BUCKET}/dvc",
        "LIKENESS_PROFILE, value: paper": f"LIKENESS_PROFILE, value: {profile}",
        "/app/": f"{ROOT}/",
    }
    for old, new in others.items():
        assert old in text, old
        text = text.replace(old, new)
    return yaml.safe_load(text)


def _instance_config(values: dict[str, Any], database: str, kubeconfig: Path) -> str:
    """dagster.yaml as the chart writes it of these values, but for who knows the API server."""
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    run_config = {
        "pod_spec_config": launcher["runK8sConfig"]["podSpecConfig"],
        "job_spec_config": launcher["runK8sConfig"]["jobSpecConfig"],
    }
    config = {
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
        "job_namespace": NAMESPACE,
        "service_account_name": "dagster",
        "dagster_home": str(DAGSTER_HOME),
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "env_config_maps": ["dagster-pipeline-env"],
        "run_k8s_config": run_config,
    }
    user, _, place = database.removeprefix("postgresql://").partition("@")
    address, _, name = place.partition("/")
    host, _, port = address.partition(":")
    postgres = {"username": user, "password": {"env": "DAGSTER_PG_PASSWORD"}, "hostname": host, "db_name": name}
    scheme = values["postgresql"]["postgresqlScheme"]
    storage = {"postgres": {"postgres_db": {**postgres, "port": int(port), "scheme": scheme}}}
    parts = {
        "storage": storage,
        "run_launcher": {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": config},
        # The daemon's queue is tests/orchestration/test_daemon.py's matter: a run starts when it is asked for.
        "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
        "telemetry": {"enabled": False},
    }
    return yaml.safe_dump(parts)


def _code_server(values: dict[str, Any], port: int) -> dict[str, Any]:
    """The pod of the code location, as the chart writes it."""
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    image = f"{deployment['image']['repository']}:{deployment['image']['tag']}"
    assert deployment["includeConfigInLaunchedRuns"]["enabled"]
    context = {
        "image_pull_policy": deployment["image"]["pullPolicy"],
        "env_secrets": [secret["name"] for secret in deployment["envSecrets"]],
        "volume_mounts": deployment["volumeMounts"],
        "volumes": deployment["volumes"],
        "resources": deployment["resources"],
        "env": deployment["env"],
    }
    own = [
        {"name": "DAGSTER_CURRENT_IMAGE", "value": image},
        {"name": "DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT", "value": json.dumps({"k8s": context})},
        {"name": "DAGSTER_HOME", "value": str(DAGSTER_HOME)},
        {
            "name": "DAGSTER_PG_PASSWORD",
            "valueFrom": {"secretKeyRef": {"name": "likeness-postgresql", "key": "postgresql-password"}},
        },
    ]
    container = {
        "name": "dagster-user-deployments",
        "image": image,
        "args": ["dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(port), *deployment["dagsterApiGrpcArgs"]],
        "env": [*own, *deployment["env"]],
        "envFrom": [{"secretRef": secret} for secret in deployment["envSecrets"]],
        "resources": deployment["resources"],
        "volumeMounts": deployment["volumeMounts"],
    }
    return {"containers": [container], "volumes": deployment["volumes"]}


def _mlflow(database: str, port: int) -> dict[str, Any]:
    """The pod of deploy/mlflow.yaml, on another port and with one worker."""
    manifest = next(iter(yaml.safe_load_all((DEPLOY / "mlflow.yaml").read_text())))
    spec = manifest["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (script,) = container["args"]
    script = script.replace("0.0.0.0 --port 5000", f"127.0.0.1 --port {port}").replace("--workers 2", "--workers 1")
    container["args"] = [script]
    (named,) = (each for each in container["env"] if each["name"] == "LIKENESS_DATABASE")
    named["value"] = database
    return spec


def _profile(folder: Path) -> Path:
    """The smoke profile; what is scored is the smoke graph's matter: of that as little as there can be."""
    profile = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    profile["scorecard"] |= {"people": 2, "judged": 2, "searched": 0, "degraded": 1, "degraded_judged": 1, "pairs": 2}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(profile))
    return path


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    server = S3(tmp_path_factory.mktemp("s3"))
    credentials = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**credentials, "AWS_ENDPOINT_URL": server.address}.items():
            patch.setenv(name, value)
        with server.up():
            yield server


@pytest.fixture(scope="module")
def platform(gathered: Path, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    require_mounts()
    folder = tmp_path_factory.mktemp("cluster")
    grpc, mlflow = free_ports(2)
    with postgres_server() as postgres, cluster(folder) as (pods, kubeconfig), pytest.MonkeyPatch.context() as patch:
        database = postgres.create("dagster")
        values = _values(database, f"http://127.0.0.1:{mlflow}", _profile(folder))
        aws = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
        pods.secrets["likeness"] = {"PGPASSWORD": PASSWORD, **aws, "AWS_ENDPOINT_URL": s3.address}
        pods.secrets["likeness-postgresql"] = {"postgresql-password": PASSWORD}
        config = _instance_config(values, database, kubeconfig)
        pods.config_maps |= {"dagster-instance": {"dagster.yaml": config}, "dagster-pipeline-env": {}}
        data = pods.claim("likeness") / "data"
        data.mkdir()
        for name in ("embedded", "photos"):
            (data / name).symlink_to(REPOSITORY / "data" / name)
        server = pods.start("mlflow", _mlflow(database, mlflow))
        wait_for(f"http://127.0.0.1:{mlflow}/health", server.process, server.folder / "log")
        pods.start("code-location", _code_server(values, grpc))
        home = folder / "daemon"
        home.mkdir()
        (home / "dagster.yaml").write_text(config)
        told = {"DAGSTER_PG_PASSWORD": PASSWORD, "PGPASSWORD": PASSWORD}
        for name, value in told.items():
            patch.setenv(name, value)
        settings = Settings(
            root=folder / "elsewhere", dvc_remote=f"s3://{BUCKET}/dvc", mlflow_uri=f"http://127.0.0.1:{mlflow}"
        )
        target = GrpcServerTarget(host="127.0.0.1", port=grpc, socket=None, location_name="likeness")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            _wait_for_code(grpc, pods.pods["code-location"])
            with WorkspaceProcessContext(instance, target) as workspace:
                yield Platform(pods, instance, settings, workspace)


def _wait_for_code(port: int, pod: Pod) -> None:
    from dagster._grpc.client import DagsterGrpcClient

    deadline = time.monotonic() + 600
    while True:
        try:
            DagsterGrpcClient(host="127.0.0.1", port=port).ping("")
            return
        except Exception:
            assert pod.process.poll() is None and time.monotonic() < deadline, pod.log
            time.sleep(0.5)


@pytest.fixture(scope="module")
def run(platform: Platform) -> dg.DagsterRun:
    """The sources looked at, then every asset made in one run, by pods that have no data of their own."""
    platform.run(*SOURCES, **PARTITION)
    data = platform.cluster.claim("likeness") / "data"
    for source in data.iterdir():
        source.unlink()
    return platform.run(*MADE, **PARTITION)


def test_every_asset_is_made_by_a_pod_of_its_own_from_what_was_recorded(platform: Platform, run: dg.DagsterRun) -> None:
    for stage in MADE:
        pod = platform.pod_of(stage)
        assert any(path.startswith("artifacts/") for path in pod.files), stage
        assert pod.environment["LIKENESS_SOURCES"] == "remote"
        assert not any(path.startswith("data/") for path in pod.files), "of its own it has none"
    assert platform.cluster.refused == [], "by the API server"


def test_what_was_made_is_found_by_a_machine_that_has_nothing(platform: Platform, run: dg.DagsterRun) -> None:
    store = Store.of(platform.settings)
    (platform.settings.root / ".dvc").mkdir(parents=True)
    (platform.settings.root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    for stage in (*STAGES, production_encoder.STAGE):
        made = versions.latest(platform.instance, stage.name, "embedded" if stage.by_character else None)
        assert made is not None and store.availability(made.md5).remote, stage.name
    models = Tracking.of(platform.settings).client()
    assert models.get_model_version_by_alias("likeness-embedded", "newest").version == "1"
    assert {path.name for path in platform.cluster.claim("likeness").iterdir()} == {
        "cache",
        "checkpoints",
        "data",
        "mlflow",
    }


def test_jobs_hold_no_password_and_steps_get_what_the_catalog_says(platform: Platform, run: dg.DagsterRun) -> None:
    for stage in STAGES:
        spec = platform.pod_of(stage.name).spec
        assert PASSWORD not in json.dumps(spec)
        (container,) = spec["containers"]
        wanted = resources_of(stage, Settings(device="cpu", executor="k8s"))
        assert container["resources"]["limits"]["memory"] == f"{int(wanted.memory_gb * 1024)}Mi", stage.name
