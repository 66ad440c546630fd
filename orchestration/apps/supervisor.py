"""Keeps services running: starts them group by group, restarts those that die or stop working, ends them all.

Each service is run by a process of orchestration/apps/child.py, which ends it when the supervisor is gone. A service
that fails is started again, later each time; one that keeps failing ends all of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import LikenessError
from orchestration.apps import child
from orchestration.config.settings import REPOSITORY

START_TIMEOUT = 180.0
MAX_EXITS, EXITS_WITHIN, MAX_PAUSE = 5, 300.0, 30.0
PROBE_EVERY, MAX_FAILED_PROBES = 2.0, 3
"""Seconds between two probes of whether a service still works, and how many in a row may find that it does not."""
KILLED_WITHIN = 10.0
"""Seconds that the system may take to end a process that was killed."""


class ServiceError(LikenessError):
    """The services cannot start, or one of them keeps dying; the message says what to do."""


@dataclass
class ServiceProcess:
    """One server, and the process that runs it now."""

    name: str
    command: Sequence[str]
    is_ready: Callable[[], bool]
    """Whether it answers, asked of one that is starting."""
    log: Path
    address: str = ""
    is_healthy: Callable[[], bool] = lambda: True
    """Whether it does what it is for, asked of one that lives."""
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    was_healthy: bool = False
    failed_probes: int = 0
    exits: list[float] = field(default_factory=list)
    restart_at: float = 0.0

    def start(self) -> None:
        """Start its process, without waiting until it answers."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", child.__name__, str(os.getpid()), str(self.log), *self.command],
            cwd=REPOSITORY,
            start_new_session=True,
        )
        self.started, self.was_healthy, self.failed_probes = time.monotonic(), False, 0

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Ask it to end."""
        if self.process and self.is_running:
            self.process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait until nothing of it is left; kill what is left later, or where its child process was killed itself."""
        import psutil

        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        left: list[psutil.Process] = []
        for pid in child.others_in_group(self.process.pid):
            with suppress(psutil.NoSuchProcess):
                left.append(psutil.Process(pid))
                left[-1].kill()
        psutil.wait_procs(left, KILLED_WITHIN)

    def log_tail(self, lines: int = 5) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Supervisor:
    """Runs groups of services; each group is started when the one before it answers."""

    def __init__(self, groups: Sequence[Sequence[ServiceProcess]], report: Callable[[str], object]) -> None:
        self.groups, self.report = groups, report
        self.services = [service for group in groups for service in group]
        self.stopping = False
        """Set from elsewhere, such as a handler of signals: `start` and `watch` then return."""

    def start(self) -> None:
        """Raises ServiceError when a service ends, or does not answer in time."""
        for group in self.groups:
            if self.stopping:
                return
            for service in group:
                service.start()
            waiting, began = list(group), time.monotonic()
            while waiting and not self.stopping:
                for service in list(waiting):
                    waited = time.monotonic() - began
                    _require_starting(service, waited)
                    if service.is_ready():
                        service.was_healthy = service.is_healthy()
                        waiting.remove(service)
                        self.report(f"{service.name:<12} ready after {waited:.0f} s  {service.address}")
                time.sleep(0.2)

    def watch(self) -> None:
        """Until it is told to stop. Raises ServiceError when a service died too often."""
        probed_at = time.monotonic()
        while not self.stopping:
            now = time.monotonic()
            if now - probed_at > PROBE_EVERY:
                self._probe()
                probed_at = time.monotonic()
            for service in self.services:
                if service.process and not service.is_running:
                    self._on_exit(service, service.process.returncode, now)
                if service.process is None and now >= service.restart_at:
                    service.start()
            time.sleep(0.2)

    def _probe(self) -> None:
        """End what lives and does not work, so that it is started again."""
        for service in filter(lambda each: each.is_running, self.services):
            if service.is_healthy():
                service.was_healthy, service.failed_probes = True, 0
            elif service.was_healthy or time.monotonic() - service.started > START_TIMEOUT:
                service.failed_probes += 1
                if service.failed_probes == MAX_FAILED_PROBES:
                    self.report(f"{service.name} lives, but does not work any more: it is ended")
                    service.stop()

    def _on_exit(self, service: ServiceProcess, status: int, now: float) -> None:
        service.wait(0)
        service.process = None
        service.exits = [moment for moment in service.exits if now - moment < EXITS_WITHIN] + [now]
        if len(service.exits) > MAX_EXITS:
            raise ServiceError(
                f"{service.name} died {len(service.exits)} times in {EXITS_WITHIN / 60:.0f} minutes, so all were "
                f"stopped; {service.log} says:\n{service.log_tail()}"
            )
        pause = min(2.0 ** (len(service.exits) - 1), MAX_PAUSE)
        service.restart_at = now + pause
        self.report(f"{service.name} died ({_cause(status)}); starting it again in {pause:.0f} s, see {service.log}")

    def stop(self) -> None:
        """Last started, first ended: the daemon launches nothing more when runs are told to end."""
        for group in reversed(self.groups):
            for service in group:
                service.stop()
            for service in group:
                service.wait(child.GRACE + 10)


def _require_starting(service: ServiceProcess, waited: float) -> None:
    if not service.is_running:
        raise ServiceError(f"{service.name} ended at its start; {service.log} says:\n{service.log_tail()}")
    if waited > START_TIMEOUT:
        raise ServiceError(f"{service.name} does not answer after {START_TIMEOUT:.0f} s: see {service.log}")


def _cause(status: int) -> str:
    """An exit status in words; child.py passes on the signal that ended a service as a negative one, modulo 256."""
    number = -status if status < 0 else 256 - status
    return signal.Signals(number).name if number in set(signal.Signals) else f"exit status {status}"
