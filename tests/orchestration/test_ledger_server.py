"""The registry's moves by a real MLflow server, and by the command line within a second or two."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from mlflow import MlflowClient

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.registry.aliases import Ledger
from tests.orchestration.servers import free_port, running, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
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
    client, ledger = MlflowClient(uri, uri), Ledger(uri, NAME)
    for version in ("1", "2", "3"):
        ledger.promote(version, "anna", "because", {"a": {"candidate": 1.0}})
    assert likeness(settings, uri, "rollback", "--why", "complaints").stdout.startswith(f"{NAME}: version 2 is in")
    aliases = {alias: str(version) for alias, version in client.get_registered_model(NAME).aliases.items()}
    assert aliases == {"production": "2", "previous": "1"}
    assert dict(client.get_model_version(NAME, "3").tags)["rejected"] == "rolled back"
    assert [move.kind for move in ledger.state().moves()] == ["promotion"] * 3 + ["rollback"]
    stop()
    down = likeness(settings, uri, "rollback")
    assert down.returncode == 1 and down.stderr.count("\n") == 1 and "is the MLflow server up" in down.stderr


def test_rollback_does_not_wait_for_the_imports_of_mlflow_or_dagster(settings: Settings) -> None:
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    client.create_registered_model(NAME)
    for version in ("1", "2"):
        client.create_model_version(NAME, f"file:///{version}")
        Ledger(settings.tracking_uri, NAME).promote(version, "anna", "")
    script = (
        "import json, sys\nfrom typer.testing import CliRunner\nfrom orchestration.cli.main import app\n"
        "result = CliRunner().invoke(app, ['rollback'])\n"
        "heavy = {'mlflow', 'dagster', 'torch', 'pandas'} & set(sys.modules)\n"
        "print(json.dumps([result.exit_code, sorted(heavy)]))"
    )
    environment = {**os.environ, "LIKENESS_ROOT": str(settings.root), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0, []]


def likeness(settings: Settings, uri: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LIKENESS_ROOT": str(settings.root), "LIKENESS_MLFLOW_URI": uri}
    command = [sys.executable, "-m", "orchestration.cli.main", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
