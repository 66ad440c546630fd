"""Scores as plain functions of arrays, and confidence intervals by bootstrap over people.

Rows of one person are not independent, so whole people are resampled. Nearly every score here is a function of sums
over people; then 500 resamples are one product of matrices (`draws`, `sums_by`). The same number of people is always
drawn in the same way, so that two scores of the same people are compared pair by pair.

The plain percentile interval of few people is too narrow: what is called 95 % holds the truth in 83 % of cases with
five people, in 90 % with ten, in 93 % with twenty. So its ends are taken further out, as far as Student's t lies
outside the normal distribution (the expanded percentile interval of Hesterberg, The American Statistician 69, 2015).
From ten people on it holds in 93 to 95 % where people's values are spread evenly about their mean, in 90 to 93 % where
they are as skewed as an exponential distribution. Below ten people none of this holds, and there is no interval.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

RESAMPLES = 500
FEWEST = 10
"""People, from whom on there are intervals."""
TINY = 1e-12
CONSTANT = 1e-7  # a variance below this is none


class Resamples(NamedTuple):
    """What a score is when people are drawn anew."""

    values: NDArray  # [RESAMPLES]
    people: int


class Score(TypedDict):
    """One figure of the scorecard; None where there is no such thing."""

    value: float | None
    baseline: float | None  # the same score of the average face, or of chance
    bound: float | None  # the best that could be reached
    ci: list[float] | None  # 95 % confidence interval of the value; None with fewer than FEWEST people
    n: int
    reason: NotRequired[str]  # why there is no value
    by: NotRequired[str]  # "imitator" where it drew in the engine's place
    resampled: NotRequired[Resamples]  # what `ci` was read from; for paired differences, never written


def score(
    value: float | None,
    *,
    n: int,
    baseline: float | None = None,
    bound: float | None = None,
    ci: Sequence[float] | None = None,
    resampled: Resamples | None = None,
) -> Score:
    """A score with its figures rounded for reading. `ci` follows from the resamples where they are given; they stay
    with the score."""

    def tidy(number: float | None) -> float | None:
        return None if number is None or not np.isfinite(number) else round(float(number), 5)

    ends = interval(*resampled) if resampled is not None else ci
    rounded = None if ends is None or not np.isfinite(ends).all() else [round(float(end), 5) for end in ends]
    found: Score = {
        "value": tidy(value), "baseline": tidy(baseline), "bound": tidy(bound), "ci": rounded, "n": int(n),
    }  # fmt: skip
    if resampled is not None:
        found["resampled"] = resampled
    return found


def nothing(reason: str, n: int = 0) -> Score:
    """The score that a character cannot have."""
    return {"value": None, "baseline": None, "bound": None, "ci": None, "n": n, "reason": reason}


@lru_cache(maxsize=8)
def draws(count: int, seed: int = 0) -> NDArray[np.float64]:
    """How often each of `count` people is drawn in each resample: [RESAMPLES, count], rows sum to `count`."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)


def sums_by(people: ArrayLike, values: NDArray) -> NDArray[np.float64]:
    """Sums of rows [N, ...] over each person: [P, ...], people sorted by name."""
    names, member = np.unique(np.asarray(people), return_inverse=True)
    totals = np.zeros((len(names), *values.shape[1:]))
    np.add.at(totals, member, values)
    return totals


def interval(resampled: ArrayLike, people: int) -> list[float]:
    """The 95 % interval of a score from its resamples over so many people.

    NaN where there is none: with fewer than FEWEST people, and where all resamples are the same, which says that these
    people are alike, not that all are.
    """
    values = np.asarray(resampled, np.float64)
    finite = values[np.isfinite(values)]
    if people < FEWEST or not len(finite) or np.ptp(finite) < TINY:
        return [np.nan, np.nan]
    share = 100 * float(ndtr(stdtrit(people - 1, 0.025) * np.sqrt(people / (people - 1))))
    return [float(end) for end in np.percentile(finite, [share, 100 - share])]


def count(people: ArrayLike) -> int:
    """How many people there are among the rows [N]."""
    return len(np.unique(np.asarray(people)))


def resampled_means(values: NDArray, people: ArrayLike) -> NDArray[np.float64]:
    """The mean of values [N] or of each column of [N, K] in each resample: [RESAMPLES] or [RESAMPLES, K]."""
    totals, counts = sums_by(people, values), sums_by(people, np.ones(len(values)))
    drawn = draws(len(counts))
    weight = drawn @ counts
    return (drawn @ totals) / (weight if values.ndim == 1 else weight[:, None])


def mean_score(
    values: NDArray, people: ArrayLike, *, baseline: float | None = None, bound: float | None = None
) -> Score:
    """The mean of values [N] with its interval."""
    if not len(values):
        return score(None, n=0)
    resampled = Resamples(resampled_means(values, people), count(people))
    return score(float(values.mean()), baseline=baseline, bound=bound, resampled=resampled, n=len(values))


