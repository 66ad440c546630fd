"""Likeness: what an independent recogniser makes of a photo and of the engine's render of what was read from it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.images import decode, resize
from stages.data import tables
from stages.data.pictures import IMITATOR_MARK, marked
from stages.evaluation import metrics
from stages.evaluation.context import FACE_SIZE, EvaluationContext
from stages.evaluation.metrics import Score, mean_score, nothing
from stages.evaluation.report import Report, Tile
from stages.evaluation.verifier import IndependentVerifier

EXTREMES = 5
SHOWN = 24
TILE = 160


@dataclass(frozen=True)
class DescribedPhotos:
    """Photos and renders as the judge describes them, row by row."""

    people: NDArray
    photo: NDArray[np.float64]  # [N, 128]
    render: NDArray[np.float64]
    average: NDArray[np.float64]  # [128] the average face's render

    @property
    def similarity(self) -> NDArray[np.float64]:
        """Cosine of each photo and its render [N]."""
        return metrics.cosine(self.photo, self.render)

    @property
    def plain(self) -> NDArray[np.float64]:
        """Similarity of the photos with the average face."""
        return metrics.cosine(self.photo, np.broadcast_to(self.average, self.photo.shape))


def likeness(evaluation: EvaluationContext, report: Report) -> dict[str, Any]:
    """Similarity, and whether the judge finds the right person from the render.

    Without an engine the scores are null, and stand again as `imitator_…` for the imitator's drawings.
    """
    judge = evaluation.judge
    average = judge.describe(evaluation.average)
    found = _portraits(evaluation, judge, average, report) | _photos(evaluation, judge, average, report)
    if evaluation.engine is not None:
        return found
    by_imitator: dict[str, Any] = {f"imitator_{name}": {**entry, "by": "imitator"} for name, entry in found.items()}
    return {name: nothing(evaluation.no_engine) for name in found} | by_imitator


def _portraits(
    evaluation: EvaluationContext, judge: IndependentVerifier, average: NDArray, report: Report
) -> dict[str, Score]:
    """Each held-out person is encoded from the first photo; the gallery are their second photos, so that light and
    pose of the first cannot help. The bound renders the person's true parameters, where they are known.
    """
    first, second = first_and_second(evaluation.faces, evaluation.config.judged)
    renders = evaluation.draw(evaluation.x[first.index])
    photo = evaluation.once("judge of first portraits", lambda: judge.all_of(first["image"]))
    gallery = evaluation.once("judge of second portraits", lambda: judge.all_of(second["image"]))
    seen, truth = DescribedPhotos(first["person"].to_numpy(), photo, judge.all_of(renders), average), None
    if evaluation.portraits_are_its_own:
        x = evaluation.schema.pack(tables.stack(first["parameters"]), tables.stack(first["discrete"], np.int16))
        truth = evaluation.once("judge of true renders", lambda: judge.all_of(evaluation.draw(x)))
        for name, values in (
            ("likeness_similarity", seen.similarity),
            ("likeness_rank1", metrics.ranks(seen.render, gallery) <= 1),
            ("likeness_rank5", metrics.ranks(seen.render, gallery) <= 5),
        ):
            report.by_mean(name, np.asarray(values), seen.people)
    photos = [decode(data) for data in first["image"]]
    _show_portraits(evaluation, report, photos, renders, seen)
    bound = None if truth is None else float(metrics.cosine(seen.photo, truth).mean())
    return similarities(seen, bound) | retrieval(seen.render, gallery, seen.people, truth)


def first_and_second(faces: pd.DataFrame, most: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """First and second photo of the people who have two, row by row, of at most `most` people."""
    shots = faces.groupby("person").cumcount()
    counts = faces.groupby("person")["id"].transform("size")
    first = faces[(shots == 0) & (counts > 1)].head(most)
    second = faces[shots == 1].set_index("person").loc[first["person"]].reset_index()
    return first, second


def similarities(seen: DescribedPhotos, bound: float | None = None, prefix: str = "similarity") -> dict[str, Score]:
    """Mean similarity of photo and render, that of the average face, and their difference, photo by photo."""
    own, plain = seen.similarity, seen.plain
    baseline = float(plain.mean())
    return {
        prefix: mean_score(own, seen.people, baseline=baseline, bound=bound),
        f"{prefix}_average": mean_score(plain, seen.people),
        f"{prefix}_gain": mean_score(
            own - plain, seen.people, baseline=0.0, bound=None if bound is None else bound - baseline
        ),
    }


def retrieval(probes: NDArray, gallery: NDArray, people: NDArray, truth: NDArray | None = None) -> dict[str, Score]:
    """Rank-1 and rank-5 of probes [N, D] in a gallery [N, D] with one entry a person, and how often better than chance.

    The bound is what the renders of the true parameters reach.
    """
    place, best = metrics.ranks(probes, gallery), None if truth is None else metrics.ranks(truth, gallery)
    found = {}
    for k in (1, 5):
        chance = min(k / len(place), 1.0)
        bound = None if best is None else float((best <= k).mean())
        found[f"rank{k}"] = mean_score((place <= k).astype(np.float64), people, baseline=chance, bound=bound)
        found[f"rank{k}_times_chance"] = mean_score(
            (place <= k) / chance, people, baseline=1.0, bound=None if bound is None else bound / chance
        )
    return found


def _photos(
    evaluation: EvaluationContext, judge: IndependentVerifier, average: NDArray, report: Report
) -> dict[str, Score]:
    names = ("real_photos", "real_photos_average", "real_photos_gain")
    if not len(evaluation.photos):
        return {name: nothing("there are no real photos: put some under data/photos/<person>/") for name in names}
    photos = [decode(data) for data in evaluation.photos["image"]]
    renders = evaluation.photo_renders
    people = evaluation.photos["person"].to_numpy()
    described = evaluation.once("judge of real photos", lambda: judge.all_of(photos))
    seen = DescribedPhotos(people, described, judge.all_of(renders), average)
    report.by_mean("likeness_similarity", seen.similarity, people, photos=True)
    report.picture("real_photos", evaluation.side_by_side(photos, renders))
    tiles = _tiles(evaluation, photos, renders, seen, [f"{person}, " for person in people])
    report.show("real_photos", "Real photos", "Photo, and the engine's render of what was read from it.", tiles[:SHOWN])
    return similarities(seen, prefix="real_photos") | other_photo(seen) | same_photo(seen)


def other_photo(seen: DescribedPhotos) -> dict[str, Score]:
    """From a photo's render, is the person found among all *other* photos? People with two photos or more are looked
    for; everyone's photos are in the gallery."""
    same = seen.people[:, None] == seen.people
    others = ~np.eye(len(seen.people), dtype=bool)
    rows = np.flatnonzero((same & others).any(axis=1))
    if not len(rows) or same.all():
        reason = "nobody has two real photos" if not len(rows) else "all real photos show one person"
        return {f"real_photos_rank{k}": nothing(reason) for k in (1, 5)}
    similarity = metrics.unit(seen.render) @ metrics.unit(seen.photo).T
    place = metrics.places(similarity[rows], same[rows], others[rows])
    mates = (same & others).sum(axis=1)[rows]
    found = {}
    for k in (1, 5):
        chance = np.mean([chance_of(k, int(own), len(same) - 1) for own in mates])
        found[f"real_photos_rank{k}"] = mean_score(
            (place <= k).astype(np.float64), seen.people[rows], baseline=float(chance), bound=1.0
        )
    return found


