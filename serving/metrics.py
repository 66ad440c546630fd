"""What the service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.photo_counts import EDGES, NO_REMARK, PROBABILITY, PhotoCounts, beside_training, stability_index

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30)
QUANTITIES = {
    "yaw": "Degrees that the head is turned.",
    "pitch": "Degrees that the head is tilted.",
    "brightness": "Brightness of the aligned face in [0, 1].",
    "sharpness": "Variance of the Laplacian of the aligned face.",
    "face_size": "Longer side of the face in the photo, pixels.",
}
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
SIMILARITIES = (0.0, 0.5, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 1.0)


class ModelMetrics:
    """Of the workers of one release, under names that begin with `prefix`."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self.registry, self.prefix = registry, prefix
        self.batches = Histogram(
            f"{prefix}_batch_photos", "Photos read at once.", registry=registry, buckets=(1, 2, 4, 8, 16, 32)
        )
        self.deaths = Counter(f"{prefix}_worker_deaths", "Workers that died over photos.", registry=registry)
        self.broken = Counter(f"{prefix}_release_failures", "Releases that could not be used.", registry=registry)
        self.source_up = Gauge(f"{prefix}_registry_up", "Whether the registry answers.", registry=registry)
        self.release = Gauge(
            f"{prefix}_release", "The release that reads photos.", ("model", "version"), registry=registry
        )

    def watch(self, waiting: Callable[[], int]) -> None:
        """Show the length of the queue, which `waiting` tells."""
        gauge = Gauge(f"{self.prefix}_waiting_photos", "Photos that wait for a worker.", registry=self.registry)
        gauge.set_function(waiting)

    def serving(self, model: str, version: int) -> None:
        """Say which release reads photos from now on."""
        self.release.clear()
        self.release.labels(model, version).set(1)


class Metrics(ModelMetrics):
    """One registry for each application, so that several can live in one process."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry(), "likeness")
        self.requests = Counter(
            "likeness_requests", "Requests by route and status.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "likeness_request_seconds", "Time to answer.", ("route",), registry=self.registry, buckets=SECONDS
        )
        self.photos = Counter("likeness_photos", "Photos by what became of them.", ("outcome",), registry=self.registry)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class ShadowMetrics(ModelMetrics):
    """Of the version that reads photos beside the one in production and answers nobody."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "likeness_shadow")
        self.photos = Counter(
            "likeness_shadow_photos", "Photos by what became of their comparison.", ("outcome",), registry=registry
        )
        self.parameters = Histogram(
            "likeness_shadow_parameter_difference",
            "Mean absolute difference of the sliders from production's, in [0, 1].",
            registry=registry,
            buckets=SHARES,
        )
        self.choices = Histogram(
            "likeness_shadow_choices_differ",
            "Share of the choices that are not production's.",
            registry=registry,
            buckets=SHARES,
        )
        self.similarity = Histogram(
            "likeness_shadow_similarity",
            "Similarity of the render to that of production's character.",
            registry=registry,
            buckets=SIMILARITIES,
        )
        self.cpu = Histogram(
            "likeness_shadow_cpu_seconds",
            "Processor time to read a photo, of either version.",
            ("version",),
            registry=registry,
            buckets=SECONDS,
        )


class CanaryMetrics(ModelMetrics):
    """Of the version that answers some of the players."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "likeness_canary")
        self.photos = Counter(
            "likeness_canary_photos",
            "Photos of the canary's players: answered by it, or by production in its place.",
            ("outcome",),
            registry=registry,
        )


class PhotoMetrics:
    """What the photos that were read are like, what was read of them, and what those of training are like."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.quantities = {
            name: Histogram(f"likeness_photo_{name}", about, registry=registry, buckets=EDGES[name])
            for name, about in QUANTITIES.items()
        }
        self.remarks = Counter(
            "likeness_photo_remarks", "Served photos by what was remarked on.", ("remark",), registry=registry
        )
        self.choices = Counter("likeness_choices", "Choices that were read.", ("group", "choice"), registry=registry)
        self.probabilities = Histogram(
            "likeness_choice_probability",
            "How sure the model was of the choices that it took.",
            ("group",),
            registry=registry,
            buckets=PROBABILITY,
        )
        self.training = Gauge(
            "likeness_training_share",
            "Share of training's photos in each bin, with each remark or choice.",
            ("distribution", "bin"),
            registry=registry,
        )
        self.drift = Gauge(
            "likeness_photo_drift",
            "Population stability index of the photos that this process read, beside training's.",
            ("distribution",),
            registry=registry,
        )

    def observe(self, quantities: Mapping[str, float], remarks: Sequence[str], discrete: Mapping[str, Any]) -> None:
        """Count a photo: what `photo_counts.values_of` says of it."""
        for name, value in quantities.items():
            self.quantities[name].observe(value)
        for remark in remarks or [NO_REMARK]:
            self.remarks.labels(remark).inc()
        for group, taken in discrete.items():
            self.choices.labels(group, taken["choice"]).inc()
            self.probabilities.labels(group).observe(taken["probabilities"][taken["choice"]])

    def compare(self, training: PhotoCounts, served: PhotoCounts) -> None:
        """Show what training's photos are like, and how far those that were served are from them."""
        self.training.clear()
        self.drift.clear()
        for name, before, now in beside_training(training, served):
            for bin, count in before.items():
                self.training.labels(name, bin).set(count / max(sum(before.values()), 1))
            if before:
                self.drift.labels(name).set(stability_index(before, now))
