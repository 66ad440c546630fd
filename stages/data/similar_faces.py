"""Who looks like whom among many faces: one face under two people, and two people under one name.

Everything is blocked products of embeddings [N, D] of length 1: time grows with N², memory does not.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

BLOCK = 2048
"""Faces that are compared with so many others at once: 16 MB of cosines."""
SAMPLE = 200_000
"""Pairs of two people by which it is known how alike strangers are."""
LINKED_AT_MOST = 1000
"""Photos of a person that are compared pair by pair; those of more are compared with their centre."""
PAIRS_OF_A_BLOCK = 4096
"""Pairs that are remembered of two blocks, the most alike: where nearly all faces are alike, there are millions."""


@dataclass(frozen=True, order=True)
class Pair:
    """Two faces by their rows."""

    similarity: float
    first: int
    second: int


@dataclass
class TwoPeople:
    """Faces of two people that look like one person's."""

    best: Pair
    pairs: int = 1


@dataclass
class Alike:
    """One face under two people, the most alike first."""

    limit: float
    """Similarity from which on two faces are one person's."""
    compared: int
    """Pairs of faces of two people."""
    found: list[TwoPeople] = field(default_factory=list)
    people: int = 0
    """How many pairs of people there are whose faces look like one person's; `found` has the most alike."""


@dataclass(frozen=True)
class Stranger:
    """A face that is unlike the others of its name."""

    row: int
    typical: int
    """The row that is most like the others of that name."""
    similarity: float
    """Its mean similarity to these others."""


def chance_limit(embeddings: NDArray, people: NDArray, least: float, chance: float) -> tuple[float, int]:
    """The similarity from which on two faces are one person's: at least `least`, and so much that faces of two people
    reach it by chance in one of 1 / `chance` data sets of this size. With it, how many pairs of two people there are.

    Similarities of strangers are near a normal distribution. Its middle and spread are told by the quartiles of a
    sample of pairs, which a few duplicates in it do not move.
    """
    sizes = np.bincount(people)
    pairs = int((len(people) ** 2 - (sizes.astype(np.int64) ** 2).sum()) // 2)
    if not pairs:
        return least, 0
    first, second = np.random.default_rng(0).integers(len(people), size=(2, SAMPLE))
    others = people[first] != people[second]
    low, middle, high = np.quantile(_cosines(embeddings, first[others], second[others]), (0.25, 0.5, 0.75))
    z, quartile = stats.norm.isf(min(chance / pairs, 0.5)), stats.norm.isf(0.25)
    return max(least, float(middle + z * (high - low) / (2 * quartile))), pairs


def _cosines(embeddings: NDArray, first: NDArray, second: NDArray) -> NDArray:
    parts = range(0, len(first), BLOCK)
    found = [
        np.einsum("nd,nd->n", embeddings[first[at : at + BLOCK]], embeddings[second[at : at + BLOCK]]) for at in parts
    ]
    return np.concatenate(found) if found else np.zeros(0)


def alike(embeddings: NDArray, people: NDArray, least: float, chance: float, most: int) -> Alike:
    """Faces of two people [N] that look like one person's, best pair first: at most `most` pairs of people."""
    limit, compared = chance_limit(embeddings, people, least, chance)
    known: dict[tuple[int, int], TwoPeople] = {}
    passed_over = 0
    for pair in _pairs_above(embeddings, people, limit):
        names = sorted((int(people[pair.first]), int(people[pair.second])))
        before = known.setdefault((names[0], names[1]), TwoPeople(pair, 0))
        before.pairs += 1
        before.best = max(before.best, pair)
        if len(known) > 64 * most:  # a set without names: only the most alike are of use
            passed_over += len(known) - 8 * most
            known = dict(heapq.nlargest(8 * most, known.items(), key=lambda item: item[1].best))
    best = heapq.nlargest(most, known.values(), key=lambda one: one.best)
    return Alike(limit, compared, best, len(known) + passed_over)


def _pairs_above(embeddings: NDArray, people: NDArray, limit: float) -> Iterator[Pair]:
    count = len(people)
    for start in range(0, count, BLOCK):
        rows = slice(start, start + BLOCK)
        for begin in range(start, count, BLOCK):
            columns = slice(begin, begin + BLOCK)
            cosines = embeddings[rows] @ embeddings[columns].T
            first, second = np.nonzero(cosines >= limit)
            other = (people[rows][first] != people[columns][second]) & (first + start < second + begin)
            first, second = first[other], second[other]
            values = cosines[first, second]
            if len(values) > PAIRS_OF_A_BLOCK:
                top = np.argpartition(values, -PAIRS_OF_A_BLOCK)[-PAIRS_OF_A_BLOCK:]
                first, second, values = first[top], second[top], values[top]
            for value, one, another in zip(values, first, second, strict=True):
                yield Pair(float(value), int(one) + start, int(another) + begin)


def strangers(embeddings: NDArray, people: NDArray, least: float) -> list[Stranger]:
    """Faces that are another person's than most of their name are, the least alike first.

    The faces of a name are joined by average linkage, as long as two groups are alike by `least` in the mean. All but
    the largest group are strangers; of two single faces that are unlike, nobody knows which, and the second one is.
    """
    order = np.argsort(people, kind="stable")
    starts = np.flatnonzero(np.diff(people[order], prepend=-1))
    found: list[Stranger] = []
    for rows in np.split(order, starts[1:]):
        if len(rows) > 1:
            found += _strangers_of(embeddings[rows].astype(np.float64), rows, least)
    return sorted(found, key=lambda one: (one.similarity, one.row))


def _strangers_of(faces: NDArray, rows: NDArray, least: float) -> Sequence[Stranger]:
    own = _largest_group(faces, least)
    if own.all():
        return []
    centre = faces[own].mean(0)
    typical = int(rows[own][(faces[own] @ centre).argmax()])
    return [
        Stranger(int(row), typical, float(face @ centre)) for row, face in zip(rows[~own], faces[~own], strict=True)
    ]


def _largest_group(faces: NDArray, least: float) -> NDArray[np.bool_]:
    """Which faces [n, D] of a name are the person's."""
    if len(faces) > LINKED_AT_MOST:
        own = np.ones(len(faces), bool)
        for _ in range(2):  # once more, without those that bent the mean
            own = faces @ faces[own].mean(0) >= least
        return own if own.any() else ~own
    groups = hierarchy.fcluster(hierarchy.average(pdist(faces, "cosine")), 1 - least, "distance")
    sizes = np.bincount(groups)
    # Of two as large, the one whose first face comes first.
    return groups == min(np.unique(groups), key=lambda group: (-sizes[group], int((groups == group).argmax())))
