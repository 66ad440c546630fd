"""Appearance: whether a character has what people see in the photo: sex, age, skin, hair, beard, glasses.

The truth is what people said of the photo, in `labels.csv` of its photo set; several labellings of a photo are rows of
their own. An answer is right when it is that of any labelling. A question of yes or no counts only where all labellings
agree, and one of hair only where enough of it can be seen and none called it unclear. The bound is how well one
labelling does by another; the baseline is the one answer that suits these photos best, given to all.

Sex and age are also told by networks that learned from photos of real people, of the photo and of the render: that
needs no labels.

The benchmark on real people (benchmarks/likeness.py) scores by the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from engine.schema import Schema
from models.attributes import Attributes
from models.images import decode
from stages.data.appearance_labels import AGES, ANNOTATOR, TONES, UNCLEAR, VALUES
from stages.evaluation.context import EvaluationContext
from stages.evaluation.groups import AGE_YEARS
from stages.evaluation.metrics import Score, mean_score, nothing
from stages.evaluation.report import Report

UNTOLD = frozenset({UNCLEAR, "other", "covered"})
"""What a label says where nobody can tell."""
HAIR = ("hair_style", "hair_length", "hair_colour")
LENGTH_OF_STYLE = {
    "none": "bald",
    **dict.fromkeys(("short01", "short02", "short03", "short04"), "short"),
    # An afro is labelled short, medium and long equally often.
    **dict.fromkeys(("bob01", "bob02", "afro01"), "medium"),
    **dict.fromkeys(("long01", "braid01"), "long"),
    "ponytail01": "tied",
}
SHORT = frozenset({"bald", "short"})
KIND_OF_BEARD = {
    **dict.fromkeys(("light_stubble", "stubble"), "stubble"),
    **dict.fromkeys(("moustache", "goatee", "circle", "chin_strap", "mutton_chops"), "partial"),
    **dict.fromkeys(("short_full", "full"), "full"),
}
ATTRIBUTES = "attributes"
"""The networks' folder in data/embedded."""
BY_NETWORKS = ("network_sex", "network_age_error")
AGE_ENDS = (18, 30, 45, 60)
"""The age in years at which each band of AGES but the first begins."""

Said = Mapping[str, Sequence[tuple[str, ...]]]
"""By column, for each photo what the labellings say, in the order of their annotators; () where none says anything."""
Points = Callable[[str, tuple[str, ...]], float | None]
"""What an answer is worth beside what was said; None where the photo does not count."""


def is_said(answer: str, said: tuple[str, ...]) -> float | None:
    """1 where any labelling says the same."""
    return None if not said or UNTOLD & {*said} else float(answer in said)


def steps(order: tuple[str, ...]) -> Points:
    """How many steps the answer is from the nearest labelling."""

    def points(answer: str, said: tuple[str, ...]) -> float | None:
        return float(min(abs(order.index(answer) - order.index(one)) for one in said)) if said else None

    return points


def within_one(order: tuple[str, ...]) -> Points:
    """1 where the answer is at most one step from a labelling."""
    counted = steps(order)

    def points(answer: str, said: tuple[str, ...]) -> float | None:
        off = counted(answer, said)
        return None if off is None else float(off <= 1)

    return points


def agrees(holds: Callable[[str], bool], only: bool | None = None) -> Points:
    """1 where a question of yes or no is answered as all labellings answer it; `only`: where that is so."""

    def points(answer: str, said: tuple[str, ...]) -> float | None:
        truth = {holds(one) for one in said}
        if UNTOLD & {*said} or len(truth) != 1 or (only is not None and only not in truth):
            return None
        return float(holds(answer) in truth)

    return points


def is_kind_of_beard(answer: str, said: tuple[str, ...]) -> float | None:
    """1 where a beard that all labellings see is of a kind that any of them says."""
    if not said or not KIND_OF_BEARD.keys() >= {*said}:
        return None
    return float(KIND_OF_BEARD.get(answer) in {KIND_OF_BEARD[one] for one in said})


@dataclass(frozen=True)
class Question:
    """One score."""

    name: str
    column: str
    points: Points
    lower_is_better: bool = False
    baseline_of: str = ""
    """The question that decides which one answer suits best; empty: this one."""


def _is_there(value: str) -> bool:
    return value != "none"


QUESTIONS = (
    Question("sex", "sex", agrees(lambda value: value == "m")),
    Question("age_within_one", "age_band", within_one(AGES)),
    Question("skin_within_one", "skin_tone", within_one(TONES)),
    Question("skin_error", "skin_tone", steps(TONES), lower_is_better=True),
    Question("hair_style", "hair_style", is_said),
    Question("hair_length", "hair_length", is_said),
    Question("hair_short_or_long", "hair_length", agrees(lambda value: value in SHORT)),
    Question("hair_colour", "hair_colour", is_said),
    Question("beard", "beard", agrees(_is_there)),
    Question("beard_found", "beard", agrees(_is_there, only=True), baseline_of="beard"),
    Question("beard_kind", "beard", is_kind_of_beard),
    Question("glasses", "glasses", agrees(_is_there)),
)


