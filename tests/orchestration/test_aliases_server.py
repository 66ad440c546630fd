"""The registry's moves by a real MLflow server, and by the command line."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from mlflow import MlflowClient

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.registry.aliases import AliasStore
from tests.orchestration.servers import free_port, running, wait_for

pytestmark = pytest.mark.integration
NAME = "likeness-embedded"


@pytest.fixture
def server(settings: Settings) -> Iterator[tuple[str, Callable[[], None]]]:
    """Where a server on the project's registry answers, and what stops it."""
    port, log = free_port(), settings.home / "server.log"
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", settings.tracking_uri]
    with ExitStack() as up:
        process = up.enter_context(running([*command, *store], log, cwd=settings.home))
        wait_for(f"{uri}/health", process, log)
        yield uri, up.close


def test_moves_by_a_server_are_those_of_its_client_and_a_server_that_is_down_is_one_line(
    settings: Settings, server: tuple[str, Callable[[], None]]
) -> None:
    uri, stop = server
    database = MlflowClient(settings.tracking_uri, settings.tracking_uri)  # a server takes no version without files
    database.create_registered_model(NAME)
    for number in range(3):
        database.create_model_version(NAME, f"file:///{number}")
    client, store = MlflowClient(uri, uri), AliasStore(uri, NAME, settings.home)
    for version in ("1", "2", "3"):
        store.promote(version, "anna", "because", {"a": {"candidate": 1.0}})
    assert likeness(settings, uri, "rollback", "--why", "complaints").stdout.startswith(f"{NAME}: version 2 is in")
    aliases = {alias: str(version) for alias, version in client.get_registered_model(NAME).aliases.items()}
    assert aliases == {"production": "2", "previous": "1"}
    assert dict(client.get_model_version(NAME, "3").tags)["rejected"] == "rolled back"
    assert [move.kind for move in store.state().events()] == ["promotion"] * 3 + ["rollback"]
    stop()
    down = likeness(settings, uri, "rollback")
    assert down.returncode == 1 and down.stderr.count("\n") == 1 and "is the MLflow server up" in down.stderr


def likeness(settings: Settings, uri: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LIKENESS_ROOT": str(settings.root), "LIKENESS_MLFLOW_URI": uri}
    command = [sys.executable, "-m", "orchestration.cli", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
