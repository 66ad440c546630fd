"""The version in production beside the one that is scored: on the same people, in the same run, by its own code.

Faces, engine, judge and resamples are the same for both, so every difference has an interval of its own: people are
resampled in both at once, and what makes some people harder than others falls out.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.processes import memory_released_after
from stages.data.people_splits import now_tested
from stages.evaluation import schema_mapping
from stages.evaluation.context import EvaluationContext
from stages.evaluation.metrics import FEWEST, interval, nothing, score
from stages.evaluation.report import Picture, Report, Tile
from stages.evaluation.scores import DIFFERENCES, scores

LEARNED_FROM = "production.aligned_faces"
"""The optional input with the aligned faces that the version in production learned from, where these are others."""
Section = Callable[[EvaluationContext, Report], dict[str, Any]]


class Unseen(Report):
    """Of the version in production only scores are wanted."""

    def picture(self, name: str, image: Picture) -> None:
        """Not written."""

    def show(self, key: str, title: str, note: str, tiles: Sequence[Tile]) -> None:
        """Not shown."""


def beside(
    evaluation: EvaluationContext, card: Mapping[str, Any], sections: Sequence[Section], folder: Path
) -> dict[str, Any]:
    """The packed version in `folder`, scored by these sections, and under `differences` the candidate's scores of
    `card` less its own.

    What it cannot do is null with the reason: another version's code may fail in any way, and must not stop the
    candidate. Where it learned from some of the people, both are scored on the others, whose number is `people`.
    """
    try:
        fair = untaught(evaluation)
        own = with_version(fair, folder)
    except Exception as error:
        return {section.__name__: _without(card[section.__name__], error) for section in sections} | {DIFFERENCES: {}}
    found = _scored(own, card, sections)
    if fair is evaluation:
        return found | {DIFFERENCES: differences(card, found)}
    ours = _scored(fair, card, sections)
    return found | {DIFFERENCES: differences(ours, found), "people": fair.faces["person"].nunique()}


def untaught(evaluation: EvaluationContext) -> EvaluationContext:
    """The same without the people whom the version in production learned from, as far as the input LEARNED_FROM tells.

    Raises CannotDo where too few are left.
    """
    if LEARNED_FROM not in evaluation.inputs:
        return evaluation
    fair = evaluation.without(now_tested(evaluation.inputs[LEARNED_FROM], evaluation.inputs["aligned_faces"]))
    left, of = (one.faces["person"].nunique() for one in (fair, evaluation))
    if left < min(FEWEST, of):
        raise schema_mapping.CannotDo(f"it learned from {of - left} of the {of} people to test on")
    return fair


def _scored(evaluation: EvaluationContext, card: Mapping[str, Any], sections: Sequence[Section]) -> dict[str, Any]:
    """Each section's scores; without values, and in the shape that `card` has, where it fails."""
    found: dict[str, Any] = {}
    for section in sections:
        try:
            with memory_released_after():
                found[section.__name__] = section(evaluation, Unseen(Path()))
        except Exception as error:
            found[section.__name__] = _without(card[section.__name__], error)
    return found


def with_version(evaluation: EvaluationContext, folder: Path) -> EvaluationContext:
    """The same people with the networks of a packed version."""
    networks = schema_mapping.networks(folder, evaluation.schema, evaluation.context.device)
    return evaluation.with_networks(
        networks, {**evaluation.inputs, "identity_model": folder / "model" / "identity_model"}
    )


def _without(section: Mapping[str, Any], error: Exception) -> dict[str, Any]:
    """A section's shape without a value."""
    said = str(error) if isinstance(error, schema_mapping.CannotDo) else f"{type(error).__name__}: {error}"
    reason = f"the version in production cannot be scored: {' '.join(said.split())[:300]}"
    return {
        name: nothing(reason) if "value" in entry else _without(entry, error)
        for name, entry in section.items()
        if isinstance(entry, Mapping)
    }


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted path, ours less theirs of every score that both have, resampling the same people in both."""
    known = {path: entry for path, entry in scores(theirs) if entry["value"] is not None}
    return {
        path: difference(entry, known[path])
        for path, entry in scores(ours)
        if path in known and entry["value"] is not None
    }


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """{"value", "ci", "n"} of one score less another of the same people; no interval where they are not the same.

    The difference of two that answer alike for all of FEWEST people or more is 0, and so is its interval.
    """
    a, b = ours.get("resampled"), theirs.get("resampled")
    value, ci = ours["value"] - theirs["value"], None
    if a is not None and b is not None and ours["n"] == theirs["n"] and a.people == b.people:
        apart = a.values - b.values
        alike = a.people >= FEWEST and not apart.any()
        ci = [0.0, 0.0] if alike else interval(apart, a.people)
    apart = score(value, n=ours["n"], ci=ci)
    return {"value": apart["value"], "ci": apart["ci"], "n": apart["n"]}


def written(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card without the resamples, as JSON holds it."""
    return {
        name: written(entry) if isinstance(entry, Mapping) else entry
        for name, entry in card.items()
        if name != "resampled"
    }
