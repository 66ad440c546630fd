"""Verification: whether two photos show one person, told from the parameter vectors alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from stages.data import tables
from stages.evaluation import metrics
from stages.evaluation.context import PORTRAITS, EvaluationContext, faces_of
from stages.evaluation.face_pairs import draw_pairs, similarity
from stages.evaluation.metrics import Resamples, Score, nothing, score
from stages.evaluation.report import Report

FOLDS = 10  # LFW's
RANKS = (2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
FITTING_FOLDS = 4
MOST_DIFFERENT = 20_000  # different-person pairs: more say nothing more
NOBODY = "no validation people to fit the normalisation on"

# Accuracy on PCA-normalised parameter vectors and the recogniser's own, as method.md has them from TPAMI 2022, by the
# name of the set: iterative (ICCV 2019), one-shot (AAAI 2020), recogniser.
PUBLISHED: dict[str, tuple[float, float, float]] = {
    "LFW": (0.698, 0.940, 0.996),
    "CFP-FF": (0.706, 0.945, 0.994),
    "CFP-FP": (0.580, 0.824, 0.949),
    "AgeDB": (0.601, 0.841, 0.960),
    "CALFW": (0.655, 0.846, 0.943),
    "CPLFW": (0.604, 0.765, 0.886),
    "VGG2-FP": (0.610, 0.819, 0.937),
}


@dataclass(frozen=True)
class ProtocolPairs:
    """Pairs of photos of a protocol."""

    first: NDArray[np.int64]  # [P] row numbers; -1 where the photo is in quarantine
    second: NDArray[np.int64]
    same: NDArray[np.bool_]  # [P]
    fold: NDArray[np.int64]  # [P]
    weights: NDArray[np.float64]  # [RESAMPLES, P] how often each pair was drawn
    drawn: int  # people who were drawn; pairs, where nobody knows who is on them

    def similarity(self, vectors: NDArray) -> NDArray[np.float64]:
        """Cosines [P] of vectors [N, D]; NaN where a photo is missing."""
        missing = (self.first < 0) | (self.second < 0)
        return np.where(missing, np.nan, similarity(vectors, self.first, self.second))

    def told_right(self, vectors: NDArray) -> NDArray[np.bool_]:
        """Which pairs [P] vectors [N, D] tell right, with thresholds from the other folds."""
        return metrics.told_right(self.similarity(vectors), self.same, self.fold)

    def resampled(self, hits: NDArray[np.bool_]) -> Resamples:
        """The accuracy in each resample; thresholds stay what they were."""
        shares = []
        for kind in (self.same, ~self.same):
            weights = self.weights[:, kind]
            total = weights.sum(axis=1)
            shares.append(np.divide(weights @ hits[kind], total, out=np.full(len(total), np.nan), where=total > 0))
        return Resamples(np.mean(shares, axis=0), self.drawn)


@dataclass(frozen=True)
class Whitening:
    """PCA-normalised parameter vectors: projected on the first components of other people's, each at unit variance."""

    pca: PCA
    people: int
    of: str

    def __call__(self, vectors: NDArray) -> NDArray[np.float64]:
        return self.pca.transform(vectors)


def verification(evaluation: EvaluationContext, report: Report) -> dict[str, Any]:
    """Accuracy by LFW's protocol: ten folds without common people, thresholds from the other nine.

    The bound is what the recogniser's own embeddings reach on the same pairs; `ratio` is the accuracy over it. Raw
    vectors are taken relative to the validation people's mean, normalised ones are whitened by PCA; both come from
    validation people alone, the rank too.
    """
    people = evaluation.faces["person"].to_numpy()
    pairs = people_pairs(people)
    validation = evaluation.predict(evaluation.validation) if len(evaluation.validation) else None
    whitening = None if validation is None else fit_whitening(validation, evaluation.validation["person"], PORTRAITS)
    centre = evaluation.schema.neutral() if validation is None else validation.mean(axis=0)
    if pairs is None:
        reason = "no held-out person has two portraits"
        return {name: nothing(reason) for name in ("parameters", "parameters_pca", "ratio")} | _sets(evaluation, centre)
    found = accuracies(pairs, evaluation.x, evaluation.embeddings, centre, whitening)
    if whitening is not None:
        _by_person(report, people, whitening(evaluation.x), pairs)
    return found | {"whitening": described(whitening)} | _sets(evaluation, centre)


