"""Robustness: what is lost when photos get worse, or show the face from the side."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.processes import memory_released_after
from models.images import decode, grid, resize
from models.predictor import Predictor
from models.reference import REFERENCE
from stages.data import tables
from stages.evaluation import metrics
from stages.evaluation.context import BATCH, FACE_SIZE, EvaluationContext
from stages.evaluation.degradations import DEGRADATIONS, Degradation
from stages.evaluation.metrics import Score, mean_score, nothing
from stages.evaluation.recovery import visible_sliders
from stages.evaluation.report import Report, Tile

YAW_BINS = ((0, 10), (10, 20), (20, 35), (35, 90))  # degrees
SHOWN, TILE = 3, 160
NO_FACE = "no face was found in any"
NOT_ITS_OWN = "the portraits show another character"


@dataclass(frozen=True)
class _Measure:
    """What answers are compared with."""

    evaluation: EvaluationContext
    average: NDArray[np.float64]  # the judge's descriptor of the average face
    columns: NDArray[np.int64]  # visible sliders
    variance: NDArray[np.float64]  # of these, over all held-out portraits
    centre: NDArray[np.float32]  # [width]

    def read(self, table: pd.DataFrame, x: NDArray) -> NDArray[np.float64]:
        """How much of each row's visible sliders is explained [N]; its mean is R²."""
        truth = tables.stack(table["parameters"])[:, self.columns]
        return metrics.explained(truth, self.evaluation.schema.choose(x)[0][:, self.columns], self.variance).mean(
            axis=1
        )

    def recovery(self, table: pd.DataFrame, x: NDArray, bound: float | None = None) -> Score:
        if not self.evaluation.portraits_are_its_own:
            return nothing(NOT_ITS_OWN)
        if not len(table):
            return nothing(NO_FACE)
        neutral = np.repeat(self.evaluation.schema.neutral()[None], len(table), axis=0)
        plain = float(self.read(table, neutral).mean())
        return mean_score(self.read(table, x), table["person"], baseline=plain, bound=bound)

    def agreement(self, people: Sequence[str] | NDArray, x: NDArray, reference: NDArray) -> Score:
        """Cosine of answers to the reference's, both relative to the mean answer; the baseline is another person's."""
        if len(x) < 2:
            return nothing("fewer than two answers", len(x))
        ours, theirs = x - self.centre, reference - self.centre
        stranger = float(metrics.cosine(ours, np.roll(theirs, 1, axis=0)).mean())
        return mean_score(metrics.cosine(ours, theirs).astype(np.float64), people, baseline=stranger, bound=1.0)

    def similarity(
        self, people: Sequence[str] | NDArray, photos: NDArray, x: NDArray, bound: float | None = None
    ) -> Score:
        """The judge's, of photos [N, 128] to renders of answers."""
        if self.evaluation.engine is None:
            return nothing(self.evaluation.no_engine)
        if not len(x):
            return nothing(NO_FACE)
        renders = self.evaluation.judge.all_of(self.evaluation.draw(x))
        plain = float(metrics.cosine(photos, np.broadcast_to(self.average, photos.shape)).mean())
        return mean_score(metrics.cosine(photos, renders), people, baseline=plain, bound=bound)


@dataclass(frozen=True)
class _Subjects:
    """The portraits that are spoilt: one of each of some held-out people."""

    table: pd.DataFrame
    pictures: list[NDArray[np.uint8]]
    described: NDArray[np.float64]  # by the judge, of the first of them
    x: NDArray[np.float32]  # answers to the pictures as they are
    found: NDArray[np.bool_]
    scores: dict[str, Score] = field(default_factory=dict)


def robustness(evaluation: EvaluationContext, report: Report) -> dict[str, Any]:
    """Each score at four strengths of each degradation; the bound is the same people's undegraded score.

    The whole path is run again, face detection included, on aligned pictures made worse. Recovery, agreement (with the
    undegraded answer) and similarity are of the people whose face is still found; `no_face` says how many are not.
    Yaw is that of the portraits themselves; agreement is then that with the person's most frontal other portrait.
    """
    measure = _measure(evaluation)
    with evaluation.predictor() as predictor:
        subjects = _subjects(measure, predictor)
        found: dict[str, Any] = {"undegraded": subjects.scores}
        for number, degradation in enumerate(DEGRADATIONS):
            evaluation.context.progress(f"scorecard: {degradation.name}", number, len(DEGRADATIONS))
            with memory_released_after():
                found[degradation.name] = {"unit": degradation.unit} | {
                    str(strength): _at(measure, subjects, predictor, degradation, strength)
                    for strength in degradation.strengths
                }
    _show(report, subjects)
    return found | {"yaw": {"unit": "degrees from the camera, either side"} | _by_yaw(measure)}


def _measure(evaluation: EvaluationContext) -> _Measure:
    columns, variance = np.zeros(0, np.int64), np.zeros(0)
    if evaluation.portraits_are_its_own:
        index = evaluation.schema.slider_index
        spread = tables.stack(evaluation.faces["parameters"]).var(axis=0, dtype=np.float64)
        columns = np.array(
            [index[name] for name in visible_sliders(evaluation) if spread[index[name]] > metrics.CONSTANT], np.int64
        )
        variance = spread[columns]
    average = evaluation.judge.describe(evaluation.average)
    return _Measure(evaluation, average, columns, variance, evaluation.x.mean(axis=0))


