"""How photo-like the portraits are to a recogniser that never saw one: the original SFace on portraits of random people
beside the same on real photos.

Verification tells whether portraits are about as hard as photos, and by what; the gap tells how far apart the two
domains lie in the embedding.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from engine.portrait_scenes import DomainRandomization
from models.identity import IdentityModel
from models.images import decode
from stages import aligned_faces, portraits
from stages.context import Context
from stages.data import tables
from stages.data.dataset import ImageDataset, in_batches
from stages.data.pictures import write_sheet
from stages.evaluation import face_pairs, metrics
from stages.evaluation.metrics import Score, interval, score
from stages.identity_model import WEIGHTS

INPUTS = ("embedded", "photos", "character")
FACE_SIZE = 256
SHEET_PICTURES, SHEET_COLUMNS, SHEET_SIZE = 96, 12, 160
MOST_DIFFERENT = 100_000  # different-person pairs: more say nothing more
PUBLISHED = 0.994  # SFace on LFW, as OpenCV Zoo gives it

Bands = dict[str, Callable[[pd.DataFrame], pd.Series]]
# What a portrait has, by its row; a pair counts where one of its two portraits has it.
BANDS: Bands = {
    "yaw below 15": lambda t: t["yaw"].abs() < 15,
    "yaw 15 to 35": lambda t: t["yaw"].abs().between(15, 35),
    "yaw 35 to 60": lambda t: t["yaw"].abs() > 35,
    "pitch beyond 12": lambda t: t["pitch"].abs() > 12,
    "occluded": lambda t: t["occluded"] > 0,
    "a quarter hidden": lambda t: t["occluded"] > 0.25,
    "flash": lambda t: t["light"].str.endswith("flash"),
    "low light": lambda t: t["gain"] < 1,
    "blur above 1.2": lambda t: t["blur"] > 1.2,
    "open mouth": lambda t: t["expression"].isin(["laugh", "toothy_smile", "surprise", "speech_ah", "anger"]),
    "nearer than .6 m": lambda t: t["distance"] < 0.6,
}
# Bands for which both portraits must have it.
IN_BOTH = {"yaw below 15"}


class PortraitReportConfig(BaseModel, frozen=True, extra="forbid"):
    """How many portraits are looked at, and how different they are."""

    people: int = Field(default=100, ge=10)
    shots: int = Field(default=2, ge=2)
    size: int = Field(default=256, ge=128, description="pixels")
    seed: int = Field(default=4711, description="other people than those of a pipeline's portraits")
    nuisance: DomainRandomization = DomainRandomization()


def run(inputs: Mapping[str, Path], config: PortraitReportConfig, out: Path, context: Context) -> dict[str, Any]:
    """Write `portraits.png` and `portraits.json`; returns what is in the latter."""
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        made, aligned = Path(folder) / "portraits", Path(folder) / "aligned"
        made.mkdir()
        aligned.mkdir()
        asked = portraits.Config(**config.model_dump())
        portraits.run(inputs, asked, made, context)
        aligned_faces.run({**inputs, "portraits": made}, aligned_faces.Config(size=FACE_SIZE), aligned, context)
        shot = tables.read(made / "portraits.parquet").drop(columns=["labels", "landmarks"])
        faces = tables.read(aligned / "faces.parquet")
    model = IdentityModel.from_file("sface", inputs["embedded"] / WEIGHTS["sface"]).to(context.device).eval()
    vectors = in_batches(model, ImageDataset(faces["image"].tolist(), FACE_SIZE), context.device).numpy()
    shown = [decode(image) for image in shot["image"][:SHEET_PICTURES]]
    write_sheet(out / "portraits.png", shown, SHEET_COLUMNS, SHEET_SIZE)
    report = _report(shot, faces, vectors)
    (out / "portraits.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def _report(shot: pd.DataFrame, faces: pd.DataFrame, vectors: NDArray[np.float32]) -> dict[str, Any]:
    real = (faces["source"] == "photos").to_numpy()
    found = faces["id"][~real].str.removeprefix("portraits/").tolist()
    described = shot.set_index("id").reindex(found).reset_index()
    people = faces["person"].to_numpy()
    pairs = ScoredPairs.of(people[~real], vectors[~real])
    threshold = pairs.threshold()
    aligned = shot["id"].isin(found)
    return {
        "portraits": {"aligned": score(float(aligned.mean()), n=len(shot))} | verification(pairs, threshold),
        "photos": verification(ScoredPairs.of(people[real], vectors[real]), threshold)
        | {"published_lfw": score(PUBLISHED, n=6000)},
        "centred": centred(people[~real], vectors[~real]),
        "threshold": round(threshold, 4),
        "bands": bands(described, vectors[~real], threshold),
        "aligned_by_yaw": {
            name: score(float(aligned[BANDS[name](shot)].mean()), n=int(BANDS[name](shot).sum()))
            for name in ("yaw below 15", "yaw 15 to 35", "yaw 35 to 60")
        },
        "gap": gap(vectors, people, real),
    }


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of pictures in order of their similarity, so that resampling people needs only weights."""

    similarity: NDArray[np.float32]  # [P] ascending
    same: NDArray[np.bool_]  # [P] whether both show one person
    members: NDArray[np.int64]  # [P, 2] the two people's numbers

    @classmethod
    def of(cls, people: NDArray, vectors: NDArray[np.float32]) -> "ScoredPairs":
        """Pairs of pictures of these people [N] with these embeddings [N, D]."""
        first, second, same = face_pairs.draw_pairs(people, MOST_DIFFERENT, seed=0)
        similarity = face_pairs.similarity(vectors, first, second)
        order = np.argsort(similarity)
        members = np.unique(people, return_inverse=True)[1][np.stack([first, second], axis=1)[order]]
        return cls(similarity[order], same[order], members)

    def weights(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weights [P] when person k was drawn times[k] times: two draws of one person are not compared."""
        return np.where(self.same, times[self.members[:, 0]], times[self.members].prod(axis=1)).astype(np.float64)

    def accuracy(self, weights: NDArray[np.float64], threshold: float) -> float:
        """Mean of the shares of same and of different pairs told right."""
        above = self.similarity >= threshold
        told = ((self.same, above), (~self.same, ~above))
        return float(np.mean([weights[kind & said].sum() / weights[kind].sum() for kind, said in told]))

    def auc(self, weights: NDArray[np.float64]) -> float:
        """Area under the ROC curve, pairs weighed [P]."""
        same, different = weights * self.same, weights * ~self.same
        return float((same * np.cumsum(different)).sum() / (same.sum() * different.sum()))

    def threshold(self) -> float:
        """Where the accuracy is highest."""
        gained = np.where(self.same, -1.0 / self.same.sum(), 1.0 / (~self.same).sum())
        place = int(np.argmax(np.concatenate([[0.0], np.cumsum(gained)])))
        ends = np.concatenate([[-1.0], self.similarity, [1.0]])
        return float((ends[place] + ends[place + 1]) / 2)


def verification(pairs: ScoredPairs, threshold: float) -> dict[str, Score]:
    """How well a threshold on the cosine of two embeddings tells whether they show one person.

    All scores are null where there are no two pictures of one person, or of two.
    """
    same, count = pairs.same, len(pairs.same)
    if not same.any() or same.all():
        return dict.fromkeys(("accuracy", "auc", "same", "different"), score(None, n=0))
    people, rng = int(pairs.members.max()) + 1, np.random.default_rng(0)
    resampled = []
    for _ in range(metrics.RESAMPLES):
        weights = pairs.weights(np.bincount(rng.integers(people, size=people), minlength=people))
        if weights[same].any() and weights[~same].any():
            resampled.append((pairs.accuracy(weights, threshold), pairs.auc(weights)))
    accuracy, auc = np.array(resampled).T
    once = np.ones(count)
    return {
        "accuracy": score(pairs.accuracy(once, threshold), ci=interval(accuracy, people), baseline=0.5, n=count),
        "auc": score(pairs.auc(once), ci=interval(auc, people), baseline=0.5, n=count),
        "same": score(float(pairs.similarity[same].mean()), n=int(same.sum())),
        "different": score(float(pairs.similarity[~same].mean()), n=int((~same).sum())),
    }


def centred(people: NDArray, vectors: NDArray[np.float32]) -> dict[str, Score]:
    """The same verification once what all portraits have in common is taken out of their embeddings."""
    pairs = ScoredPairs.of(people, vectors - vectors.mean(axis=0))
    return verification(pairs, pairs.threshold())


def bands(described: pd.DataFrame, vectors: NDArray[np.float32], threshold: float) -> dict[str, dict[str, Score]]:
    """For pairs of one person in which a portrait has something: the share accepted at the threshold and the mean
    cosine."""
    people = described["person"].to_numpy()
    first, second = face_pairs.same_pairs(people)
    similarity = face_pairs.similarity(vectors, first, second)
    scores = {}
    for name, has in BANDS.items():
        flags = has(described).to_numpy()
        rows = flags[first] & flags[second] if name in IN_BOTH else flags[first] | flags[second]
        if rows.any():
            accepted, cosine = float((similarity[rows] >= threshold).mean()), float(similarity[rows].mean())
            scores[name] = {"accepted": score(accepted, n=int(rows.sum())), "same": score(cosine, n=int(rows.sum()))}
    return scores


def gap(vectors: NDArray[np.float32], people: NDArray, real: NDArray[np.bool_]) -> dict[str, Score]:
    """How far apart portraits and photos lie: the cosine of their mean embeddings, and how well a linear classifier
    tells them apart on people it did not see (AUC; .5 would be indistinguishable)."""
    if real.sum() < 2 or len(np.unique(people[real])) < 2:
        return {"means": score(None, n=0), "classifier": score(None, n=0)}
    cosine = float(metrics.cosine(vectors[real].mean(axis=0), vectors[~real].mean(axis=0)))
    folds = GroupKFold(min(5, len(np.unique(people[real]))))
    spread = np.zeros(len(real), dtype=int)
    for domain in (real, ~real):  # each fold gets its share of both
        member = np.unique(people[domain], return_inverse=True)[1]
        spread[domain] = member % folds.get_n_splits()
    told = cross_val_predict(
        LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000),
        vectors, real, groups=spread, cv=folds, method="decision_function",
    )  # fmt: skip
    return {
        "means": score(cosine, bound=_without_gap(vectors[~real], people[~real], people[real]), n=int(real.sum())),
        "classifier": score(float(roc_auc_score(real, told)), baseline=0.5, n=len(real)),
    }


def _without_gap(vectors: NDArray[np.float32], people: NDArray, real: NDArray) -> float:
    """What the cosine of the means would be if there were no gap: that of as many portraits, of as many people, with
    all others, averaged over random people."""
    rng, names = np.random.default_rng(0), np.unique(people)
    count, each = len(np.unique(real)), max(round(len(real) / len(np.unique(real))), 1)
    cosines = []
    for _ in range(100):
        chosen = np.isin(people, rng.permutation(names)[:count])
        few = np.flatnonzero(chosen)[: count * each]
        cosines.append(float(metrics.cosine(vectors[few].mean(axis=0), vectors[~chosen].mean(axis=0))))
    return float(np.mean(cosines))
