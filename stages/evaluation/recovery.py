"""Recovery: how well known parameters are read from faces that never trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from stages.data import tables
from stages.evaluation import metrics
from stages.evaluation.context import EvaluationContext
from stages.evaluation.metrics import Resamples, Score, nothing, score
from stages.evaluation.report import Report

PHENOTYPES = ("sex", "age", "african", "asian", "european")


@dataclass(frozen=True)
class KnownFaces:
    """Faces whose parameters are known, and the encoder's answers."""

    on: str
    people: NDArray
    truth: NDArray[np.float32]  # [N, S]
    choices: NDArray[np.int16]  # [N, G]
    guess: NDArray[np.float32]
    guessed: NDArray[np.int16]


def recovery(evaluation: EvaluationContext, report: Report) -> dict[str, Any]:
    """R² of sliders and shares of right choices; `on` says on which faces.

    The baseline of sliders is the average face's; of choices, what the one answer that suits most training people
    would reach: in a group where nearly all have no beard, a high share means nothing.
    """
    schema, known = evaluation.schema, known_faces(evaluation)
    each, average = metrics.r2(known.truth, known.guess), metrics.r2(known.truth, _neutral(evaluation, known))
    variance = known.truth.var(axis=0, dtype=np.float64)
    read = metrics.explained(known.truth, known.guess, variance)
    resampled, people = metrics.resampled_means(read, known.people), metrics.count(known.people)
    visible = visible_sliders(evaluation)
    columns = {slider.name: number for number, slider in enumerate(schema.sliders)}

    def mean_of(names: Sequence[str]) -> Score:
        chosen = [columns[name] for name in names if np.isfinite(each[columns[name]])]
        if not chosen:
            return score(None, n=len(known.truth))
        return score(
            float(each[chosen].mean()), baseline=float(average[chosen].mean()),
            resampled=Resamples(resampled[:, chosen].mean(axis=1), people), n=len(known.truth),
        )  # fmt: skip

    phenotypes = [name for name in PHENOTYPES if name in columns]
    parts = sorted({slider.part for slider in schema.sliders})
    if evaluation.portraits_are_its_own:
        shown = [columns[name] for name in visible if np.isfinite(each[columns[name]])]
        if shown:
            report.by_mean("recovery_visible", read[:, shown].mean(axis=1), known.people)
        report.by_mean("choices_right", (known.guessed == known.choices).mean(axis=1), known.people)
    return {
        "on": known.on,
        "visible": mean_of(list(visible)),
        "visible_together": _together(evaluation, known, variance, [columns[name] for name in visible]),
        "phenotypes": mean_of(phenotypes) if phenotypes else nothing("the character has no phenotype sliders"),
        "all": mean_of(list(columns)),
        **choices_right(evaluation, known, _training_choices(evaluation)),
        "parts": {part: mean_of(schema.names_of(part)) for part in parts},
        "sliders": {name: mean_of([name]) for name in columns},
        "visible_sliders": {name: round(change, 5) for name, change in visible.items()},
    }


def _together(evaluation: EvaluationContext, known: KnownFaces, variance: NDArray, shown: Sequence[int]) -> Score:
    """R² of the visible sliders of people who have several portraits, read from all of them together."""
    several = evaluation.faces.groupby("person")["id"].transform("size").to_numpy() > 1
    columns = [k for k in shown if variance[k] > metrics.CONSTANT]
    if not evaluation.portraits_are_its_own or not several.any() or not columns:
        return nothing("nobody whose parameters are known has several portraits")
    guess, _ = evaluation.schema.choose(evaluation.predict_together(evaluation.faces[several]))

    def explained(answers: NDArray) -> NDArray[np.float64]:
        return metrics.explained(known.truth[several], answers, variance)[:, columns].mean(axis=1)

    plain = explained(_neutral(evaluation, known)[several])
    return metrics.mean_score(explained(guess), known.people[several], baseline=float(plain.mean()))


def known_faces(evaluation: EvaluationContext) -> KnownFaces:
    """Held-out portraits; of a character that they do not show, its own unseen renders."""
    table, x, on, who = evaluation.faces, evaluation.x, "portraits of held-out people", "person"
    if not evaluation.portraits_are_its_own:
        table, on, who = evaluation.pairs, "unseen renders", "id"
        x = evaluation.predict(table, evaluation.imitator.size)
    truth, choices = tables.stack(table["parameters"]), tables.stack(table["discrete"], np.int16)
    return KnownFaces(on, table[who].to_numpy(), truth, choices, *evaluation.schema.choose(x))


