"""`likeness start`: Dagster's code server, webserver and daemon, and MLflow's server, kept running by one process.

Each service has a keeper (orchestration/apps/child.py), a process that ties it to this one. A service that dies, or
lives on without the process that does its work, is started again, later each time; one that keeps dying ends all of
them. The code server is apart from webserver and daemon, so that runs, which are its children, outlive a restart of
either.

MLflow's server is a window on the store that commands and steps on this machine write to directly: they need it for
nothing, and what it shows is what they wrote.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import yaml

from engine.errors import LikenessError
from orchestration.apps import child
from orchestration.config.addresses import Addresses, services_file
from orchestration.config.settings import REPOSITORY, Settings

DEFINITIONS = "orchestration.definitions"
STARTS_WITHIN = 180.0
MOST_DEATHS, WITHIN, LONGEST_PAUSE = 5, 300.0, 30.0
LOOKED_AT_EVERY, MOST_MISSES = 2.0, 3
"""Seconds between two looks at whether a service still works, and how many in a row may find that it does not."""


class ServiceError(LikenessError):
    """The services cannot start, or one of them keeps dying; the message says what to do."""


@dataclass
class Service:
    """One server, and what became of it."""

    name: str
    command: Sequence[str]
    answers: Callable[[], bool]
    log: Path
    address: str = ""
    process: subprocess.Popen[bytes] | None = None
    deaths: list[float] = field(default_factory=list)
    again_at: float = 0.0
    works: Callable[[], bool] = lambda: True
    """Whether it does what it is for, asked of one that lives."""
    started: float = 0.0
    worked: bool = False
    misses: int = 0

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", child.__name__, str(os.getpid()), str(self.log), *self.command],
            cwd=REPOSITORY,
            start_new_session=True,
        )
        self.started, self.worked, self.misses = time.monotonic(), False, 0

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for the keeper to have ended everything; end its group where it does not, or was itself killed."""
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for pid in child.others_in_group(self.process.pid):
            os.kill(pid, signal.SIGKILL)

    def last_words(self, lines: int = 5) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def likeness_services(settings: Settings, where: Addresses) -> list[list[Service]]:
    """What is started, in groups: each waits for the one before it. Without MLflow where another server is set."""
    logs = settings.home / "logs"
    socket_file = code_socket(settings)
    workspace = settings.dagster_home / "workspace.yaml"
    server = {"socket": str(socket_file), "location_name": DEFINITIONS}
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    python = [sys.executable, "-m"]
    dagster, mlflow = where.url(where.dagster_port), where.url(where.mlflow_port)
    code = Service(
        "code server",
        [*python, "dagster", "code-server", "start", "-m", DEFINITIONS, "-s", str(socket_file),
         "--log-level", "warning", "--use-python-environment-entry-point", "--inject-env-vars-from-instance"],
        lambda: serves_code(socket_file), logs / "code-server.log", works=lambda: holds_code(socket_file),
    )  # fmt: skip
    webserver = Service(
        "Dagster",
        [*python, "dagster_webserver", "-h", where.host, "-p", str(where.dagster_port), "-w", str(workspace)],
        lambda: _answers(f"{dagster}/server_info"), logs / "dagster-webserver.log", dagster,
    )  # fmt: skip
    daemon = Service(
        "daemon",
        [*python, "dagster._daemon", "run", "-w", str(workspace)],
        _heartbeats(settings), logs / "dagster-daemon.log",
    )  # fmt: skip
    first = [code]
    if not settings.mlflow_server:
        command = [*python, "mlflow", "server", *_mlflow_options(settings, where)]
        first.append(Service("MLflow", command, lambda: _answers(f"{mlflow}/health"), logs / "mlflow.log", mlflow))
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
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def serves_code(socket_file: Path) -> bool:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"unix:{socket_file}") as channel:
        try:
            request = health_pb2.HealthCheckRequest(service="DagsterApi")
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=2)  # pyright: ignore[reportAttributeAccessIssue]
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def holds_code(socket_file: Path) -> bool:
    """False when the process that has loaded the code is gone: the code server, which only passes on what it is asked,
    lives on without it and never starts another. Code that cannot be loaded is an answer too, which Dagster shows.
    """
    import grpc
    from dagster._grpc.__generated__ import dagster_api_pb2
    from dagster._grpc.__generated__.dagster_api_pb2_grpc import DagsterApiStub

    with grpc.insecure_channel(f"unix:{socket_file}") as channel:
        try:
            DagsterApiStub(channel).ListRepositories(dagster_api_pb2.ListRepositoriesRequest(), timeout=2)  # pyright: ignore[reportAttributeAccessIssue]
        except grpc.RpcError as error:
            # Too busy to answer is not gone.
            return error.code() == grpc.StatusCode.DEADLINE_EXCEEDED  # pyright: ignore[reportAttributeAccessIssue]
    return True


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