def appearance(evaluation: EvaluationContext, report: Report) -> dict[str, Any]:
    """What people, and networks, say of the real photos beside what was read of them, and on how many photos."""
    rows, said = labelled_rows(evaluation.photos, evaluation.labels)
    photos = evaluation.photos.iloc[rows]
    answers = answers_of(evaluation.schema, evaluation.photo_x[rows])
    found: dict[str, Any] = score_all(answers, said, photos["person"].to_numpy(), report) | _by_networks(evaluation)
    return found | {"labelled": {"photos": len(rows), "lacking": lacking(said), "note": note(said)}}


def _by_networks(evaluation: EvaluationContext) -> dict[str, Score]:
    if reason := _no_networks(evaluation):
        return {name: nothing(reason) for name in BY_NETWORKS}
    networks = evaluation.once("attributes", lambda: SexAndAge(evaluation.inputs["embedded"]))
    photos = evaluation.once("attributes of real photos", lambda: networks.of(map(decode, evaluation.photos["image"])))
    average = evaluation.once("attributes of the average face", lambda: networks.of([evaluation.average]))
    people = evaluation.photos["person"].to_numpy()
    return score_by_networks(photos, networks.of(evaluation.photo_renders), average, people)


def _no_networks(evaluation: EvaluationContext) -> str:
    """Why the networks cannot compare photos and renders; "" where they can."""
    if evaluation.engine is None:
        return evaluation.no_engine
    if not len(evaluation.photos):
        return "there are no real photos: put some under data/photos/<person>/"
    there = (evaluation.inputs["embedded"] / ATTRIBUTES).is_dir()
    return "" if there else "data/embedded is of before there were networks of sex and age: run `likeness inputs`"


