"""`likeness serve` as it is run: its own process, a real registry whose alias moves, and a fuzzer at the door."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen, run

import httpx
import pytest

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.registry.registered_models import Registry
from orchestration.storage.tracking import Tracking
from serving.keys import Keys
from tests.orchestration.servers import free_port, running, wait_for
from tests.serving import support
from tests.serving.support import OBAMA
from tests.serving.test_jobs import SECRET, listening

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
READY_WITHIN, MOVES_WITHIN = 600.0, 600.0
PATIENCE = 600
"""Seconds that a request may take: two cores may be busy."""
CLIENTS = 8


@dataclass
class Served:
    """A service that runs, and the registry that it follows."""

    url: str
    process: Popen
    registry: Registry
    log: Path

    def promote(self, version: str) -> None:
        self.registry.alias_store.promote(version, "test", "to see it followed")

    def waiting(self) -> int:
        """Photos in the line."""
        lines = httpx.get(f"{self.url}/metrics", timeout=60).text.splitlines()
        return int(float(next(line.split()[1] for line in lines if line.startswith("likeness_waiting_photos "))))

    def ready(self) -> dict[str, int]:
        """What /readyz says once a model is loaded."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            answer = httpx.get(f"{self.url}/readyz", timeout=60)
            if answer.status_code == 200:
                return answer.json()
            time.sleep(0.2)
        raise AssertionError(f"not ready within {READY_WITHIN} s:\n{self.log.read_text()[-4000:]}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder whose registry has two versions, the first in production."""
    folder = tmp_path_factory.mktemp("home")
    support.registered(folder, 2)
    return folder


@contextmanager
def serving(home: Path, **environment: str) -> Iterator[Served]:
    port, log = free_port(), home / "serve.log"
    given = {"LIKENESS_HOME": str(home), "LIKENESS_SERVE_FOLLOW": "0.5", "LIKENESS_SERVE_WORKERS": "1"}
    given |= {"LIKENESS_SERVE_TIMEOUT": str(PATIENCE), "LIKENESS_SERVE_GRACE": str(PATIENCE), **environment}
    command = [sys.executable, "-m", "orchestration.cli", "serve", "--port", str(port)]
    with running(command, log, given, cwd=REPOSITORY) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/healthz", process, log)
        yield Served(url, process, Registry(Tracking.of(Settings(home=home)), "embedded"), log)


def ask(client: httpx.Client, url: str) -> Mapping[str, int]:
    """A photo's status, and the version that answered."""
    answer = client.post(f"{url}/v1/characters", files={"photo": OBAMA.read_bytes()}, timeout=PATIENCE)
    version = answer.json()["provenance"]["version"] if answer.status_code == 201 else 0
    return {"status": answer.status_code, "version": version}


def test_under_load_the_alias_moves_there_and_back_and_no_request_is_lost(home: Path) -> None:
    with serving(home) as served:
        assert served.ready()["version"] == 1
        answers: list[Mapping[str, int]] = []
        stop = threading.Event()

        def client() -> None:
            with httpx.Client() as session:
                while not stop.is_set():
                    answers.append(ask(session, served.url))

        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            for version, move in (
                (2, lambda: served.promote("2")),
                (1, lambda: served.registry.alias_store.rollback("test")),
            ):
                move()
                deadline = time.monotonic() + MOVES_WITHIN
                while not (answers and answers[-1]["version"] == version):
                    assert time.monotonic() < deadline, served.log.read_text()[-4000:]
                    time.sleep(0.2)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert {answer["status"] for answer in answers} == {201}
        assert {answer["version"] for answer in answers} == {1, 2}


def test_it_stops_when_it_is_asked_to_and_answers_what_it_took(home: Path) -> None:
    with serving(home) as served:
        served.ready()
        answers: list[Mapping[str, int]] = []

        def client() -> None:
            # Whoever had not yet asked when it stopped listening is told so by the connection.
            with httpx.Client() as session, suppress(httpx.TransportError):
                answers.append(ask(session, served.url))

        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while served.waiting() < 2 and not answers:
            pass
        taken = served.waiting()
        served.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert len(answers) >= max(taken, 1) and {answer["status"] for answer in answers} == {201}
        assert served.process.wait(300) in (0, -signal.SIGTERM)
        log = served.log.read_text()
        assert "Application shutdown complete" in log and "Traceback" not in log


def test_a_job_is_finished_though_the_service_is_killed_in_the_middle(home: Path, tmp_path: Path) -> None:
    names, spool = [f"{number}.jpg" for number in range(12)], tmp_path / "spool"
    files = [("photo", (name, OBAMA.read_bytes())) for name in names]
    with listening() as (site, heard):
        settings = {"JOB_SPOOL": str(spool), "WEBHOOKS": json.dumps([site]), "WEBHOOK_SECRET": SECRET}
        environment = {f"LIKENESS_SERVE_{name}": value for name, value in settings.items()}
        form = {"callback": f"{site}/done", "player": ["ann"] * len(names)}
        with serving(home, **environment) as served:
            served.ready()
            begun = httpx.post(f"{served.url}/v1/jobs", files=files, data=form, timeout=PATIENCE).json()
            while len(httpx.get(served.url + begun["links"]["self"], timeout=60).json()["results"]) < 2:
                time.sleep(0.05)
            served.process.send_signal(signal.SIGKILL)
            served.process.wait(300)
        left = list((spool / begun["id"]).iterdir())
        assert 2 <= len(left) <= 10, "the photos that were not read are there, and no others"
        with serving(home, **environment) as served:
            message = json.loads(heard.get(timeout=READY_WITHIN)[1])
            job = httpx.get(served.url + begun["links"]["self"], timeout=60).json()
            made = httpx.get(f"{served.url}/v1/players/ann/characters", timeout=60).json()["characters"]
    assert message["type"] == "job.done" and message["data"]["results"] == job["results"] and heard.empty()
    assert [result["name"] for result in job["results"]] == names and job["state"] == "done"
    assert {one["id"] for one in made} == {result["id"] for result in job["results"]}, "none was made twice"
    assert not list(spool.iterdir())


def test_it_starts_and_serves_while_the_registry_is_down(home: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with serving(home, LIKENESS_MLFLOW_URI=nowhere, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0") as served:
        assert served.ready()["version"] == 1
        assert ask(httpx.Client(), served.url) == {"status": 201, "version": 1}
        assert "likeness_registry_up 0.0" in httpx.get(f"{served.url}/metrics", timeout=60).text


def test_a_fuzzer_finds_nothing_that_the_api_does_not_say_of_itself(home: Path) -> None:
    key = Keys(home / "keys").add("fuzzer")
    bearer = f"Bearer {key}"
    with serving(home, LIKENESS_SERVE_KEYS=str(home / "keys")) as served:
        served.ready()
        with httpx.Client(headers={"Authorization": bearer}) as client:
            files = {"photo": OBAMA.read_bytes()}
            made = client.post(f"{served.url}/v1/characters", files=files, timeout=PATIENCE).json()
        # A guessed id is never one; this character is asked for, changed and drawn, and not deleted.
        (home / "schemathesis.toml").write_text(
            f'[parameters]\n"path.id" = "{made["id"]}"\n\n[[operations]]\ninclude-method = "DELETE"\nenabled = false\n'
        )
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{served.url}/openapi.json"]
        options = ["--max-examples", "15", "--seed", "1", "--max-time", "45", "--request-timeout", "300", "--no-color"]
        # Any bytes are a file, also those that OpenAPI would call a boolean; not every file gets a character.
        options += ["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]
        options += ["--header", f"Authorization: {bearer}"]
        done = run([*command, *options], capture_output=True, text=True, cwd=home, env={**os.environ})
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
