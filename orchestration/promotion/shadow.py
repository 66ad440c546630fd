"""What versions did in production's shadow: the figures of photos that both read in service, pair by pair.

Nobody knows the truth about these photos: the figures say how alike two versions answer, not which one is better.
Intervals take photos for independent; where a player sends many, they are too narrow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from orchestration.registry.registered_models import Registry
from serving.comparisons import Comparison, ComparisonLog, Served
from serving.configuration import ServiceSettings

FEWEST = 10
"""Photos, from which on there are intervals: as many as the scorecard asks of people."""
QUANTILES = (0.05, 0.5, 0.95)
FILE = "shadow.json"
"""Of a version's run: the figures that the gate saw when somebody last asked for its promotion."""


def comparisons(registry: Registry) -> ComparisonLog:
    """Where the services of this project keep what they compare."""
    home = Path(registry.tracking.home) / "serving" / registry.character
    return ComparisonLog.of(ServiceSettings(), registry.character, home)


def reports(registry: Registry) -> list[dict[str, Any]]:
    """The figures of every pair of versions, the pair that was compared last first."""
    pairs: dict[tuple[Served, Served], list[Comparison]] = defaultdict(list)
    for comparison in comparisons(registry).read():
        pairs[comparison.production, comparison.candidate].append(comparison)
    return sorted((_report(*pair, rows) for pair, rows in pairs.items()), key=lambda each: each["to"], reverse=True)


def figures(registry: Registry, production: str, candidate: str) -> dict[str, Any]:
    """Those of one pair of versions, for the gate; empty where nothing was compared. Raises RegistryError."""
    before, after = _served(registry, production), _served(registry, candidate)
    rows = [each for each in comparisons(registry).read() if (each.production, each.candidate) == (before, after)]
    return _report(before, after, rows) if rows else {}


def _served(registry: Registry, version: str) -> Served:
    found = registry.find(version)
    return Served(version=int(found.version), run=str(found.run_id))


def _report(production: Served, candidate: Served, rows: Sequence[Comparison]) -> dict[str, Any]:
    photos = Counter(each.outcome for each in rows)
    read = [each for each in rows if each.outcome == "compared"]
    hours = sorted(each.hour for each in rows)
    choices = [each.choices for each in read if each.choices]
    by, similar = _similarities(read)
    times = [(each.seconds, each.production_seconds) for each in read if each.seconds and each.production_seconds]
    return {
        "production": production.version,
        "candidate": candidate.version,
        "from": hours[0].isoformat(),
        "to": hours[-1].isoformat(),
        "photos": {outcome: photos[outcome] for outcome in ("compared", "unread", "late", "failed")},
        "choices_differ": mean(sum(each.values()) / len(each) for each in choices),
        "groups": {
            group: share(each[group] for each in choices if group in each)
            for group in dict.fromkeys(name for each in choices for name in each)
        },
        "parameters_differ": mean(each.parameters for each in read if each.parameters is not None),
        "largest_difference": mean(each.largest for each in read if each.largest is not None),
        "similarity": {**mean(similar), "by": by},
        "unread": share([*(False for _ in read), *(True for _ in range(photos["unread"] + photos["failed"]))]),
        "slower": ratio(times),
        "cpu_seconds": {"candidate": mean(one for one, _ in times), "production": mean(other for _, other in times)},
    }


def _similarities(read: Iterable[Comparison]) -> tuple[str | None, list[float]]:
    """Renders and what is expected of them are not the same measure: those of which there are more, and which."""
    kinds: dict[str | None, list[float]] = defaultdict(list)
    for each in read:
        if each.similarity is not None:
            kinds[each.drawn_by].append(each.similarity)
    return max(kinds.items(), key=lambda item: len(item[1]), default=(None, []))


def mean(values: Iterable[float]) -> dict[str, Any]:
    """The mean of values [N] with its 95 % interval by Student's t, and quantiles."""
    array = np.fromiter(values, np.float64)
    if not len(array):
        return {"value": None, "ci": None, "n": 0, "quantiles": None}
    quantiles = {
        str(level): _tidy(value) for level, value in zip(QUANTILES, np.quantile(array, QUANTILES), strict=True)
    }
    return {"value": _tidy(array.mean()), "ci": _interval(array), "n": len(array), "quantiles": quantiles}


def share(values: Iterable[bool]) -> dict[str, Any]:
    """The share of what is true, with Wilson's 95 % interval: none of 200 does not mean never."""
    from scipy import stats  # takes a second to load, which promotions without a shadow do without

    array = np.fromiter(values, bool)
    if not len(array):
        return {"value": None, "ci": None, "n": 0}
    ends = stats.binomtest(int(array.sum()), len(array)).proportion_ci(method="wilson")
    ci = [_tidy(ends.low), _tidy(ends.high)] if len(array) >= FEWEST else None
    return {"value": _tidy(array.mean()), "ci": ci, "n": len(array)}


def ratio(times: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """How many times as long the first of each pair took, as a geometric mean: some photos take longer, for both."""
    if not times:
        return {"value": None, "ci": None, "n": 0}
    logs = np.log(times)
    logs = logs[:, 0] - logs[:, 1]
    ci = _interval(logs)
    return {
        "value": _tidy(np.exp(logs.mean())),
        "ci": [_tidy(end) for end in np.exp(ci)] if ci else None,
        "n": len(logs),
    }


def _interval(values: np.ndarray) -> list[float] | None:
    from scipy import stats

    if len(values) < FEWEST:
        return None
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return [_tidy(values.mean() - half), _tidy(values.mean() + half)]


def _tidy(value: ArrayLike) -> float:
    return round(float(np.asarray(value)), 5)