def _subjects(measure: _Measure, predictor: Predictor) -> _Subjects:
    evaluation = measure.evaluation
    table = evaluation.faces.drop_duplicates("person").head(evaluation.config.degraded).reset_index(drop=True)
    pictures = [resize(decode(data), FACE_SIZE) for data in table["image"]]
    x, found = _answers(evaluation, predictor, pictures)
    described = measure.evaluation.judge.all_of(pictures[: evaluation.config.degraded_judged])
    subjects = _Subjects(table, pictures, described, x, found)
    subjects.scores.update(_scores(measure, subjects, x, found))
    return subjects


def _answers(
    evaluation: EvaluationContext, predictor: Predictor, pictures: list[NDArray[np.uint8]]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Parameter vectors [N, width], and where a face was found [N]; elsewhere the vector is the average face's."""
    parts = (pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH))
    answers = [answer for part in parts for answer in predictor.predict_pictures(part)]
    found = np.array([not isinstance(answer, Exception) for answer in answers])
    neutral = evaluation.schema.neutral()
    return np.stack([neutral if isinstance(answer, Exception) else answer.x for answer in answers]), found


def _at(
    measure: _Measure, subjects: _Subjects, predictor: Predictor, degradation: Degradation, strength: int
) -> dict[str, Score]:
    pictures = [
        degradation.apply(picture, strength, _landmarks(row), np.random.default_rng(number))
        for number, (picture, row) in enumerate(zip(subjects.pictures, subjects.table["landmarks"], strict=True))
    ]
    return _scores(measure, subjects, *_answers(measure.evaluation, predictor, pictures))


def _landmarks(row: NDArray | None) -> NDArray[np.float32]:
    """The face's landmarks [68, 2] in its aligned picture."""
    points = REFERENCE * FACE_SIZE if row is None else np.asarray(row).reshape(-1, 2)
    return points.astype(np.float32)


def _scores(
    measure: _Measure, subjects: _Subjects, x: NDArray[np.float32], found: NDArray[np.bool_]
) -> dict[str, Score]:
    people, before = subjects.table["person"].to_numpy(), subjects.scores
    both, judged = found & subjects.found, np.flatnonzero(found[: len(subjects.described)])
    missing = mean_score((~found).astype(np.float64), people, bound=0.0)
    return {
        "recovery": measure.recovery(subjects.table[found], x[found], _value(before, "recovery")),
        "agreement": measure.agreement(people[both], x[both], subjects.x[both]),
        "similarity": measure.similarity(
            people[judged], subjects.described[judged], x[judged], _value(before, "similarity")
        ),
        "no_face": missing,
    }


def _value(scores: dict[str, Score], name: str) -> float | None:
    return scores[name]["value"] if name in scores else None


def _by_yaw(measure: _Measure) -> dict[str, Any]:
    evaluation, x = measure.evaluation, measure.evaluation.x
    yaw, people = evaluation.faces["yaw"].abs().to_numpy(), evaluation.faces["person"].to_numpy()
    frontal = most_frontal_other(people, yaw)
    scores = {}
    for low, high in YAW_BINS:
        rows = np.flatnonzero((yaw >= low) & (yaw < high))
        if not len(rows):
            scores[f"{low}-{high}"] = {"recovery": nothing("no portrait is turned so far")}
            continue
        paired, judged = rows[frontal[rows] >= 0], rows[: evaluation.config.degraded_judged]
        photos = measure.evaluation.judge.all_of(evaluation.faces["image"].iloc[judged])
        scores[f"{low}-{high}"] = {
            "recovery": measure.recovery(evaluation.faces.iloc[rows], x[rows]),
            "agreement": measure.agreement(people[paired], x[paired], x[frontal[paired]]),
            "similarity": measure.similarity(people[judged], photos, x[judged]),
        }
    return scores


def most_frontal_other(people: NDArray, yaw: NDArray) -> NDArray[np.int64]:
    """For each row the same person's other row with the least |yaw|; -1 where there is none."""
    same = (people[:, None] == people) & ~np.eye(len(people), dtype=bool)
    turned = np.where(same, np.abs(yaw)[None], np.inf)
    return np.where(same.any(axis=1), turned.argmin(axis=1), -1)


def _show(report: Report, subjects: _Subjects) -> None:
    """The first subjects at every strength, so that a reader sees what the numbers mean."""
    pictures = []
    for degradation in DEGRADATIONS:
        tiles = []
        for number in range(min(SHOWN, len(subjects.pictures))):
            landmarks = _landmarks(subjects.table["landmarks"].iloc[number])
            spoilt = [
                degradation.apply(subjects.pictures[number], strength, landmarks, np.random.default_rng(number))
                for strength in degradation.strengths
            ]
            pictures += [resize(picture, TILE) for picture in spoilt]
            tiles.append(Tile(tuple(resize(picture, TILE) for picture in spoilt), ""))
        report.show(
            f"degraded_{degradation.name}", degradation.name.capitalize(),
            f"{degradation.unit}: {', '.join(map(str, degradation.strengths))}", tiles,
        )  # fmt: skip
    report.picture("degraded", grid(pictures, columns=4 * SHOWN))