class Supervisor:
    """Starts services, waits until they answer, starts dead ones again, ends them all."""

    def __init__(self, groups: Sequence[Sequence[Service]], say: Callable[[str], object]) -> None:
        self.groups, self.say = groups, say
        self.services = [service for group in groups for service in group]
        self.ending = False

    def start(self) -> None:
        """Raises ServiceError when a service ends, or does not answer in time."""
        for group in self.groups:
            if self.ending:
                return
            for service in group:
                service.log.parent.mkdir(parents=True, exist_ok=True)
                service.start()
            waiting, began = list(group), time.monotonic()
            while waiting and not self.ending:
                for service in list(waiting):
                    self._check_start(service, time.monotonic() - began)
                    if service.answers():
                        service.worked = service.works()
                        waiting.remove(service)
                        self.say(f"{service.name:<12} ready after {time.monotonic() - began:.0f} s  {service.address}")
                time.sleep(0.2)

    def _check_start(self, service: Service, waited: float) -> None:
        assert service.process
        if service.process.poll() is not None:
            raise ServiceError(f"{service.name} ended at its start; {service.log} says:\n{service.last_words()}")
        if waited > STARTS_WITHIN:
            raise ServiceError(f"{service.name} does not answer after {STARTS_WITHIN:.0f} s: see {service.log}")

    def watch(self) -> None:
        """Until it is told to end. Raises ServiceError when a service died too often."""
        looked_at = time.monotonic()
        while not self.ending:
            now = time.monotonic()
            if now - looked_at > LOOKED_AT_EVERY:
                self._look()
                looked_at = time.monotonic()
            for service in self.services:
                if service.process and service.process.poll() is not None:
                    self._bury(service, now)
                if service.process is None and now >= service.again_at:
                    service.start()
            time.sleep(0.2)

    def _look(self) -> None:
        """End what lives and does not work, so that it is started again."""
        for service in self.services:
            if service.process is None or service.process.poll() is not None:
                continue
            if service.works():
                service.worked, service.misses = True, 0
            elif service.worked or time.monotonic() - service.started > STARTS_WITHIN:
                service.misses += 1
                if service.misses == MOST_MISSES:
                    self.say(f"{service.name} lives, but does not work any more: it is ended")
                    service.stop()

    def _bury(self, service: Service, now: float) -> None:
        assert service.process
        status = service.process.returncode
        service.wait(0)
        service.process = None
        service.deaths = [moment for moment in service.deaths if now - moment < WITHIN] + [now]
        if len(service.deaths) > MOST_DEATHS:
            raise ServiceError(
                f"{service.name} died {len(service.deaths)} times in {WITHIN / 60:.0f} minutes, so all were stopped; "
                f"{service.log} says:\n{service.last_words()}"
            )
        pause = min(2.0 ** (len(service.deaths) - 1), LONGEST_PAUSE)
        service.again_at = now + pause
        self.say(f"{service.name} died ({_told(status)}); starting it again in {pause:.0f} s, see {service.log}")

    def stop(self) -> None:
        """Last started, first ended: the daemon launches nothing more when runs are told to end."""
        for group in reversed(self.groups):
            for service in group:
                service.stop()
            for service in group:
                service.wait(child.GRACE + 10)


def _told(status: int) -> str:
    """An exit status; the keeper passes on the signal that ended a service as a negative one, modulo 256."""
    number = -status if status < 0 else 256 - status
    return signal.Signals(number).name if number in set(signal.Signals) else f"exit status {status}"


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
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((where.host, port))
            except OSError as error:
                raise ServiceError(f"{where.host}:{port}: {error.strerror}: give another with {option}") from error


def start(settings: Settings, where: Addresses, say: Callable[[str], object]) -> None:
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
        supervisor = Supervisor(likeness_services(settings, where), say)

        def end(number: int, frame: object) -> None:
            supervisor.ending = True

        previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            supervisor.start()
            if not supervisor.ending:
                say(_welcome(settings, where))
            supervisor.watch()
            say("stopping")
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