def r2(truth: NDArray, guess: NDArray) -> NDArray[np.float64]:
    """Coefficient of determination of each column of [N, S]; 0 is as good as always guessing the mean.

    NaN where the truth does not vary, so that there is nothing to determine.
    """
    residual = ((truth - guess) ** 2).mean(axis=0, dtype=np.float64)
    variance = truth.var(axis=0, dtype=np.float64)
    return np.where(variance > CONSTANT, 1.0 - residual / np.maximum(variance, CONSTANT), np.nan)


def explained(truth: NDArray, guess: NDArray, variance: NDArray) -> NDArray[np.float64]:
    """1 − squared error over `variance` [S]: [N, S]; NaN where nothing varies.

    The mean over all rows is R², if `variance` is that of all rows. Of a part or a resample of them it says how well
    *they* are read by the measure of all: people who are alike are not punished for it, and a resample that happens to
    lack the rare values does not count as badly read.
    """
    errors = (truth - guess).astype(np.float64) ** 2
    return np.where(variance > CONSTANT, 1.0 - errors / np.maximum(variance, CONSTANT), np.nan)


def told_right(similarity: NDArray, is_same: NDArray[np.bool_], folds: NDArray) -> NDArray[np.bool_]:
    """Which pairs [P] a threshold chosen on the other folds tells right, as in LFW's protocol.

    `folds`: the fold of each pair [P]; with one fold its own threshold is used. A similarity that is NaN (a photo in
    which no face was found) is a miss, whatever the truth.
    """
    known = np.isfinite(similarity)
    hits = np.zeros(len(similarity), bool)
    for fold in np.unique(folds):
        part, rest = (folds == fold) & known, (folds != fold) & known
        rest = rest if rest.any() else part
        if part.any():
            hits[part] = (similarity[part] >= best_threshold(similarity[rest], is_same[rest])) == is_same[part]
    return hits


def balanced(hits: NDArray, is_same: NDArray[np.bool_]) -> float:
    """Mean of the shares of same and of different pairs told right; of those there are, where one kind is missing."""
    return float(np.mean([hits[kind].mean() for kind in (is_same, ~is_same) if kind.any()]))


def best_threshold(similarity: NDArray, is_same: NDArray[np.bool_]) -> float:
    """The similarity from which on pairs are called the same person with the fewest errors; both kinds of pairs weigh
    the same, however many there are."""
    order = np.argsort(similarity, kind="stable")
    sorted_same, ordered = is_same[order], similarity[order]
    weights = np.where(sorted_same, 1.0 / max(is_same.sum(), 1), 1.0 / max((~is_same).sum(), 1))
    below_right = np.concatenate([[0.0], np.cumsum(weights * ~sorted_same)])
    above_right = (weights * sorted_same).sum() - np.concatenate([[0.0], np.cumsum(weights * sorted_same)])
    gained = below_right + above_right
    # Equal similarities cannot be told apart: a threshold never falls between them.
    gained[1:-1][ordered[1:] == ordered[:-1]] = -np.inf
    place = int(np.argmax(gained))
    if place == 0:
        return float(ordered[0])
    return float((ordered[place - 1] + ordered[place]) / 2) if place < len(ordered) else np.inf


def cosine(a: NDArray, b: NDArray) -> NDArray:
    """Cosine of matching rows."""
    a, b = unit(a), unit(b)
    return (a * b).sum(axis=-1)


def unit(vectors: NDArray) -> NDArray:
    """Vectors [..., D] at length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), TINY)


def ranks(probes: NDArray, gallery: NDArray) -> NDArray[np.int64]:
    """For each probe [N, D], at which place (1 = first) the gallery entry of the same row comes by cosine."""
    own = np.eye(len(probes), dtype=bool)
    return places(unit(probes) @ unit(gallery).T, own, np.ones_like(own))


def places(similarity: NDArray, own: NDArray[np.bool_], shown: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """For each probe, at which place (1 = first) the first of its own gallery entries comes.

    `similarity` [N, G]; `own` [N, G] which entries show the probe's person; `shown` [N, G] which entries it is compared
    with at all. Every probe must have an own entry that is shown.
    """
    shown = np.ones_like(own) if shown is None else shown
    best = np.where(own & shown, similarity, -np.inf).max(axis=1)
    # A tie counts against the probe: a constant answer must not look like a hit.
    return ((similarity >= best[:, None]) & shown & ~own).sum(axis=1) + 1


def confusion(truth: NDArray[np.uint8], guess: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Pixels of each true class that were called each class: [classes, classes]."""
    pairs = np.bincount(truth.ravel().astype(np.int64) * classes + guess.ravel(), minlength=classes**2)
    return pairs.reshape(classes, classes)


def f1_of(matrix: NDArray) -> NDArray[np.float64]:
    """F1 of each class [..., classes] from confusions [..., classes, classes]; NaN for a class that neither has."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * hits / (matrix.sum(axis=-1) + matrix.sum(axis=-2))


def f1(truth: NDArray[np.uint8], guess: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    """F1 of each class over all pixels; NaN for a class that neither has."""
    return f1_of(confusion(truth, guess, classes))
