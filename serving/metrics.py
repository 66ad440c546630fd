"""What the service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """One registry for each application, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "likeness_requests", "Requests by route and status.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "likeness_request_seconds", "Time to answer.", ("route",), registry=self.registry, buckets=SECONDS
        )
        self.photos = Counter("likeness_photos", "Photos by what became of them.", ("outcome",), registry=self.registry)
        self.batches = Histogram(
            "likeness_batch_photos", "Photos read at once.", registry=self.registry, buckets=(1, 2, 4, 8, 16, 32)
        )
        self.deaths = Counter("likeness_worker_deaths", "Workers that died over photos.", registry=self.registry)
        self.broken = Counter("likeness_release_failures", "Releases that could not be used.", registry=self.registry)
        self.source_up = Gauge("likeness_registry_up", "Whether the registry answers.", registry=self.registry)
        self.release = Gauge(
            "likeness_release", "The release that answers.", ("model", "version"), registry=self.registry
        )

    def watch(self, waiting: Callable[[], int]) -> None:
        """Show the length of the queue, which `waiting` tells."""
        gauge = Gauge("likeness_waiting_photos", "Photos that wait for a worker.", registry=self.registry)
        gauge.set_function(waiting)

    def serving(self, model: str, version: int) -> None:
        """Say which release answers from now on."""
        self.release.clear()
        self.release.labels(model, version).set(1)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