def chance_of(k: int, own: int, gallery: int) -> float:
    """How likely one of `own` entries is among `k` drawn at random from a gallery."""
    missed = 1.0
    for drawn in range(min(k, gallery)):
        missed *= max(gallery - own - drawn, 0) / (gallery - drawn)
    return 1.0 - missed


def same_photo(seen: DescribedPhotos) -> dict[str, Score]:
    """From a photo's render, is the *same photo* found among one photo of everybody? Easier than another photo of the
    person: light, pose and crop help."""
    people = np.unique(seen.people)
    names = [f"real_photos_same_photo_rank{k}" for k in (1, 5)]
    if len(people) < 2:
        return {name: nothing("all real photos show one person") for name in names}
    firsts = np.array([np.flatnonzero(seen.people == person)[0] for person in people])
    similarity = metrics.unit(seen.render) @ metrics.unit(seen.photo).T
    own = np.eye(len(seen.people), dtype=bool)
    shown = own.copy()
    for row, person in enumerate(seen.people):
        shown[row, firsts[people != person]] = True
    place = metrics.places(similarity, own, shown)
    return {
        name: mean_score((place <= k).astype(np.float64), seen.people, baseline=min(k / len(people), 1.0), bound=1.0)
        for name, k in zip(names, (1, 5), strict=True)
    }


def _show_portraits(
    evaluation: EvaluationContext,
    report: Report,
    photos: list[NDArray[np.uint8]],
    renders: NDArray[np.uint8],
    seen: DescribedPhotos,
) -> None:
    report.picture("portraits", evaluation.side_by_side(photos[:16], renders[:16]))
    tiles, order = _tiles(evaluation, photos, renders, seen), np.argsort(seen.similarity, kind="stable")
    worst, best = order[:EXTREMES], order[::-1][:EXTREMES]
    for key, title, note, rows in (
        ("portraits", "Portraits of held-out people", "Portrait, and the render of what was read.", range(len(tiles))),
        ("worst", "Least alike", "The portraits whose renders the judge finds least alike.", worst),
        ("best", "Most alike", "The portraits whose renders the judge finds most alike.", best),
    ):
        report.show(key, title, note, [tiles[k] for k in rows[:SHOWN]])
    extremes = np.concatenate([worst, best])
    report.picture("extremes", evaluation.side_by_side([photos[k] for k in extremes], renders[extremes]))


def _tiles(
    evaluation: EvaluationContext,
    photos: list[NDArray[np.uint8]],
    renders: NDArray[np.uint8],
    seen: DescribedPhotos,
    names: list[str] | None = None,
) -> list[Tile]:
    mark = IMITATOR_MARK if evaluation.engine is None else ""
    names = names or [""] * len(photos)
    return [
        Tile(
            (resize(photo, TILE), resize(marked(resize(render, FACE_SIZE), mark), TILE)),
            f"{name}{own:.3f} (average face {plain:.3f})",
        )
        for photo, render, own, plain, name in zip(photos, renders, seen.similarity, seen.plain, names, strict=True)
    ]