def accuracies(
    pairs: ProtocolPairs, x: NDArray, embeddings: NDArray, centre: NDArray, whitening: Whitening | None
) -> dict[str, Score]:
    """The scores of one set of pairs from parameter vectors [N, width] and identity embeddings [N, D]."""
    own = pairs.told_right(embeddings)
    bound = metrics.balanced(own, pairs.same)

    def accuracy(vectors: NDArray) -> tuple[Score, Score]:
        hits = pairs.told_right(vectors)
        value, resampled = metrics.balanced(hits, pairs.same), pairs.resampled(hits)
        count = len(pairs.same)
        return (
            score(value, baseline=0.5, bound=bound, resampled=resampled, n=count),
            score(
                value / bound, baseline=0.5 / bound, bound=1.0, n=count,
                resampled=Resamples(resampled.values / pairs.resampled(own).values, pairs.drawn),
            ),
        )  # fmt: skip

    raw, raw_ratio = accuracy(x - centre)
    recogniser = score(bound, baseline=0.5, bound=1.0, resampled=pairs.resampled(own), n=len(own))
    found = {"parameters": raw, "ratio_raw": raw_ratio, "recogniser": recogniser}
    if whitening is None:
        return found | {"parameters_pca": nothing(NOBODY), "ratio": nothing(NOBODY)}
    normalised, ratio = accuracy(whitening(x))
    return found | {"parameters_pca": normalised, "ratio": ratio}


