"""The same application on several machines: replicas under Ray Serve.

Every replica is the whole application with model workers and a rendering process of its own, and follows the alias by
itself. Ray's proxies, one on each machine that has replicas, hand requests to the replica that has least to do. The
characters lie in one folder that all machines see (LIKENESS_SERVE_STORE).

Ray is told by its job server's REST interface, as KubeRay does it (deploy/ray-serve.yaml): nothing of ours has to go on
running for the service to go on. Asked again, it puts new replicas beside the old ones, and old ones finish what they
have begun.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, NonNegativeFloat, PositiveInt, model_validator

from engine.errors import LikenessError
from serving.configuration import CANARY_WORKERS, ServiceSettings
from serving.workers.model_manager import NoModel

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

NAME, ROUTE = "likeness", "/"
LOADS_WITHIN = 300.0
"""Seconds that a replica may take until its model answers."""
OTHER_REQUESTS = 64
"""Requests of a replica beside the photos that wait: pages, drawings, changes."""
PROGRESS = {"DEPLOYING", "NOT_STARTED"}


class ClusterError(LikenessError):
    """The cluster does not take the service; the message says why, and what to do."""


class ScalingConfig(BaseModel, frozen=True, extra="forbid"):
    """How many replicas, and what each asks Ray for. Its CPUs are as many as its model workers."""

    replicas: PositiveInt = 1
    most_replicas: PositiveInt | None = None
    """More than `replicas`: Ray adds some while photos wait, and takes them away again. None: as many all the time."""
    gpus: NonNegativeFloat = 0.0
    """GPUs of a replica; below 1, so many replicas share one."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.most_replicas is not None and self.most_replicas < self.replicas:
            raise ValueError(f"at least {self.replicas} and at most {self.most_replicas} replicas cannot be")
        return self


class Replica:
    """One replica, as Ray Serve runs it. `build`: makes the application, once, on the replica's machine."""

    def __init__(self, build: Callable[[], FastAPI]) -> None:
        self._build = build

    def __serve_build_asgi_app__(self) -> FastAPI:
        self._application = self._build()
        return self._application

    async def check_health(self) -> None:
        """Ray asks before it sends the first request, and then every few seconds.

        Healthy is what has a model. A replica with a full queue answers 429 itself: it must not be ended for it.
        Raises NoModel.
        """
        models = self._application.state.serving.models
        try:
            async with asyncio.timeout(LOADS_WITHIN):
                while models.pool is None:
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise NoModel(models.why_none) from error


def replica_settings(service: ServiceSettings, scaling: ScalingConfig) -> ServiceSettings:
    """The service's settings for one replica: a worker and the CPU, or a GPU where it has one, unless the environment
    says otherwise. A machine's cores are shared by its replicas."""
    defaults = {"workers": 1, "device": "cuda" if scaling.gpus else "cpu"}
    return service.model_copy(
        update={name: value for name, value in defaults.items() if name not in service.model_fields_set}
    )


def application(build: Callable[[], FastAPI], service: ServiceSettings, scaling: ScalingConfig) -> Application:
    """What Ray Serve runs: replicas of what `build` makes. `service`: of one replica, see `replica_settings`."""
    from ray import serve

    # The replica bounds its own queue, and says so with 429 and Retry-After; Ray's bound is never the lower one.
    at_once = service.workers * service.batch
    # A shadow's worker asks for none: it runs while nobody else wants to.
    processes = service.workers + (CANARY_WORKERS if service.canary else 0)
    options: dict[str, Any] = {
        "max_ongoing_requests": service.queue + at_once + OTHER_REQUESTS,
        "ray_actor_options": {"num_cpus": processes, "num_gpus": scaling.gpus},
        "graceful_shutdown_timeout_s": service.grace,
        "health_check_period_s": 5.0,
    }
    if scaling.most_replicas is None:
        options["num_replicas"] = scaling.replicas
    else:
        options["autoscaling_config"] = {
            "min_replicas": scaling.replicas,
            "max_replicas": scaling.most_replicas,
            # Twice as many as it reads at once: one lot is being read, one waits.
            "target_ongoing_requests": 2 * at_once,
            "upscale_delay_s": 10.0,
        }
    return serve.deployment(**options)(serve.ingress()(Replica)).bind(build)


