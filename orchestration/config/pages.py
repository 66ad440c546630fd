"""Where this project's servers listen, and the addresses of their pages."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from orchestration.config.settings import Settings

MLFLOW_PORT = 5000
"""Of the server that `likeness start` starts, unless it is told another."""


def services_file(settings: Settings) -> Path:
    """Written, and held locked, by the `likeness start` that is at work."""
    return settings.home / "services.json"


def running(settings: Settings) -> dict[str, str]:
    """Where the services of this home listen, {} when they do not run."""
    try:
        with services_file(settings).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return json.loads(file.read() or "{}")
    except FileNotFoundError:
        pass
    return {}


def mlflow_page(settings: Settings) -> str:
    """Where people open MLflow: its server, or where `likeness start` would have it listen."""
    own = running(settings).get("mlflow") or f"http://127.0.0.1:{MLFLOW_PORT}"
    return (settings.mlflow_url or (settings.mlflow_uri if settings.mlflow_server else own)).rstrip("/")


def model_page(page: str, name: str, version: str) -> str:
    """A registered version on MLflow's pages."""
    return f"{page}/#/models/{name}/versions/{version}"
