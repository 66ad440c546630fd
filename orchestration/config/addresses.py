"""Where the services of `likeness start` listen, and where people open what they show."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from orchestration.config.files import is_locked
from orchestration.config.settings import Settings


@dataclass(frozen=True)
class Addresses:
    """Where the services listen."""

    host: str = "127.0.0.1"
    dagster_port: int = 3000
    mlflow_port: int = 5000

    def url(self, port: int) -> str:
        """How a program on this machine reaches a port."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "") else "[::1]" if self.host == "::" else self.host
        return f"http://{host}:{port}"


def why_taken(host: str, port: int) -> str:
    """Why nothing can listen there, "" where it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do it: a port that was left a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return str(error.strerror)
    return ""


def services_file(settings: Settings) -> Path:
    """Says where the services of this home listen; locked by `likeness start` as long as they run."""
    return settings.home / "services.json"


def running(settings: Settings) -> dict[str, str]:
    """Where the services of this home listen, {} when they do not run."""
    file = services_file(settings)
    return json.loads(file.read_text() or "{}") if is_locked(file) else {}


def mlflow_page(settings: Settings) -> str:
    """Where people open MLflow: its server, or where `likeness start` would have it listen."""
    own = running(settings).get("mlflow") or Addresses().url(Addresses().mlflow_port)
    return (settings.mlflow_url or (settings.mlflow_uri if settings.mlflow_server else own)).rstrip("/")


def dagster_page(settings: Settings) -> str:
    """Where people open Dagster, or where `likeness start` would have it listen."""
    own = running(settings).get("dagster") or Addresses().url(Addresses().dagster_port)
    return (settings.dagster_url or own).rstrip("/")


def model_page(page: str, name: str, version: str) -> str:
    """A registered version on MLflow's pages."""
    return f"{page}/#/models/{name}/versions/{version}"
