"""Services are started again when they die, given up when they keep dying, and leave no process behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestration.apps import child, services
from orchestration.apps import supervisor as supervisor_module
from orchestration.apps.supervisor import ServiceError, ServiceProcess, Supervisor
from orchestration.config import addresses
from orchestration.config.addresses import Addresses
from orchestration.config.settings import REPOSITORY, Settings
from tests.orchestration.servers import free_ports

pytestmark = pytest.mark.slow

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
# A server with a process of its own, as MLflow's and the code server have.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}])"


def service(log: Path, code: str, answers: Callable[[], bool] = lambda: True) -> ServiceProcess:
    return ServiceProcess("sleeper", [sys.executable, "-c", code], answers, log)


def wait_until(true: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def descendants(of: int) -> list[psutil.Process]:
    return psutil.Process(of).children(recursive=True)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Supervisor, ServiceProcess, list[str]]]:
    """A supervisor at work on one service, and what it said. It works in a thread; the kernel then ties the child's
    life to that thread.
    """
    said: list[str] = []
    one = service(tmp_path / "sleeper.log", PARENT)
    supervisor = Supervisor([[one]], said.append)

    def work() -> None:
        supervisor.start()
        supervisor.watch()
        supervisor.stop()

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: (tmp_path / "sleeper.log").exists() and "up" in (tmp_path / "sleeper.log").read_text())
    yield supervisor, one, said
    supervisor.stopping = True
    thread.join(120)


def test_a_killed_service_runs_again(watched) -> None:
    _, one, said = watched
    first = one.process.pid
    (server, *_) = descendants(first)
    server.kill()
    wait_until(lambda: one.process and one.process.pid != first and len(descendants(one.process.pid)) == 2)
    assert any("sleeper died (SIGKILL); starting it again in 1 s" in line for line in said)


def test_a_killed_keeper_takes_its_service_along_and_both_run_again(watched) -> None:
    _, one, _ = watched
    first, processes = one.process, descendants(one.process.pid)
    assert len(processes) == 2
    first.kill()
    wait_until(lambda: one.process and one.process is not first)
    wait_until(lambda: not any(process.is_running() for process in processes))


def test_a_stopped_service_leaves_no_process(watched) -> None:
    supervisor, one, _ = watched
    processes = descendants(one.process.pid)
    assert len(processes) == 2
    supervisor.stopping = True
    wait_until(lambda: not any(process.is_running() for process in processes))


def test_a_service_that_keeps_dying_ends_all_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "MAX_PAUSE", 0.0)
    dying = service(tmp_path / "dying.log", "import time; time.sleep(0.3); raise SystemExit('no memory')")
    supervisor = Supervisor([[dying]], lambda line: None)
    supervisor.start()
    with pytest.raises(ServiceError, match=r"(?s)sleeper died 6 times in 5 minutes.*no memory"):
        supervisor.watch()


def test_a_service_that_cannot_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    broken = service(tmp_path / "broken.log", "raise SystemExit('wrong option')", lambda: False)
    with pytest.raises(ServiceError, match=r"(?s)sleeper ended at its start.*wrong option"):
        Supervisor([[broken]], lambda line: None).start()


def test_services_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "sleeper.log"
    code = (
        "from pathlib import Path\nfrom orchestration.apps.supervisor import ServiceProcess, Supervisor\n"
        f"one = ServiceProcess('s', [{sys.executable!r}, '-c', {PARENT!r}], lambda: True, Path({str(log)!r}))\n"
        "supervisor = Supervisor([[one]], print)\nsupervisor.start()\nsupervisor.watch()\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    wait_until(lambda: log.exists() and "up" in log.read_text())
    processes = descendants(supervisor.pid)
    assert len(processes) == 3, "child.py, the server and its own process"
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    wait_until(lambda: not any(process.is_running() for process in processes))


def test_a_service_that_lives_without_doing_its_work_is_started_again_but_not_while_it_begins(
    watched: tuple[Supervisor, ServiceProcess, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, one, said = watched
    monkeypatch.setattr(supervisor_module, "PROBE_EVERY", 0.1)
    works = threading.Event()
    one.is_healthy, first = works.is_set, one.process
    one.was_healthy = False
    time.sleep(3.0)
    assert one.process is first, "it has yet to begin"
    works.set()
    wait_until(lambda: one.was_healthy)
    works.clear()
    wait_until(lambda: one.process is not None and one.process is not first)
    assert said[1] == "sleeper lives, but does not work any more: it is ended"
    assert said[2].startswith("sleeper died (SIGTERM); starting it again in 1 s")


def test_a_log_is_rotated(tmp_path: Path) -> None:
    lines = child.LOG_BYTES // 100 * 2
    command = [sys.executable, "-c", f"for _ in range({lines}): print('x' * 99)"]
    log = tmp_path / "many.log"
    done = subprocess.run([sys.executable, "-m", child.__name__, str(os.getpid()), str(log), *command], check=False)
    assert done.returncode == 0
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert {"many.log", "many.log.1"} <= set(sizes) and max(sizes.values()) <= child.LOG_BYTES


def test_a_second_start_on_one_home_is_refused_and_the_first_is_known(settings: Settings) -> None:
    where = Addresses(dagster_port=3210, mlflow_port=5210)
    assert addresses.running(settings) == {}
    with services.only_supervisor(settings, where):
        listening = {"pid": os.getpid(), "dagster": "http://127.0.0.1:3210", "mlflow": "http://127.0.0.1:5210"}
        assert addresses.running(settings) == listening
        with pytest.raises(ServiceError, match=r"runs already .*3210"), services.only_supervisor(settings, where):
            pass
        assert addresses.running(settings) == listening
    assert addresses.running(settings) == {}


def test_a_taken_port_names_the_option_that_changes_it(settings: Settings) -> None:
    free, port = free_ports(2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ServiceError, match=f"{port}: Address already in use: give another with --mlflow-port"):
            services.require_ports(Addresses(dagster_port=free, mlflow_port=port), settings)
