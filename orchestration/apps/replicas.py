"""`likeness serve` on a Ray cluster: the replicas' application, made on their machines from their settings.

Ray Serve and KubeRay (deploy/ray-serve.yaml) name `orchestration.apps.replicas:application`.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from orchestration.config.settings import Settings, environment_elsewhere
from orchestration.registry.promotion_events import PRODUCTION
from serving import ray_serve
from serving.configuration import ServiceSettings
from serving.releases import NothingReleased, SourceDown

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

HERE = f"{__name__}:application"


class ReplicaConfig(ray_serve.ScalingConfig, frozen=True):
    """What the application is made from, beside the settings in the environment."""

    alias: str = PRODUCTION
    host: str = "0.0.0.0"
    """Interface of Ray's proxies: on any but this machine's own address there must be API keys."""

    def service(self) -> ServiceSettings:
        """One replica's settings, on the machine that it is asked on."""
        return ray_serve.replica_settings(ServiceSettings(), self)


# Ray reads the annotation and makes a ReplicaConfig of its JSON: it must not be a string.
def application(config: ReplicaConfig) -> "Application":
    """What Ray Serve runs. It is called on one of the cluster's machines."""
    return ray_serve.application(partial(_build, config), config.service(), config)


def _build(config: ReplicaConfig) -> "FastAPI":
    """One replica's application, on its machine."""
    from orchestration.apps.service import build_application  # loads the engine and MLflow, for a replica alone

    return build_application(Settings(), config.service(), config.alias, config.host)


def deploy(address: str, config: ReplicaConfig, port: int, report: Callable[[str], None]) -> str:
    """Start or change the service on the cluster whose job server is at `address`, with this process's settings.

    `report` hears how far it is. Returns where it answers. Raises ClusterError, ServingError or KeyProblem.
    """
    from orchestration.apps.service import release_source, required_keys

    settings = Settings()
    required_keys(config.host, config.service(), settings)
    try:
        release_source(settings, config.alias).current()
    except (SourceDown, NothingReleased) as error:
        raise ray_serve.ClusterError(str(error)) from error
    environment = environment_elsewhere(os.environ, without=("LIKENESS_EXECUTOR",))
    return ray_serve.deploy(address, HERE, config.model_dump(), environment, config.host, port, report)
