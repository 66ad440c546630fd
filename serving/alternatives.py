"""How sure a model is of a character's choices, and what else the photo may show."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import prod
from typing import Any

LIKELY = 0.12
"""A choice of this probability is worth showing beside the one that was taken."""
MOST = 4
"""Alternatives, and choices of one group. Of up to six alternatives none changes three groups: each of its parts is
likelier."""


def confidence_of(document: Mapping[str, Any]) -> dict[str, float]:
    """Of each group that a model chose for, the probability of its choice; of one that was changed by hand, 1."""
    edited = set(document.get("edited", ()))
    return {
        group: 1.0 if group in edited else probability
        for group, chosen in document["discrete"].items()
        if (probability := chosen.get("probabilities", {}).get(chosen["choice"])) is not None
    }


def alternatives_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a player may like better: for each, the choices to set, and how likely they are beside what was taken (1: as
    likely), by probabilities of groups that are taken as independent. The likeliest first, MOST at most."""
    edited = set(document.get("edited", ()))
    single = [
        (group, choice, probability / taken)
        for group, chosen in document["discrete"].items()
        if group not in edited and (taken := chosen.get("probabilities", {}).get(chosen["choice"], 0)) > 0
        for choice, probability in chosen["probabilities"].items()
        if choice != chosen["choice"] and probability >= LIKELY
    ]
    found = [[one] for one in single] + [[one, other] for one, other in combinations(single, 2) if one[0] != other[0]]
    ranked = sorted(found, key=lambda changes: -prod(ratio for _, _, ratio in changes))
    return [
        {
            "discrete": {group: choice for group, choice, _ in changes},
            "relative": round(prod(ratio for _, _, ratio in changes), 4),
        }
        for changes in ranked[:MOST]
    ]


def likely_of(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Of each group that the photo leaves open the choices worth showing: what was taken of it, whatever was changed by
    hand since, then the others, the likeliest first; MOST at most."""
    read = (document.get("read") or {}).get("discrete", {})
    found = {}
    for group, chosen in document["discrete"].items():
        taken, probabilities = read.get(group, chosen["choice"]), chosen.get("probabilities", {})
        others = [choice for choice, probability in probabilities.items() if probability >= LIKELY and choice != taken]
        if others:
            found[group] = [taken, *sorted(others, key=lambda choice: -probabilities[choice])][:MOST]
    return found