class SexAndAge:
    """dlib's networks of sex and age. `embedded` is `data/embedded`."""

    def __init__(self, embedded: Path) -> None:
        self.networks = Attributes.from_onnx(*(embedded / ATTRIBUTES / f"{name}-v1.onnx" for name in ("gender", "age")))

    @torch.no_grad()
    def of(self, faces: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Log-odds of male, and age in years, [N, 2] of faces [H, H, 3] in the reference frame."""
        each = (torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255 for face in faces)
        return np.concatenate([self.networks(face).double().numpy() for face in each])


def score_by_networks(photos: NDArray, renders: NDArray, average: NDArray, people: NDArray) -> dict[str, Score]:
    """Whether the networks see the same sex in photo and render, and how many years apart they see them.

    [N, 2] of SexAndAge for photos and renders of these people [N]; the baseline is the average face's render, [1, 2].
    """
    same, plain = ((photos[:, 0] > 0) == (other[:, 0] > 0) for other in (renders, average))
    years, plain_years = (np.abs(photos[:, 1] - other[:, 1]) for other in (renders, average))
    scores = (
        mean_score(same.astype(np.float64), people, baseline=float(plain.mean()), bound=1.0),
        mean_score(years, people, baseline=float(plain_years.mean()), bound=0.0),
    )
    return dict(zip(BY_NETWORKS, scores, strict=True))


def labelled_rows(photos: pd.DataFrame, labels: pd.DataFrame) -> tuple[NDArray[np.int64], Said]:
    """Which rows of `photos` somebody labelled, and what was said of them."""
    rows = np.flatnonzero(photos["id"].isin(labels["id"]).to_numpy())
    by_photo = dict(iter(labels.sort_values(ANNOTATOR, kind="stable").groupby("id")))
    each = [by_photo[name] for name in photos["id"].iloc[rows]]
    said = {
        column: [tuple(table[column].dropna()) if column in table else () for table in each] for column in VALUES
    }  # fmt: skip
    hidden = ["0" in values for values in said["hair_visible"]]
    for column in HAIR:
        said[column] = [() if out else values for values, out in zip(said[column], hidden, strict=True)]
    return rows, said


def answers_of(schema: Schema, x: NDArray[np.float32]) -> dict[str, list[str] | str]:
    """Parameters [N, width] in the words of the labels, by column; a text where the character has no such choice.

    Sex is its slider's nearer end. Age is the slider's in years: 25 at 0, 90 at 1.
    """
    sliders, choices = schema.choose(x)
    found: dict[str, list[str] | str] = {}
    for column, slider, words in (("sex", "sex", _sexes), ("age_band", "age", _bands)):
        known = slider in schema.slider_index
        found[column] = words(sliders[:, schema.slider_index[slider]]) if known else f"no slider `{slider}`"
    for column, group in (("skin_tone", "skin"), ("hair_style", "hair"), *((c, c) for c in ("hair_colour", "beard"))):
        found[column] = _choices(schema, choices, group, column)
    styles = found["hair_style"]
    found["hair_length"] = styles if isinstance(styles, str) else [LENGTH_OF_STYLE[style] for style in styles]
    found["glasses"] = _worn(schema, choices)
    return found


def _sexes(values: NDArray) -> list[str]:
    return ["m" if value >= 0.5 else "f" for value in values]


def _bands(values: NDArray) -> list[str]:
    low, high = AGE_YEARS
    return [AGES[number] for number in np.digitize(low + (high - low) * values, AGE_ENDS)]


def _choices(schema: Schema, choices: NDArray, group: str, column: str) -> list[str] | str:
    if group not in schema.group_index:
        return f"no group `{group}`"
    names = schema.group(group).choices
    # Labels know eleven styles; a schema says of its others which of these they are like.
    like: Mapping[str, str] = getattr(schema.group(group), "like", {})
    words = [like.get(name, name) for name in names]
    if strange := [name for name in words if name not in VALUES[column]]:
        return f"its `{group}` has choices that labels do not know: {', '.join(strange)}"
    return [words[number] for number in choices[:, schema.group_index[group]]]


def _worn(schema: Schema, choices: NDArray) -> list[str] | str:
    """Whether glasses are worn; the first choice of the group is to wear none."""
    if "glasses" not in schema.group_index:
        return "no group `glasses`"
    return ["clear" if number else "none" for number in choices[:, schema.group_index["glasses"]]]


def score_all(
    answers: Mapping[str, list[str] | str], said: Said, people: NDArray, report: Report | None = None
) -> dict[str, Score]:
    """Every question's score over the photos of these people [N]; the report gets what groups are made from."""
    return {question.name: _score(question, answers[question.column], said, people, report) for question in QUESTIONS}


def _score(question: Question, answers: list[str] | str, said: Said, people: NDArray, report: Report | None) -> Score:
    labels = said[question.column]
    if not any(labels):
        return nothing(f"no photo has a label `{question.column}` (docs/real-data-sets.md)")
    if isinstance(answers, str):
        return nothing(f"the character has no such choice: {answers}")
    points = _all_points(question.points, answers, labels)
    counted = np.isfinite(points)
    if not counted.any():
        return nothing(f"no photo's label `{question.column}` answers this")
    if report is not None:
        report.by_mean(f"appearance_{question.name}", points[counted], people[counted], photos=True)
    constant = _all_points(question.points, [commonest(question, labels)] * len(labels), labels)
    return mean_score(
        points[counted], people[counted], baseline=float(constant[counted].mean()), bound=agreement(question, labels)
    )


def _all_points(points: Points, answers: Sequence[str], labels: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
    """[N], NaN where a photo does not count."""
    each = (points(answer, said) for answer, said in zip(answers, labels, strict=True))
    return np.array([np.nan if worth is None else worth for worth in each])


def commonest(question: Question, labels: Sequence[tuple[str, ...]]) -> str:
    """The one answer that suits the photos best."""
    decides = next(each for each in QUESTIONS if each.name == (question.baseline_of or question.name))
    sign = -1 if decides.lower_is_better else 1
    constants = [value for value in VALUES[decides.column] if value not in UNTOLD]
    return max(
        constants, key=lambda value: sign * np.nansum(_all_points(decides.points, [value] * len(labels), labels))
    )


def agreement(question: Question, labels: Sequence[tuple[str, ...]]) -> float | None:
    """What the first two labellings score by each other; None where no photo has two."""
    pairs = [pair for said in labels if len(pair := said[:2]) == 2 and not UNTOLD & {*pair}]
    each = [question.points(one, (other,)) for a, b in pairs for one, other in ((a, b), (b, a))]
    counted = [worth for worth in each if worth is not None]
    return float(np.mean(counted)) if counted else None


def lacking(said: Said) -> dict[str, list[str]]:
    """What no label of these photos says, by column: of such people the scores tell nothing."""
    asked = ("sex", "age_band", "skin_mst", "skin_tone", "glasses")
    missing = {c: [v for v in VALUES[c] if not any(v in each for each in said[c])] for c in asked if any(said[c])}
    return {column: values for column, values in missing.items() if values}


def note(said: Said) -> str:
    """The same for people."""
    parts = [f"{column.replace('_', ' ')} {' or '.join(values)}" for column, values in lacking(said).items()]
    return f"Nobody in these photos is labelled {'; '.join(parts)}." if parts else ""
