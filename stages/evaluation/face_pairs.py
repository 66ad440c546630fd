"""Pairs of faces for verification, without a list of all of them: N faces have N²/2 pairs, most of different people.

Pairs are ordered by their first row, then by their second one, which is the larger. Legend: N faces, P pairs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.evaluation import metrics

AT_ONCE = 8192
"""Pairs whose vectors are gathered at a time."""


class FacePairs(NamedTuple):
    """Rows of two faces, and whether they show one person."""

    first: NDArray[np.int64]  # [P]
    second: NDArray[np.int64]  # [P]
    same: NDArray[np.bool_]  # [P]

    @property
    def one_sided(self) -> bool:
        """Whether there are pairs of one kind only, or none: nothing can be told apart."""
        return bool(self.same.all() or not self.same.any())


def draw_pairs(people: NDArray, most: int, seed: int, fold: NDArray[np.int64] | None = None) -> FacePairs:
    """All pairs of one person, and of those of different people all, or `most` drawn at random if there are more.

    `people` [N]; `fold` [N]: only pairs inside one fold, and everybody is in one.
    """
    member = np.unique(people, return_inverse=True)[1]
    own = same_pairs(member)
    others = _different(member, np.zeros_like(member) if fold is None else fold, most, seed)
    first, second = (np.concatenate(rows) for rows in zip(own, others, strict=True))
    order = np.lexsort((second, first))
    return FacePairs(first[order], second[order], (np.arange(len(order)) < len(own[0]))[order])


def same_pairs(people: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows [P] and [P] of all pairs of one person, among the faces of `people` [N]."""
    member = np.unique(people, return_inverse=True)[1]
    by_person = np.argsort(member, kind="stable")
    later = _later(member[by_person])  # of the same person
    first = np.repeat(np.arange(len(member)), later)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(later) - later, later)
    first, second = by_person[first], by_person[second]
    order = np.lexsort((second, first))
    return first[order], second[order]


def _different(
    member: NDArray[np.int64], fold: NDArray[np.int64], most: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of pairs of different people. The faces of a pair follow from its number, so that a pair that is not drawn
    takes no memory.
    """
    by_fold = np.argsort(fold, kind="stable")
    member, places = member[by_fold], np.arange(len(member))
    partners = _later(fold[by_fold])
    by_person = np.argsort(member, kind="stable")
    partners[by_person] -= _later(member[by_person])
    ends = np.cumsum(partners)
    count = int(partners.sum())
    drawn = count > most
    numbers = np.sort(np.random.default_rng(seed).choice(count, most, replace=False)) if drawn else np.arange(count)
    first = np.searchsorted(ends, numbers, side="right")
    nth = numbers - (ends - partners)[first]  # among the partners of the first face
    own = np.sort(member * len(member) + places)

    def met(place: NDArray[np.int64]) -> NDArray[np.int64]:
        """Faces of the first one's person up to a place."""
        return np.searchsorted(own, member[first] * len(member) + place, side="right")

    second, before = first + 1 + nth, met(first)
    while len(wrong := np.flatnonzero((moved := first + 1 + nth + met(second) - before) != second)):
        second[wrong] = moved[wrong]
    return by_fold[first], by_fold[second]


def _later(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of each one's group [N], sorted, come after it."""
    return np.searchsorted(groups, groups, side="right") - np.arange(len(groups)) - 1


def similarity(vectors: NDArray, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray:
    """Cosines [P] of the pairs of vectors [N, D]; only AT_ONCE pairs have their vectors in memory twice."""
    parts = range(0, max(len(first), 1), AT_ONCE)
    return np.concatenate(
        [metrics.cosine(vectors[first[k : k + AT_ONCE]], vectors[second[k : k + AT_ONCE]]) for k in parts]
    )
