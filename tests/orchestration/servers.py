"""Real servers for tests: each on a free port of this machine, ended with the test whatever happens."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestration.config.settings import REPOSITORY, Settings

STARTS_WITHIN = 120.0
"""Seconds; two cores may be busy."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment, all different, and none that the system gives to others meanwhile:
    it takes those of connections, and of sockets that ask for any, from above 32768.
    """
    found: set[int] = set()
    while len(found) < count:
        port = random.SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


def free_port() -> int:
    return free_ports(1)[0]


@contextmanager
def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen]:
    """The process and all that it starts, until the block ends; what it says goes to the log."""
    with log.open("a") as file:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def wait_for(url: str, process: subprocess.Popen, log: Path, within: float = STARTS_WITHIN) -> None:
    """Until the server answers at all. Fails with its log when it ended or does not answer in time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        assert process.poll() is None, f"it ended:\n{log.read_text()[-4000:]}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer within {within} s:\n{log.read_text()[-4000:]}")


@contextmanager
def dagster_pages(settings: Settings) -> Iterator[str]:
    """Where a webserver on the project's definitions answers, with these settings' home."""
    port, log = free_port(), settings.home / "webserver.log"
    environment = {"LIKENESS_HOME": str(settings.home), "DAGSTER_HOME": str(settings.dagster_home)}
    command = [sys.executable, "-m", "dagster_webserver", "-m", "orchestration.definitions", "-p", str(port)]
    with running(command, log, environment, cwd=REPOSITORY) as server:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/server_info", server, log)
        yield url


def ask(address: str, query: str) -> dict[str, Any]:
    """The answer of Dagster's webserver to a GraphQL query."""
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]
