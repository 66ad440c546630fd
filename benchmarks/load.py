"""Clients that send photos and wait for the answer, then send the next: one process, a thread and a connection each."""

import http.client
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from engine.processes import end_with_parent

LONGEST = 120.0
"""Seconds that a client waits for an answer."""
BOUNDARY = "likeness-photo"


@dataclass(frozen=True)
class Request:
    """What is sent over and over."""

    path: str
    headers: dict[str, str]
    bodies: tuple[bytes, ...]
    """Each client begins at another and goes round."""
    good: int
    """The status of an answer with parameters."""


@dataclass(frozen=True)
class Sample:
    """One answer: seconds since the start when it was asked for, seconds that it took, its status (0: none came)."""

    begun: float
    seconds: float
    status: int


@dataclass(frozen=True)
class Load:
    """What so many clients saw."""

    samples: tuple[Sample, ...]
    cpu_seconds: float
    """Of the clients' process."""


def multipart(photos: Sequence[bytes], aligned: bool) -> tuple[bytes, ...]:
    """A form for each photo, as a browser would send it."""
    fields = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="aligned"\r\n\r\n{str(aligned).lower()}\r\n'
    head = f'{fields}--{BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="photo"\r\n\r\n'
    return tuple(head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode() for photo in photos)


def attack(port: int, request: Request, clients: int, seconds: float) -> Load:
    """The clients for so long, in a process of their own; each finishes the request that it has sent."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        return pool.submit(_attack, port, request, clients, seconds).result()


def _attack(port: int, request: Request, clients: int, seconds: float) -> Load:
    begun, samples = time.perf_counter(), []
    busy = time.process_time()
    threads = [
        threading.Thread(target=_client, args=(port, request, number, begun, seconds, samples))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(tuple(samples), time.process_time() - busy)


def _client(port: int, request: Request, number: int, begun: float, seconds: float, samples: list[Sample]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)
    sent = number
    while (asked := time.perf_counter() - begun) < seconds:
        body = request.bodies[sent % len(request.bodies)]
        sent += 1
        try:
            connection.request("POST", request.path, body, request.headers)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
            time.sleep(0.1)
        samples.append(Sample(asked, time.perf_counter() - begun - asked, status))


def summary(load: Load, good: int) -> dict[str, Any]:
    """Photos a second from the first request to the last answer, quantiles of the good answers, errors by status."""
    times = sorted(sample.seconds for sample in load.samples if sample.status == good)
    ended = max((sample.begun + sample.seconds for sample in load.samples), default=0.0)
    errors: dict[str, int] = {}
    for sample in load.samples:
        if sample.status != good:
            key = str(sample.status or "no answer")
            errors[key] = errors.get(key, 0) + 1
    return {
        "photos_per_second": len(times) / ended if ended else 0.0,
        "answers": len(times),
        "seconds": ended,
        "p50": quantile(times, 0.50),
        "p99": quantile(times, 0.99),
        "slowest": times[-1] if times else None,
        "errors": errors,
    }


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The least value that at least this share of the values does not exceed; None without values."""
    if not ordered:
        return None
    return ordered[max(0, -(-round(share * 1e6) * len(ordered) // 1_000_000) - 1)]


def photos_in(folder: Path) -> list[Path]:
    """Every picture below a folder."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
