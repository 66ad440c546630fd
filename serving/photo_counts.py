"""What photos are like, counted in bins: neither a photo nor an embedding nor the values of a single one.

Photos that are served and those of training are counted in the same bins, so that they can be held against each other.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from serving.comparisons import Served
from serving.configuration import ServiceSettings

EDGES: dict[str, tuple[float, ...]] = {
    "yaw": (-45, -30, -20, -10, -5, 0, 5, 10, 20, 30, 45),
    "pitch": (-30, -20, -10, -5, 0, 5, 10, 20, 30),
    "brightness": (0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9),
    "sharpness": (10, 20, 30, 50, 80, 120, 200, 300, 500, 800, 1200, 2000),
    "face_size": (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536),
}
"""Ends of the bins of each quantity; the first and the last bin have no end. Yaw and pitch in degrees, brightness in
[0, 1], sharpness the variance of the Laplacian of the aligned face, face_size the longer side of the face in pixels."""
PROBABILITY = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Ends of the bins of the probability of the choice that was taken."""
NO_REMARK = "none"
log = logging.getLogger("likeness.serving")
NOT_IN_TRAINING = ("small_face", "doubtful_face", "grey", "wide_smile", "mask", "hair_before_face", "other")
"""Remarks that follow from nothing that is recorded of training's faces."""


class PhotoCounts(BaseModel):
    """Of some photos: in each bin of each quantity, with each remark, with each choice."""

    photos: int = 0
    quantities: dict[str, list[int]] = {}
    remarks: dict[str, int] = {}
    """A photo with several counts for each; NO_REMARK: without any."""
    choices: dict[str, dict[str, int]] = {}
    """By group and choice."""
    probabilities: dict[str, list[int]] = {}
    """By group and bin: how sure the model was of the choice that it took."""

    def add(self, quantities: Mapping[str, float], remarks: list[str], discrete: Mapping[str, Any]) -> None:
        """One more photo; `discrete` as in a character.json."""
        self.photos += 1
        for name, value in quantities.items():
            _count(self.quantities, name, EDGES[name], value)
        for remark in remarks or [NO_REMARK]:
            self.remarks[remark] = self.remarks.get(remark, 0) + 1
        for group, taken in discrete.items():
            choice = taken["choice"]
            chosen = self.choices.setdefault(group, {})
            chosen[choice] = chosen.get(choice, 0) + 1
            _count(self.probabilities, group, PROBABILITY, taken["probabilities"][choice])

    def __add__(self, other: PhotoCounts) -> PhotoCounts:
        return PhotoCounts(
            photos=self.photos + other.photos,
            quantities=_sums(self.quantities, other.quantities),
            remarks=dict(Counter(self.remarks) + Counter(other.remarks)),
            choices={
                group: dict(Counter(self.choices.get(group, {})) + Counter(other.choices.get(group, {})))
                for group in {**self.choices, **other.choices}
            },
            probabilities=_sums(self.probabilities, other.probabilities),
        )


class DayCounts(PhotoCounts):
    """Of the photos that one version read on one day."""

    day: date
    version: Served


def values_of(result: Any) -> tuple[dict[str, float], list[str], Mapping[str, Any]]:
    """What `PhotoCounts.add` counts of a photo that was read (`workers.process.PredictResult`)."""
    photo = result.photo
    left, top, right, bottom = photo["box"]
    quantities = {"yaw": photo["yaw"], "pitch": photo["pitch"], **result.quality}
    quantities["face_size"] = max(right - left, bottom - top)
    return quantities, [remark["code"] for remark in photo["remarks"]], result.named["discrete"]


def read_days(folder: Path) -> Iterator[DayCounts]:
    """What all processes counted, a file each; one that is none is passed over."""
    for path in sorted(folder.glob("*.json")):
        try:
            yield DayCounts.model_validate_json(path.read_bytes())
        except (ValidationError, FileNotFoundError):
            log.warning("%s holds no statistics", path)


def training_file(folder: Path, version: Served) -> Path:
    """Where it is kept what the photos were like that a version was trained on: PhotoCounts."""
    return folder / "training" / f"{version.version}-{version.run[:12]}.json"


def folder_of(service: ServiceSettings, character: str, home: Path) -> Path:
    """Where one character's statistics lie. `home`: where the service keeps what it made of this character."""
    return service.statistics_store / character if service.statistics_store else home / "statistics"


def distributions(counts: PhotoCounts) -> dict[str, dict[str, int]]:
    """Everything that was counted as a distribution: by name, and in it by bin, remark or choice."""
    found = {name: dict(zip(labels(EDGES[name]), bins, strict=True)) for name, bins in counts.quantities.items()}
    found["remarks"] = dict(counts.remarks)
    for group, chosen in counts.choices.items():
        found[f"choices.{group}"] = dict(chosen)
        found[f"probability.{group}"] = dict(zip(labels(PROBABILITY), counts.probabilities[group], strict=True))
    return found


def beside_training(
    training: PhotoCounts, served: PhotoCounts
) -> Iterator[tuple[str, Mapping[str, int], Mapping[str, int]]]:
    """Each distribution of what was served by name: training's, empty where that is not known, and its own."""
    before = distributions(training)
    for name, counts in distributions(served).items():
        known = {code: count for code, count in counts.items() if name != "remarks" or code not in NOT_IN_TRAINING}
        yield name, before.get(name, {}), known


def labels(edges: Sequence[float]) -> list[str]:
    """The bins between these ends, in words."""
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"up to {edges[0]:g}", *inner, f"above {edges[-1]:g}"]


def stability_index(before: Mapping[str, int], now: Mapping[str, int]) -> float:
    """The population stability index of two distributions: Σ (q − p) log(q / p) over what either has.

    Half a count is added to each: a bin that is empty on one side would be infinitely unlikely.
    """
    names = {**before, **now}
    p, q = (_shares([counts.get(name, 0) for name in names]) for counts in (before, now))
    return sum((new - old) * math.log(new / old) for old, new in zip(p, q, strict=True))


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) + 0.5 * len(counts)
    return [(count + 0.5) / total for count in counts]


def _count(counts: dict[str, list[int]], name: str, edges: tuple[float, ...], value: float) -> None:
    # As Prometheus has it: an edge belongs to the bin below it.
    counts.setdefault(name, [0] * (len(edges) + 1))[bisect_left(edges, value)] += 1


def _sums(one: Mapping[str, list[int]], other: Mapping[str, list[int]]) -> dict[str, list[int]]:
    return {
        name: [sum(pair) for pair in zip_longest(one.get(name, ()), other.get(name, ()), fillvalue=0)]
        for name in {**one, **other}
    }