def fit_whitening(x: NDArray, people: pd.Series | NDArray, of: str) -> Whitening | None:
    """PCA of validation people's parameter vectors [N, width].

    The rank is the one that tells apart best (AUC) validation people whom the components were not fitted on; None when
    there are too few people.
    """
    names = np.asarray(people)
    folds = min(FITTING_FOLDS, len(np.unique(names)) // 2)
    if folds < 2:
        return None
    tried: dict[int, list[float]] = {}
    for fit, held in GroupKFold(folds).split(x, groups=names):
        pairs = draw_pairs(names[held], MOST_DIFFERENT, seed=1)
        if pairs.one_sided:
            continue
        pca = PCA(whiten=True, svd_solver="full").fit(x[fit].astype(np.float64))
        projected = pca.transform(x[held])
        for rank in _ranks(pca):
            cosines = similarity(projected[:, :rank], pairs.first, pairs.second)
            tried.setdefault(rank, []).append(float(roc_auc_score(pairs.same, cosines)))
    if not tried:
        return None
    # A rank that was too high for one fold is not compared.
    complete = {rank: np.mean(aucs) for rank, aucs in tried.items() if len(aucs) == max(map(len, tried.values()))}
    rank = max(complete, key=lambda rank: complete[rank])
    fitted = PCA(n_components=rank, whiten=True, svd_solver="full").fit(x.astype(np.float64))
    return Whitening(fitted, len(np.unique(names)), of)


def _ranks(pca: PCA) -> list[int]:
    """Ranks whose components carry more than rounding."""
    useful = int((pca.explained_variance_ > 1e-9 * max(pca.explained_variance_[0], 1e-12)).sum())
    return [*(rank for rank in RANKS if rank < useful), max(useful, 1)]


def people_pairs(people: NDArray) -> ProtocolPairs | None:
    """Pairs inside each of ten folds of people; None where nobody has two photos or there is one person.

    Same and different pairs weigh the same (LFW takes as many of both; more different ones say more).
    """
    names, member = np.unique(people, return_inverse=True)
    folds = max(min(FOLDS, len(names) // 2), 1)
    fold_of = np.random.default_rng(0).permutation(np.arange(len(names)) % folds)
    pairs = draw_pairs(people, MOST_DIFFERENT, seed=1, fold=fold_of[member])
    if pairs.one_sided:
        return None
    first, second, same = pairs
    drawn = metrics.draws(len(names))
    # Two draws of one person are not compared with each other as if they were two people.
    weights = np.where(same, drawn[:, member[first]], drawn[:, member[first]] * drawn[:, member[second]])
    return ProtocolPairs(first, second, same, fold_of[member[first]], weights, len(names))


def described(whitening: Whitening | None) -> dict[str, Any] | None:
    """What the scorecard says of the normalisation."""
    if whitening is None:
        return None
    return {"rank": int(whitening.pca.n_components_), "people": whitening.people, "of": whitening.of}


def _by_person(report: Report, people: NDArray, vectors: NDArray, pairs: ProtocolPairs) -> None:
    """For the groups: each person's share of pairs told right, same and different halves summed apart."""
    hits = pairs.told_right(vectors).astype(np.float64)
    columns = np.stack([hits * pairs.same, pairs.same, hits * ~pairs.same, ~pairs.same], axis=1).astype(np.float64)
    both = np.concatenate([people[pairs.first], people[pairs.second]])

    def value(totals: NDArray) -> NDArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (totals[..., 0] / totals[..., 1] + totals[..., 2] / totals[..., 3]) / 2

    report.by_sums("verification_pca", np.concatenate([columns, columns]), both, value)


def _sets(evaluation: EvaluationContext, centre: NDArray) -> dict[str, Any]:
    """The same for every set of real photos with official pairs, beside what the papers reach on it."""
    path = evaluation.inputs["aligned_faces"] / "verification_pairs.parquet"
    if not path.is_file():
        return {"sets": {}}
    table = tables.read(path)
    found: dict[str, Any] = {}
    real = evaluation.validation_photos
    x = evaluation.predict(real) if real["person"].nunique() >= 2 * FITTING_FOLDS else None
    whitening = None if x is None else fit_whitening(x, real["person"], "real photos")
    if x is None and len(evaluation.validation):
        x = evaluation.predict(evaluation.validation)
        whitening = fit_whitening(x, evaluation.validation["person"], PORTRAITS)
    middle = centre if x is None else x.mean(axis=0)
    for source, rows in table.groupby("source", sort=True):
        found[str(source)] = _set(evaluation, str(source), rows, middle, whitening)
    return {"sets": found}


def _set(
    evaluation: EvaluationContext, source: str, rows: pd.DataFrame, centre: NDArray, whitening: Whitening | None
) -> dict[str, Any]:
    ids = sorted({*rows["first"], *rows["second"]})
    photos = faces_of(evaluation.inputs["aligned_faces"] / "faces.parquet", ids)
    pairs = official_pairs(rows, photos["id"].to_numpy())
    missing = int(((pairs.first < 0) | (pairs.second < 0)).sum())
    if missing == len(rows):
        reason = f"none of {source}'s photos is usable"
        return {name: nothing(reason, len(rows)) for name in ("parameters", "parameters_pca", "ratio")}
    scores = accuracies(pairs, evaluation.predict(photos), evaluation.embed(photos), centre, whitening)
    return {**scores, "whitening": described(whitening), "missing_pairs": missing, "published": published(source)}


def official_pairs(rows: pd.DataFrame, ids: NDArray) -> ProtocolPairs:
    """A set's own pairs and folds (columns first, second, same, fold) among the photos `ids` [N].

    Pairs are resampled, for who is on the photos is known of some sets alone.
    """
    at = {name: number for number, name in enumerate(ids)}
    first, second = (np.array([at.get(name, -1) for name in rows[side]], np.int64) for side in ("first", "second"))
    same = rows["same"].to_numpy(bool)
    return ProtocolPairs(first, second, same, rows["fold"].to_numpy(np.int64), metrics.draws(len(rows)), len(rows))


def published(source: str) -> dict[str, float] | None:
    """What the papers reach on a set of this name, whatever its case and separators; None for others."""

    def plain(name: str) -> str:
        return "".join(letter for letter in name.lower() if letter.isalnum()).removesuffix("30")

    for name, (iterative, one_shot, recogniser) in PUBLISHED.items():
        if plain(name) == plain(source):
            return {
                "iterative": iterative, "one_shot": one_shot, "recogniser": recogniser,
                "ratio": round(one_shot / recogniser, 3),
            }  # fmt: skip
    return None
