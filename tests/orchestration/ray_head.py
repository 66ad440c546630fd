"""A Ray head of one test's own: pretended GPUs, free ports, loopback only, nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestration.config.settings import REPOSITORY
from tests.orchestration.servers import free_ports

STARTS_WITHIN = 120
"""Seconds."""
OBJECT_STORE = 100_000_000
"""Bytes; steps hand each other nothing through Ray."""
MEMORY = 200 * 2**30
"""Bytes that the steps are told the machine has: what they ask for is meant for real GPU nodes."""
PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "ray-client-server-port",
    "node-manager-port",
    "object-manager-port",
)


@contextmanager
def ray_head(gpus: int, cpus: int, environment: Mapping[str, str]) -> Iterator[str]:
    """The address of the job server of a Ray head with so many pretended GPUs; gone when the block ends."""
    # Ray's sockets lie in it, and their paths may have no more than 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
        *(f"--num-gpus={gpus}", f"--num-cpus={cpus}", f"--object-store-memory={OBJECT_STORE}", f"--memory={MEMORY}"),
        *(f"--temp-dir={folder}", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"),
        *("--include-log-monitor=false", *(f"--{name}={port}" for name, port in ports.items())),
    ]
    log = folder / "head.log"
    with log.open("w") as file:
        head = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{ports['dashboard-port']}"
        _wait_for(address, head, log)
        yield address
    finally:
        _stop(head, folder)


def _wait_for(address: str, head: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        assert head.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/api/jobs/", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no answer within {STARTS_WITHIN} s:\n{log.read_text()}")


def _stop(head: subprocess.Popen, folder: Path) -> None:
    """End the head, and what it started; each of Ray's processes names the head's folder in its arguments."""
    head.terminate()
    with suppress(subprocess.TimeoutExpired):
        head.wait(20)
    for process in _processes_of(folder):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    head.kill()
    head.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


def _processes_of(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in told:
                found.append(int(entry.name))
    return found
