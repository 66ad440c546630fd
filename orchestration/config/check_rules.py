"""What the checks ask for: the section `checks` of a profile. It belongs to no stage, so that changing it makes no
asset again; the versions that are there are judged anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field


class DriftRule(BaseModel, frozen=True, extra="forbid"):
    """How unlike the data that production was made from a table may be."""

    divergence: float = Field(default=0.1, gt=0)
    """Largest Kullback-Leibler divergence of a column, beyond what chance does to so many rows. 0.1 is what a normal
    distribution has that moved by 0.45 of its spread, and half of a population stability index of 0.2.
    """
    columns: dict[str, float] = {}
    """Another limit for a column by its name."""
    chance: float = Field(default=0.001, gt=0, lt=1)
    """How seldom chance alone may pass for drift, where the limit is 0."""
    blocking: bool = False
    """Whether drift stops the pipeline. A new photo set shifts these columns rightfully, so by default it warns."""

    def limit(self, column: str) -> float:
        """How far this column may drift."""
        return self.columns.get(column, self.divergence)


class ServedRule(BaseModel, frozen=True, extra="forbid"):
    """How unlike the photos that production was trained on the photos of players may be. It only ever warns."""

    index: float = Field(default=0.2, gt=0)
    """Largest population stability index of a distribution, beyond what chance does to so many photos. From 0.2 on a
    shift is usually called large.
    """
    distributions: dict[str, float] = {}
    """Another limit for one by its name: brightness, remarks, choices.hair, probability.hair."""
    photos: int = Field(default=200, ge=1)
    """With fewer, nothing is judged."""
    days: int = Field(default=7, ge=1)
    """The photos of so many days, today's among them."""
    chance: float = Field(default=0.001, gt=0, lt=1)
    """How seldom chance alone may pass for drift, where the limit is 0."""

    def limit(self, name: str) -> float:
        """How far this distribution may drift."""
        return self.distributions.get(name, self.index)


class MetricRule(BaseModel, frozen=True, extra="forbid"):
    """When a validation metric of a model is good enough. A metric that is not finite never is."""

    better: Literal["higher", "lower"] = "higher"
    baseline: str = ""
    """A metric of the same stage that a trivial model reaches."""
    margin: float = 0.0
    """By how much the baseline must be beaten; below 0: how far the metric may stay behind it."""
    limit: float | None = None
    """The worst value that passes."""
    behind_production: float | None = Field(default=None, ge=0)
    """How far the metric may stay behind that of the version in production."""
    optional: bool = False
    """Passed over where the stage does not report it: there may be nothing to measure it on."""
    unless: str = ""
    """Passed over where the stage reports this metric."""


METRICS: dict[str, dict[str, MetricRule] | None] = {
    "identity_model": {
        "portraits_auc_after": MetricRule(
            baseline="portraits_auc_before", margin=-0.01, limit=0.6, behind_production=0.02
        ),
        "photos_auc_after": MetricRule(
            baseline="photos_auc_before", margin=-0.01, behind_production=0.05, optional=True
        ),
    },
    "parsing_model": {"mean_f1": MetricRule(baseline="mean_f1_average_map", margin=0.05, behind_production=0.05)},
    "imitator": {"psnr": MetricRule(baseline="psnr_mean_picture", margin=1.0, behind_production=1.0)},
    "identity_imitator": {
        "similarity": MetricRule(baseline="similarity_mean_embedding", margin=0.1, behind_production=0.05)
    },
    "encoder": {
        # How near each slider comes says less than whom the answer's render shows: an encoder that learns the second
        # answers less near the mean, and loses at the first. So only the second is held against production.
        "portraits_r2": MetricRule(baseline="portraits_r2_average_face", margin=0.05, optional=True),
        "portraits_similarity": MetricRule(
            baseline="portraits_similarity_average_face", margin=0.05, behind_production=0.03, optional=True
        ),
        "portraits_group_accuracy": MetricRule(
            baseline="portraits_group_accuracy_average_face", behind_production=0.05, optional=True
        ),
        # Where portraits teach, renders need not be read well.
        "pairs_r2": MetricRule(
            baseline="pairs_r2_average_face", margin=0.05, behind_production=0.05, unless="portraits_r2"
        ),
    },
}
"""Each model by its stage; null in a profile: not judged."""