def visible_sliders(evaluation: EvaluationContext) -> dict[str, float]:
    """How much each slider, from 0 to 1, changes the frontal picture of the average face, drawn once.

    Mean absolute difference over the head's pixels (over all, where nobody says which those are) as a share of full
    scale, of the sliders that reach the configured threshold.
    """
    return evaluation.once("visible sliders", lambda: _visible_sliders(evaluation, 128))


def _visible_sliders(evaluation: EvaluationContext, size: int) -> dict[str, float]:
    schema = evaluation.schema
    sliders = np.repeat(schema.neutral_sliders()[None], 2 * schema.n_sliders, axis=0)
    for number in range(schema.n_sliders):
        sliders[2 * number, number], sliders[2 * number + 1, number] = 0.0, 1.0
    choices = np.repeat(schema.neutral_discrete()[None], len(sliders), axis=0)
    image, labels = evaluation.drawn(sliders, choices, size)
    low, high = image[0::2].astype(np.float32), image[1::2].astype(np.float32)
    head = np.ones(low.shape[:3], bool) if labels is None else (labels[0::2] > 0) | (labels[1::2] > 0)
    change = (np.abs(high - low).mean(axis=3) * head).sum(axis=(1, 2)) / head.sum(axis=(1, 2)) / 255.0
    return {s.name: float(c) for s, c in zip(schema.sliders, change, strict=True) if c >= evaluation.config.visible}


def choices_right(evaluation: EvaluationContext, known: KnownFaces, trained: NDArray[np.int16]) -> dict[str, Any]:
    """Shares of right choices for each group, their mean, and of skin tones that are at most one step off.

    `trained` [M, G]: the choices of the training people.
    """
    schema = evaluation.schema
    if not schema.groups:
        reason = "the character has no groups of choices"
        return {"groups": {}, "groups_mean": nothing(reason), "skin_within_one": nothing(reason)}
    usual = [commonest(trained[:, number], size) for number, size in enumerate(schema.group_sizes)]
    right, plain = known.guessed == known.choices, known.choices == np.array(usual)
    found: dict[str, Any] = {
        "groups": {
            group.name: _share(right[:, number], plain[:, number], known.people)
            for number, group in enumerate(schema.groups)
        },
        "groups_mean": _share(right.mean(axis=1), plain.mean(axis=1), known.people),
        "skin_within_one": nothing("the character has no group `skin`"),
    }
    if "skin" in schema.group_index:
        tone = schema.group_index["skin"]
        middle = commonest(trained[:, tone], schema.group_sizes[tone], near=1)
        near, plain_near = (
            np.abs(guess - known.choices[:, tone]) <= 1 for guess in (known.guessed[:, tone], np.int16(middle))
        )
        found["skin_within_one"] = _share(near, plain_near, known.people)
    return found


def commonest(choices: NDArray[np.int16], size: int, near: int = 0) -> int:
    """The one answer in range(size) that most choices [M] are within `near` steps of."""
    return int(np.argmax([(np.abs(choices - answer) <= near).sum() for answer in range(size)]))


def _training_choices(evaluation: EvaluationContext) -> NDArray[np.int16]:
    """The choices [M, G] of training people, without their pictures."""
    own = evaluation.portraits_are_its_own
    path = (
        evaluation.inputs["aligned_faces"] / "faces.parquet"
        if own
        else evaluation.inputs["rendered_pairs"] / "pairs.parquet"
    )
    wanted = pc.field("split") == "train"
    if own:
        wanted = wanted & (pc.field("source") == "portraits")
    column: pd.Series = ds.dataset(path).to_table(columns=["discrete"], filter=wanted)["discrete"].to_pandas()
    return tables.stack(column, np.int16) if len(column) else np.stack([evaluation.schema.neutral_discrete()])


def _neutral(evaluation: EvaluationContext, known: KnownFaces) -> NDArray[np.float32]:
    return np.broadcast_to(evaluation.schema.neutral_sliders(), known.truth.shape)


def _share(hit: NDArray, plain: NDArray, people: NDArray) -> Score:
    return metrics.mean_score(hit.astype(np.float64), people, baseline=float(plain.mean()), bound=1.0)
