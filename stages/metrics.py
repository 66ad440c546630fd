"""Scores as plain functions of arrays, and confidence intervals by bootstrap over people."""

from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 500


class Score(TypedDict):
    """One figure of the scorecard; None where there is no such thing."""

    value: float | None
    baseline: float | None  # the same score of the average face, or of chance
    bound: float | None  # the best that could be reached
    ci: list[float] | None  # 95 % confidence interval of the value
    n: int
    reason: NotRequired[str]  # why there is no value
    by: NotRequired[str]  # "imitator" where it drew in the engine's place


def score(
    value: float | None,
    *,
    n: int,
    baseline: float | None = None,
    bound: float | None = None,
    ci: Sequence[float] | None = None,
) -> Score:
    """A score with its figures rounded for reading."""

    def tidy(number: float | None) -> float | None:
        return None if number is None or not np.isfinite(number) else round(float(number), 5)

    interval = None if ci is None else [round(float(end), 5) for end in ci]
    return {"value": tidy(value), "baseline": tidy(baseline), "bound": tidy(bound), "ci": interval, "n": int(n)}


def nothing(reason: str, n: int = 0) -> Score:
    """The score that a character cannot have."""
    return {"value": None, "baseline": None, "bound": None, "ci": None, "n": n, "reason": reason}


def bootstrap(statistic: Callable[[NDArray[np.int64]], float], people: ArrayLike, seed: int = 0) -> list[float]:
    """95 % interval of a statistic of row numbers, resampling whole people (rows of one person are not independent)."""
    names, member = np.unique(np.asarray(people), return_inverse=True)
    rows = [np.flatnonzero(member == person) for person in range(len(names))]
    rng = np.random.default_rng(seed)
    values = [
        statistic(np.concatenate([rows[k] for k in rng.integers(len(rows), size=len(rows))])) for _ in range(RESAMPLES)
    ]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return [float(low), float(high)]


def r2(truth: NDArray, guess: NDArray) -> NDArray[np.float64]:
    """Coefficient of determination of each column of [N,S]; 0 is as good as always guessing the mean.

    NaN where the truth does not vary, so that there is nothing to determine.
    """
    residual = ((truth - guess) ** 2).sum(axis=0, dtype=np.float64)
    total = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0, dtype=np.float64)
    return np.where(total > 1e-6, 1.0 - residual / np.maximum(total, 1e-6), np.nan)


def same_and_different(people: ArrayLike, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """All same-person pairs of rows and as many different-person pairs: pairs [P,2], is_same [P]."""
    names = np.asarray(people)
    first, second = np.triu_indices(len(names), k=1)
    same = names[first] == names[second]
    positives, negatives = np.flatnonzero(same), np.flatnonzero(~same)
    chosen = np.random.default_rng(seed).permutation(negatives)[: max(len(positives), 1)]
    rows = np.concatenate([positives, chosen])
    return np.stack([first[rows], second[rows]], axis=1), same[rows]


def verification_accuracy(similarity: NDArray, is_same: NDArray[np.bool_], folds: int = 10) -> float:
    """Share of pairs told right by a threshold chosen on the other folds, as in LFW's protocol."""
    order = np.random.default_rng(0).permutation(len(similarity))
    parts = [part for part in np.array_split(order, min(folds, len(order))) if len(part)]
    hits = []
    for number, part in enumerate(parts):
        rest = np.concatenate([p for k, p in enumerate(parts) if k != number]) if len(parts) > 1 else part
        hits.append((similarity[part] >= best_threshold(similarity[rest], is_same[rest])) == is_same[part])
    return float(np.concatenate(hits).mean())


def best_threshold(similarity: NDArray, is_same: NDArray[np.bool_]) -> float:
    """The similarity from which on pairs are called the same person with the fewest errors."""
    order = np.argsort(similarity)
    sorted_same = is_same[order]
    below_right = np.concatenate([[0], np.cumsum(~sorted_same)])
    above_right = sorted_same.sum() - np.concatenate([[0], np.cumsum(sorted_same)])
    place = int(np.argmax(below_right + above_right))
    ordered = np.concatenate([similarity[order], [np.inf]])
    return float(
        ordered[place] if place == 0 else (ordered[place - 1] + ordered[place]) / 2 if place < len(order) else np.inf
    )


def cosine(a: NDArray, b: NDArray) -> NDArray:
    """Cosine of matching rows."""
    a, b = (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12) for v in (a, b))
    return (a * b).sum(axis=-1)


def ranks(probes: NDArray, gallery: NDArray) -> NDArray[np.int64]:
    """For each probe [N,D], at which place (1 = first) the gallery entry of the same row comes by cosine."""
    a, b = (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12) for v in (probes, gallery))
    similarity = a @ b.T
    # A tie counts against the probe: a constant answer must not look like a hit.
    return (similarity >= np.diag(similarity)[:, None]).sum(axis=1)


def f1(truth: NDArray[np.uint8], guess: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    """F1 of each class over all pixels; NaN for a class that neither has."""
    pairs = np.bincount(truth.ravel().astype(np.int64) * classes + guess.ravel(), minlength=classes**2)
    matrix = pairs.reshape(classes, classes)
    hits, sums = np.diag(matrix).astype(np.float64), matrix.sum(axis=0) + matrix.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * hits / sums
