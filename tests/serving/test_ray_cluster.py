"""The service on a real Ray cluster of this machine, whose GPUs are pretended: replicas answer, die, come back, end."""

import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from orchestration.apps import replicas
from serving import ray_serve
from tests.orchestration.ray_head import ray_head
from tests.orchestration.servers import free_port
from tests.serving import support
from tests.serving.support import OBAMA

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
REPLICAS, COMES_BACK_WITHIN = 2, 600.0
PATIENCE = 600
"""Seconds that a request may take: two cores may be busy."""


@dataclass
class Served:
    """The service on a cluster."""

    address: str
    url: str

    def replicas(self) -> dict[int, psutil.Process]:
        """The processes of the replicas that answer, by their number."""
        with urllib.request.urlopen(f"{self.address}/api/serve/applications/", timeout=60) as answer:
            (deployment,) = json.load(answer)["applications"][ray_serve.NAME]["deployments"].values()
        running = [each["pid"] for each in deployment["replicas"] if each["state"] == "RUNNING"]
        return {number: psutil.Process(number) for number in running if psutil.pid_exists(number)}

    def photo(self) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/characters", files={"photo": OBAMA.read_bytes()}, timeout=PATIENCE)

    def photos(self, count: int) -> list[httpx.Response]:
        """So many at once."""
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self.photo(), range(count)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder whose registry has a version in production, and a candidate."""
    folder = tmp_path_factory.mktemp("home")
    registry = support.registered(folder, 2)
    registry.client.set_registered_model_alias(registry.name, "candidate", "2")
    return folder


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Served]:
    """Two replicas, each with one of two pretended GPUs, and the candidate in the shadow of each."""
    settings = {"LIKENESS_HOME": str(home), "LIKENESS_SERVE_DEVICE": "cpu"}
    settings |= {"LIKENESS_SERVE_TIMEOUT": str(PATIENCE), "LIKENESS_SERVE_GRACE": str(PATIENCE)}
    settings |= {"LIKENESS_SERVE_SHADOW": "candidate", "LIKENESS_SERVE_SHADOW_STORE": str(home / "shadow")}
    order = replicas.ReplicaConfig(replicas=REPLICAS, gpus=1, host="127.0.0.1")
    with ray_head(REPLICAS, 4, {}) as address, pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        told: list[str] = []
        url = replicas.deploy(address, order, free_port(), told.append)
        assert told[-1] == f"{REPLICAS} of {REPLICAS} replicas answer"
        yield Served(address, url)


def test_replicas_share_the_photos_and_the_characters(served: Served) -> None:
    assert len(served.replicas()) == REPLICAS
    before = {number: _cpu_seconds(process) for number, process in served.replicas().items()}
    answers: list[httpx.Response] = []

    def both_have_read() -> bool:
        answers.extend(served.photos(8))
        return all(_cpu_seconds(process) - before[number] > 0.05 for number, process in served.replicas().items())

    _until(both_have_read)
    assert {answer.status_code for answer in answers} == {201} and len(served.replicas()) == REPLICAS
    made = answers[0].json()
    for _ in range(6):  # whichever replica is asked
        assert httpx.get(f"{served.url}{made['links']['self']}", timeout=60).json()["parameters"] == made["parameters"]


def test_the_candidate_reads_in_the_shadow_of_replicas(served: Served, home: Path) -> None:
    def compared() -> list[dict[str, Any]]:
        files = (home / "shadow" / "embedded").glob("*.jsonl")
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    _until(lambda: served.photo().status_code == 201 and any(row["outcome"] == "compared" for row in compared()))
    pairs = {(row["production"]["version"], row["candidate"]["version"]) for row in compared()}
    assert pairs == {(1, 2)} and served.photo().json()["provenance"]["version"] == 1


def test_each_replica_holds_a_gpu(served: Served) -> None:
    with urllib.request.urlopen(f"{served.address}/api/cluster_status", timeout=60) as answer:
        usage = json.load(answer)["data"]["clusterStatus"]["loadMetricsReport"]["usage"]
    assert usage["GPU"] == [REPLICAS, REPLICAS]


def test_a_replica_that_is_killed_takes_only_its_own_requests_along_and_comes_back(served: Served) -> None:
    (killed, *others), answers, stop = served.replicas(), [], threading.Event()

    def client() -> None:
        while not stop.is_set():
            answers.append(served.photo().status_code)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        _until(lambda: len(answers) >= 4)
        os.kill(killed, signal.SIGKILL)
        asked = len(answers)
        _until(lambda: answers[asked + len(threads) :].count(201) >= 8)
        _until(lambda: len(served.replicas()) == REPLICAS)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(others) <= set(served.replicas()) and killed not in served.replicas()
    failed = [status for status in answers if status != 201]
    assert len(failed) <= len(threads) and answers[-1] == 201


def test_what_was_begun_is_answered_before_the_service_ends(served: Served) -> None:
    sent, files = threading.Semaphore(0), {"photo": OBAMA.read_bytes()}

    def trace(event: str, _: object) -> None:
        if event == "http11.send_request_body.complete":
            sent.release()

    with httpx.Client(timeout=PATIENCE) as client, ThreadPoolExecutor(8) as pool:
        post, extensions = f"{served.url}/v1/characters", {"trace": trace}
        begun = [pool.submit(client.post, post, files=files, extensions=extensions) for _ in range(8)]
        for _ in begun:
            assert sent.acquire(timeout=PATIENCE)
        # One that comes after them is answered: Ray's proxy, which has one loop, has taken all eight.
        assert client.get(f"{served.url}/healthz").status_code == 200
        ray_serve.stop(served.address)
        assert [each.result().status_code for each in begun] == [201] * len(begun)
    with pytest.raises(ray_serve.ClusterError, match="does not run"):
        ray_serve.stop(served.address)


def _cpu_seconds(process: psutil.Process) -> float:
    """Of a replica's model workers."""
    workers = [
        child for child in process.children(recursive=True) if "serving.workers.process" in " ".join(child.cmdline())
    ]
    return sum(sum(worker.cpu_times()[:2]) for worker in workers)


def _until(true: Any, seconds: float = COMES_BACK_WITHIN) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
