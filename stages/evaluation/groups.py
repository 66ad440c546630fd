"""Groups: every main score of held-out portraits by sex, age and skin tone, and the largest differences."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.data import tables
from stages.data.appearance_labels import ANNOTATOR
from stages.evaluation import metrics
from stages.evaluation.context import EvaluationContext
from stages.evaluation.metrics import nothing, score
from stages.evaluation.report import Report, Statistic
from stages.evaluation.scores import FEWEST

SHUFFLES = 200
# Upper ends of slider values.
SEXES = (("female", 0.4), ("between", 0.6), ("male", np.inf))
AGE_YEARS = (25, 90)
"""The ends of the age slider."""
AGES = (("25_to_39", 15 / 65), ("40_to_54", 30 / 65), ("55_and_over", np.inf))
LABELLED_BY, UNKNOWN = ("sex", "age_band", "skin_tone"), "not_noted"

Labels = dict[str, NDArray]


def groups(evaluation: EvaluationContext, report: Report) -> dict[str, Any]:
    """By the true parameters. Recovery counts a group's errors against the variance over everybody, so that people who
    are alike are not punished for it.

    `largest` names, for each score, the two groups that differ most for their kind: the baseline is the largest
    difference that the same people show on average when they are sorted into groups of the same sizes by lot.
    """
    found = _photos(evaluation, report)
    if not evaluation.portraits_are_its_own:
        return found | {"portraits": nothing("the portraits show another character")}
    labels = _labels(evaluation)
    if not labels:
        return found | {"portraits": nothing("the character has no sliders `sex` and `age` and no group `skin`")}
    names = np.unique(evaluation.faces["person"].to_numpy())
    found["everybody"] = {"people": len(names)} | {s.name: group_score(s, names) for s in report.statistics}
    return found | by_labels(names, labels, report.statistics)


def _photos(evaluation: EvaluationContext, report: Report) -> dict[str, Any]:
    """Labelled real photos, grouped by what the first labelling says; and of the others why they are in no group."""
    photos = evaluation.photos.merge(evaluation.labels.sort_values(ANNOTATOR).drop_duplicates("id"), "left", "id")
    people = photos.sort_values("id").drop_duplicates("person").sort_values("person")
    labels: Labels = {}
    for column in LABELLED_BY:
        if people[column].notna().any():
            labels[column] = people[column].fillna(UNKNOWN).to_numpy(str)
    names, real = people["person"].to_numpy(str), int(photos[list(LABELLED_BY)].isna().all(axis=1).sum())
    reason = f"{real} real photos whose sex, age and skin tone nobody noted: no groups"
    found: dict[str, Any] = {"real_photos": nothing(reason, real)}
    return found | {"labelled_photos": by_labels(names, labels, report.photo_statistics)} if labels else found


def by_labels(names: NDArray, labels: Labels, statistics: list[Statistic]) -> dict[str, Any]:
    """{dimension: {group: {score: …}}} of people [P] sorted by name; under `largest` the groups that differ most."""
    found: dict[str, Any] = {}
    differences: dict[str, list[dict[str, Any]]] = {}
    for dimension, of in labels.items():
        found[dimension] = _entries(names, of, statistics)
        for statistic in statistics:
            compared = difference(statistic, names, of)
            if compared is not None:
                differences.setdefault(statistic.name, []).append({"by": dimension, **compared})
    return found | {"largest": {name: max(several, key=_beyond_chance) for name, several in differences.items()}}


def _beyond_chance(entry: dict[str, Any]) -> float:
    return entry["difference"]["value"] - entry["difference"]["baseline"]


def _labels(evaluation: EvaluationContext) -> Labels:
    """The group of each person, people sorted by name."""
    schema, people = (
        evaluation.schema,
        evaluation.faces.sort_values("id").drop_duplicates("person").sort_values("person"),
    )
    sliders, choices = tables.stack(people["parameters"]), tables.stack(people["discrete"], np.int16)
    found: Labels = {}
    for dimension, bands in (("sex", SEXES), ("age", AGES)):
        if dimension in schema.slider_index:
            found[dimension] = banded(sliders[:, schema.slider_index[dimension]], bands)
    if "skin" in schema.group_index:
        column = schema.group_index["skin"]
        found["skin"] = np.array(schema.groups[column].choices)[choices[:, column]]
    return found


def banded(values: NDArray, bands: tuple[tuple[str, float], ...]) -> NDArray:
    """The name of each value's band; a value that is an upper end belongs to the band above."""
    return np.array([name for name, _ in bands])[np.digitize(values, [end for _, end in bands[:-1]])]


def _entries(names: NDArray, of: NDArray, statistics: list[Statistic]) -> dict[str, Any]:
    """{group: {score: …}} of one dimension; every group that anyone is in."""
    found: dict[str, Any] = {}
    for group in np.unique(of):
        inside = of == group
        found[str(group)] = {"people": int(inside.sum())} | {
            statistic.name: group_score(statistic, names[inside]) for statistic in statistics
        }
    return found


def group_score(statistic: Statistic, people: NDArray) -> metrics.Score:
    """A main score over some people alone."""
    inside = np.isin(statistic.people, people)
    if not inside.any():
        return nothing("nobody of the group is in this score")
    totals = statistic.totals[inside]
    resampled = statistic.value(np.tensordot(metrics.draws(len(totals)), totals, axes=1))
    return score(
        float(statistic.value(totals.sum(axis=0)[None])[0]), n=len(totals),
        ci=metrics.interval(resampled, len(totals)),
    )  # fmt: skip


def difference(statistic: Statistic, names: NDArray, of: NDArray) -> dict[str, Any] | None:
    """The groups with the highest and the lowest score, and how far they are apart; None where there are no two groups
    with enough people.

    The interval resamples people within the two groups; it is as wide as the smaller of them asks for.
    """
    kept = np.isin(statistic.people, names)
    totals, label = statistic.totals[kept], of[np.searchsorted(names, statistic.people[kept])]
    groups_, counts = np.unique(label, return_counts=True)
    compared = groups_[counts >= FEWEST]
    if len(compared) < 2:
        return None
    values = _values(statistic, totals, label, compared)
    if not np.isfinite(values).all():
        return None
    high, low = int(values.argmax()), int(values.argmin())
    rng = np.random.default_rng(0)
    by_lot = [np.ptp(_values(statistic, totals, rng.permutation(label), compared)) for _ in range(SHUFFLES)]
    apart = _resampled(statistic, totals[label == compared[high]], 1) - _resampled(
        statistic, totals[label == compared[low]], 2
    )
    sizes = [int((label == group).sum()) for group in (compared[high], compared[low])]
    return {
        "highest": str(compared[high]),
        "lowest": str(compared[low]),
        "difference": score(
            float(values[high] - values[low]),
            baseline=float(np.nanmean(by_lot)),
            n=sum(sizes),
            ci=metrics.interval(apart, min(sizes)),
        ),
    }


def _values(statistic: Statistic, totals: NDArray, label: NDArray, compared: NDArray) -> NDArray[np.float64]:
    return statistic.value(np.stack([totals[label == group].sum(axis=0) for group in compared]))


def _resampled(statistic: Statistic, totals: NDArray, seed: int) -> NDArray[np.float64]:
    return statistic.value(np.tensordot(metrics.draws(len(totals), seed), totals, axes=1))
