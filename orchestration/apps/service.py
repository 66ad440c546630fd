"""The HTTP service of a project, put together: which models it follows, what it serves, and who may ask it."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from fastapi import FastAPI

from engine.errors import LikenessError
from orchestration.config.addresses import why_taken
from orchestration.config.settings import Settings
from orchestration.registry.registered_models import Registry
from orchestration.registry.registry_source import RegistrySource
from orchestration.storage.tracking import Tracking
from serving.app import build
from serving.configuration import ServiceSettings
from serving.dependencies import USAGE, Paths
from serving.keys import Keys

ENGINE = "stages.data.rendering:engine_of"
"""What opens the engine in the service's workers. `serving` does not know `stages`, so its name is given from here."""
RELEASES, CANDIDATES = "releases", "candidates"
"""Folders of fetched versions. Each keeps a few: candidates, which change often, must not push production out."""


class ServingError(LikenessError):
    """The service cannot listen, or has no API keys where it needs some; the message says what to do."""


def build_application(settings: Settings, service: ServiceSettings, alias: str, host: str) -> FastAPI:
    """The service that follows an alias and listens on `host`, not yet started.

    Raises ServingError, KeyProblem, or SchemaError where the character cannot be read.
    """
    folder = settings.characters / settings.character
    paths = Paths(folder, settings.data / "embedded", settings.home / "serving" / settings.character, ENGINE)
    candidate = release_source(settings, service.candidate, CANDIDATES) if service.candidate else None
    return build(service, release_source(settings, alias), paths, required_keys(host, service, settings), candidate)


def release_source(settings: Settings, alias: str, folder: str = RELEASES) -> RegistrySource:
    """Where the service's models come from."""
    registry = Registry(Tracking.of(settings), settings.character)
    return RegistrySource(registry, settings.home / "serving" / folder, alias)


def required_keys(host: str, service: ServiceSettings, settings: Settings) -> Keys | None:
    """The keys that are asked for: those of the file that is named, or on a public address the project's own.

    None: on this machine's own address nobody needs one. Raises ServingError where there is no key, and KeyProblem.
    """
    if service.keys is None and is_this_machine(host):
        return None
    keys = project_keys(service, settings)
    if not keys.path.exists() or not keys.all():
        raise ServingError(
            f"{host} is open to other machines, and there is no API key in {keys.path}: `likeness key add NAME`"
        )
    return keys


def project_keys(service: ServiceSettings, settings: Settings) -> Keys:
    """The keys in the file that is named, or in the project's own."""
    return Keys(service.keys or settings.home / "serving" / "keys")


def usage_folders(service: ServiceSettings, settings: Settings) -> list[Path]:
    """Where the services of this project's characters note what keys are used for."""
    if service.store:
        return [service.store / USAGE]
    return sorted((settings.home / "serving").glob(f"*/characters/{USAGE}"))


def is_this_machine(host: str) -> bool:
    """Whether an address or a name is this machine's own, which no other machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_free(host: str, port: int) -> None:
    """Raises ServingError where nothing can listen: at once, not after the engine and a model were loaded."""
    if why := why_taken(host, port):
        raise ServingError(f"cannot listen on {host}, port {port} ({why}): choose another, --port {port + 1}")