class Budget(BaseModel, frozen=True, extra="forbid"):
    """The most that making something may cost before somebody is told. None: whatever it costs."""

    seconds: float | None = Field(default=None, gt=0)
    """By the clock."""
    cpu_seconds: float | None = Field(default=None, gt=0)
    gpu_seconds: float | None = Field(default=None, gt=0)
    peak_memory_gb: float | None = Field(default=None, gt=0)
    energy_wh: float | None = Field(default=None, gt=0)
    """Watt hours, as estimated in orchestration/storage/costs.py."""
    stored_mb: float | None = Field(default=None, gt=0)
    """What DVC's cache did not have before."""


class DuplicatesRule(BaseModel, frozen=True, extra="forbid"):
    """When two real photos show one face, or a person's photos two. It only ever warns; similarities are cosines of
    SFace's embeddings. docs/checks.md has the measurements behind these numbers.
    """

    same_face: float = Field(default=0.5, gt=0, le=1)
    """From which on two photos show one face, at least."""
    chance: float = Field(default=0.1, gt=0)
    """How many pairs of strangers may look like one face by chance, in the mean: with more photos, two must be more
    alike.
    """
    same_person: float = Field(default=0.3, gt=-1, lt=1)
    """How alike the photos of one person are in the mean, at least."""
    same_photo: float = Field(default=0.95, gt=0, le=1)
    """Correlation of two crops with the same face from which on they are copies of one photo."""
    shown: int = Field(default=50, ge=1)
    """Pairs of people, and photos unlike the others of their name, that are listed at most."""
    without: tuple[str, ...] = ()
    """Sources that are left out, by the names of their photo sets."""


RUN = "run"
"""The budget of a whole `likeness run`; any other name is a stage's."""


class Rules(BaseModel, frozen=True, extra="forbid"):
    """The section `checks` of a profile."""

    quarantined: float = Field(default=0.5, gt=0, le=1)
    """Largest share of photos in quarantine: of all, and of each source that has enough of them."""
    quarantined_from: int = Field(default=50, ge=1)
    """A source with fewer photos than this is not judged by itself."""
    unusable: float = Field(default=0.1, ge=0, le=1)
    """Share of a source's photos in quarantine, and more than one, of which somebody is told; nothing is stopped."""
    one_photo_two_people: float = Field(default=0.001, ge=0, le=1)
    """Largest share of the photos to train on that are also there as another person's. The large published sets have
    a few; in a small set one pair is too many.
    """
    duplicates: DuplicatesRule | None = DuplicatesRule()
    """Whether a face is there under two people, or two people under one name; null: not asked."""
    pictures: int = Field(default=256, ge=1)
    """About how many pictures of a table are opened; which ones depends on the number of rows alone."""
    drift: DriftRule = DriftRule()
    budget: dict[str, Budget] = {}
    """By stage, and `run` for a whole `likeness run`. What costs more is told, and never stopped."""
    served: ServedRule = ServedRule()
    metrics: dict[str, dict[str, MetricRule | None] | None] = {
        name: dict(rules) if rules else None for name, rules in METRICS.items()
    }

    def metrics_of(self, stage: str) -> dict[str, MetricRule]:
        """What the stage's metrics must reach, by metric."""
        return {name: rule for name, rule in (self.metrics.get(stage) or {}).items() if rule}


def as_text(parts: Mapping[str, Any]) -> str:
    """A rule as it is recorded with a check's result: another text, another rule."""
    return json.dumps(parts, sort_keys=True)
