"""`likeness start`: Dagster's code server, webserver and daemon, and MLflow's server, kept running by one process.

The code server is apart from webserver and daemon, so that runs, which are its children, outlive a restart of either.

MLflow's server is a window on the store that commands and steps on this machine write to directly: they need it for
nothing, and what it shows is what they wrote.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import yaml

from orchestration.apps.supervisor import ServiceError, ServiceProcess, Supervisor
from orchestration.config.addresses import Addresses, services_file, why_taken
from orchestration.config.settings import Settings

DEFINITIONS = "orchestration.definitions"
PROBE_TIMEOUT = 2  # seconds


def likeness_services(settings: Settings, where: Addresses) -> list[list[ServiceProcess]]:
    """What is started, in groups: each waits for the one before it. Without MLflow where another server is set."""
    from orchestration.storage.dagster_internals import DAEMON_MODULE, code_is_loaded

    logs = settings.home / "logs"
    socket_file = code_socket(settings)
    workspace = settings.dagster_home / "workspace.yaml"
    server = {"socket": str(socket_file), "location_name": DEFINITIONS}
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    python = [sys.executable, "-m"]
    dagster, mlflow = where.url(where.dagster_port), where.url(where.mlflow_port)
    code = ServiceProcess(
        "code server",
        [*python, "dagster", "code-server", "start", "-m", DEFINITIONS, "-s", str(socket_file),
         "--log-level", "warning", "--use-python-environment-entry-point", "--inject-env-vars-from-instance"],
        lambda: serves_code(socket_file), logs / "code-server.log",
        is_healthy=lambda: code_is_loaded(str(socket_file), PROBE_TIMEOUT),
    )  # fmt: skip
    webserver = ServiceProcess(
        "Dagster",
        [*python, "dagster_webserver", "-h", where.host, "-p", str(where.dagster_port), "-w", str(workspace)],
        lambda: _answers(f"{dagster}/server_info"), logs / "dagster-webserver.log", dagster,
    )  # fmt: skip
    daemon = ServiceProcess(
        "daemon",
        [*python, DAEMON_MODULE, "run", "-w", str(workspace)],
        _heartbeats(settings), logs / "dagster-daemon.log",
    )  # fmt: skip
    first = [code]
    if not settings.mlflow_server:
        command = [*python, "mlflow", "server", *_mlflow_options(settings, where)]
        health = f"{mlflow}/health"
        first.append(ServiceProcess("MLflow", command, lambda: _answers(health), logs / "mlflow.log", mlflow))
    return [first, [webserver, daemon]]


def _mlflow_options(settings: Settings, where: Addresses) -> list[str]:
    """The store that direct clients use. One worker: it answers by threads, and a second takes 400 MB."""
    options = ["--backend-store-uri", settings.tracking_uri, "--default-artifact-root", settings.model_files.as_uri()]
    options += ["--no-serve-artifacts", "--host", where.host, "--port", str(where.mlflow_port), "--workers", "1"]
    if public := urlsplit(settings.mlflow_url).netloc:
        # MLflow answers only to names it knows; given one, it forgets those that it knows by itself.
        named = f"{public},localhost:*,127.0.0.1:*,[::1]:*"
        origins = f"{settings.mlflow_url.rstrip('/')},http://localhost:*,http://127.0.0.1:*"
        options += ["--allowed-hosts", named, "--cors-allowed-origins", origins]
    return options


def code_socket(settings: Settings) -> Path:
    """A path that is short enough for a socket, the same after a restart, and nobody else's."""
    name = hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"likeness-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ServiceError(f"{folder} belongs to another user: remove it, or set TMPDIR to a folder of your own")
    return folder / "code.sock"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT) as answer:
            return answer.status == 200
    except OSError:
        return False