def deploy(
    address: str,
    import_path: str,
    arguments: Mapping[str, Any],
    environment: Mapping[str, str],
    host: str = "127.0.0.1",
    port: int = 8000,
    report: Callable[[str], None] = lambda state: None,
) -> str:
    """Start the service on a cluster, or change what runs there; back when every replica answers.

    Args:
        address: Ray's job server, http://host:8265.
        import_path: `module:function` on the cluster's machines that makes the application from `arguments`.
        environment: variables for the replicas.
        host: interface of Ray's proxies, `port` theirs; where Ray Serve runs already, they must be what it has.
        report: hears how many replicas run, whenever that changes.

    Returns: where the service answers.

    Raises ClusterError.
    """
    client = _client(address)
    before = _ask(client.get_serve_details)
    _require_same(before.get("http_options"), host, port)
    config = {
        "name": NAME,
        "route_prefix": ROUTE,
        "import_path": import_path,
        "args": dict(arguments),
        "runtime_env": {"env_vars": dict(environment)},
    }
    _ask(lambda: client.deploy_applications(_whole([*_others(before), config], host, port)))
    try:
        _wait_until_running(client, report)
    except ClusterError:
        if NAME not in before["applications"]:
            stop(address)  # nothing of it answered before, and nothing shall be left of it
        raise
    return f"http://{host}:{port}"


def stop(address: str) -> None:
    """End the service on a cluster; requests under way are finished. Raises ClusterError."""
    client = _client(address)
    details = _ask(client.get_serve_details)
    if NAME not in details["applications"]:
        raise ClusterError(f"the service does not run on the Ray cluster at {address}")
    proxies, others = details["http_options"], _others(details)
    _ask(lambda: client.deploy_applications(_whole(others, proxies["host"], proxies["port"])))
    while NAME in _ask(client.get_serve_details)["applications"]:
        time.sleep(0.5)
    if not others:
        _ask(client.delete_applications)  # Ray Serve itself, with its proxies


def _client(address: str) -> Any:
    try:
        from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

        return ServeSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"no Ray job server answers at {address}: start one (`ray start --head`), and name its dashboard, such as "
            "http://127.0.0.1:8265"
        ) from error


def _require_same(proxies: Mapping[str, Any] | None, host: str, port: int) -> None:
    """Ray keeps the proxies that it was started with, and whether keys are asked for depends on their interface."""
    if proxies and (proxies["host"], proxies["port"]) != (host, port):
        raise ClusterError(
            f"Ray Serve listens on {proxies['host']}, port {proxies['port']} already: ask for the same, or end what "
            "runs there (`serve shutdown`)"
        )


def _ask(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (ConnectionError, RuntimeError, OSError) as error:
        raise ClusterError(f"the Ray cluster refused the service: {error}") from error


def _others(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Other applications of the cluster: Ray ends those that it is not asked for again."""
    found = [each.get("deployed_app_config") for name, each in details["applications"].items() if name != NAME]
    return [config for config in found if config]


def _whole(applications: list[dict[str, Any]], host: str, port: int) -> dict[str, Any]:
    return {"proxy_location": "EveryNode", "http_options": {"host": host, "port": port}, "applications": applications}


def _wait_until_running(client: Any, report: Callable[[str], None]) -> None:
    """Until all replicas have a model; a deployment that fails says why. Raises ClusterError."""
    told, deadline = "", time.monotonic() + 2 * LOADS_WITHIN
    while time.monotonic() < deadline:
        found = _ask(client.get_serve_details)["applications"].get(NAME, {"status": "NOT_STARTED"})
        if (state := _state(found)) != told:
            report(told := state)
        if found["status"] == "RUNNING":
            return
        if found["status"] not in PROGRESS:
            raise ClusterError(f"the service does not start on the cluster: {_reason(found)}")
        time.sleep(0.5)
    raise ClusterError(f"the service did not start on the cluster within {2 * LOADS_WITHIN:.0f} seconds: {told}")


def _state(application: Mapping[str, Any]) -> str:
    replicas = [each["state"] for one in application.get("deployments", {}).values() for each in one["replicas"]]
    return f"{replicas.count('RUNNING')} of {len(replicas)} replicas answer" if replicas else "the cluster builds it"


def _reason(application: Mapping[str, Any]) -> str:
    """The last line of what Ray says, the others being where it happened; a deployment knows more than the whole."""
    messages = [application.get("message", ""), *(each["message"] for each in application["deployments"].values())]
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else "Ray does not say why"