def serves_code(socket_file: Path) -> bool:
    """Whether a code server answers there that it serves."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"unix:{socket_file}") as channel:
        try:
            request = health_pb2.HealthCheckRequest(service="DagsterApi")
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_TIMEOUT)  # pyright: ignore[reportAttributeAccessIssue]
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def _heartbeats(settings: Settings) -> Callable[[], bool]:
    """True when every daemon that this instance needs was heard since now."""
    from orchestration.storage.instance import open_instance

    began = time.time()

    def beating() -> bool:
        with open_instance(settings) as instance:
            statuses = instance.get_daemon_statuses().values()
        beats = [status.last_heartbeat for status in statuses if status.required]
        return all(beat is not None and beat.timestamp >= began for beat in beats)

    return beating


@contextmanager
def only_supervisor(settings: Settings, where: Addresses) -> Iterator[Path]:
    """One `likeness start` for each home; where it listens stands in a file. Raises ServiceError."""
    settings.home.mkdir(parents=True, exist_ok=True)
    path = services_file(settings)
    with path.open("a+") as file:
        if not _locked(file):
            raise ServiceError(f"`likeness start` runs already for {settings.home}: {path.read_text().strip()}")
        file.truncate(0)
        listening = {"pid": os.getpid(), "dagster": where.url(where.dagster_port)}
        if not settings.mlflow_server:
            listening["mlflow"] = where.url(where.mlflow_port)
        json.dump(listening, file)
        file.flush()
        yield path
        file.truncate(0)


def _locked(file: IO[str]) -> bool:
    """Take the lock; more than one try, because a reader holds it for a moment to see whether it is free."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False


def require_ports(where: Addresses, settings: Settings) -> None:
    """Raises ServiceError when another program listens where a service would."""
    wanted = {"--port": where.dagster_port} | ({} if settings.mlflow_server else {"--mlflow-port": where.mlflow_port})
    if len(set(wanted.values())) < len(wanted):
        raise ServiceError("Dagster and MLflow cannot share a port: give another with --mlflow-port")
    for option, port in wanted.items():
        if why := why_taken(where.host, port):
            raise ServiceError(f"{where.host}:{port}: {why}: give another with {option}")


def start(settings: Settings, where: Addresses, report: Callable[[str], object]) -> None:
    """Run all services until SIGTERM or SIGINT. Raises ServiceError."""
    from orchestration.storage.instance import open_instance
    from orchestration.storage.tracking import Tracking

    with only_supervisor(settings, where):
        require_ports(where, settings)
        if settings.mlflow_server and not _answers(f"{settings.mlflow_uri.rstrip('/')}/health"):
            raise ServiceError(f"MLflow does not answer at {settings.mlflow_uri}: start it, or set LIKENESS_MLFLOW_URI")
        # Its tables are made here, before several servers would at once.
        with open_instance(settings):
            os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
        Tracking.of(settings).client()
        _settle_environment(settings, where)
        supervisor = Supervisor(likeness_services(settings, where), report)

        def end(number: int, frame: object) -> None:
            supervisor.stopping = True

        previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            supervisor.start()
            if not supervisor.stopping:
                report(_welcome(settings, where))
            supervisor.watch()
            report("stopping")
        finally:
            supervisor.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)


def _settle_environment(settings: Settings, where: Addresses) -> None:
    """What the services inherit: the settings of this command, absolute, whatever their working directory."""
    profile = Path(settings.profile).resolve() if settings.profile.endswith(".yaml") else settings.profile
    given = {"ROOT": settings.root, "HOME": settings.home, "PROFILE": profile, "CHARACTER": settings.character}
    if not settings.mlflow_server:
        given["MLFLOW_URL"] = settings.mlflow_url or where.url(where.mlflow_port)
    os.environ.update({f"LIKENESS_{name}": str(value) for name, value in given.items()})


def _welcome(settings: Settings, where: Addresses) -> str:
    mlflow = settings.mlflow_url or (settings.mlflow_uri if settings.mlflow_server else where.url(where.mlflow_port))
    lines = (f"Dagster {where.url(where.dagster_port)}", f"MLflow  {mlflow}", f"logs    {settings.home / 'logs'}")
    return "\n".join((*lines, "Ctrl-C stops all"))
