"""How photo-like the portraits are to a recogniser that never saw one: the original SFace on portraits of random people
beside the same on real photos.

Verification tells whether portraits are about as hard as photos, and by what; the gap tells how far apart the two
domains lie in the embedding.
"""

import json
from collections.abc import Callable, Mapping
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

from engine.camera import Nuisance
from models.identity import IdentityModel
from models.images import decode, grid, resize
from stages import aligned_faces, metrics, portraits, tables
from stages.context import Context
from stages.metrics import Score, score
from stages.pictures import write_picture

INPUTS = ("embedded", "photos", "character")
FACE_SIZE = 256
SHEET_PICTURES, SHEET_COLUMNS, SHEET_SIZE = 96, 12, 160
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


class Config(BaseModel, frozen=True, extra="forbid"):
    """How many portraits are looked at, and how different they are."""

    people: int = Field(default=100, ge=10)
    shots: int = Field(default=2, ge=2)
    size: int = Field(default=256, ge=128, description="pixels")
    seed: int = Field(default=4711, description="other people than those of a pipeline's portraits")
    nuisance: Nuisance = Nuisance()


def run(inputs: Mapping[str, Path], config: Config, out: Path, context: Context) -> dict[str, Any]:
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
    model = IdentityModel.from_onnx(inputs["embedded"] / "identity" / "sface.onnx").to(context.device).eval()
    vectors = tables.in_batches(model, tables.Pictures(faces["image"].tolist(), FACE_SIZE), context.device).numpy()
    write_picture(
        out / "portraits.png",
        grid([resize(decode(image), SHEET_SIZE) for image in shot["image"][:SHEET_PICTURES]], SHEET_COLUMNS),
    )
    report = _report(shot, faces, vectors)
    (out / "portraits.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def _report(shot: pd.DataFrame, faces: pd.DataFrame, vectors: NDArray[np.float32]) -> dict[str, Any]:
    real = (faces["source"] == "photos").to_numpy()
    found = faces["id"][~real].str.removeprefix("portraits/").tolist()
    described = shot.set_index("id").reindex(found).reset_index()
    threshold, scores = verification(described["person"].to_numpy(), vectors[~real])
    _, photos = verification(faces["person"].to_numpy()[real], vectors[real], threshold)
    aligned = shot["id"].isin(found)
    return {
        "portraits": {"aligned": score(float(aligned.mean()), n=len(shot))} | scores,
        "photos": photos | {"published_lfw": PUBLISHED},
        "bands": bands(described, vectors[~real], threshold),
        "aligned_by_yaw": {
            name: score(float(aligned[BANDS[name](shot)].mean()), n=int(BANDS[name](shot).sum()))
            for name in ("yaw below 15", "yaw 15 to 35", "yaw 35 to 60")
        },
        "gap": gap(vectors, faces["person"].to_numpy(), real),
    }


def verification(
    people: NDArray, vectors: NDArray[np.float32], threshold: float | None = None
) -> tuple[float, dict[str, Score]]:
    """The threshold with the fewest errors, and scores of telling people apart by the cosine of their embeddings.

    With a `threshold` the accuracy is that of this threshold, both kinds of pair weighing the same: for sets with too
    few pairs to choose one. All scores are null where there are no two pictures of one person.
    """
    first, second = np.triu_indices(len(people), k=1)
    similarity, same = metrics.cosine(vectors[first], vectors[second]), people[first] == people[second]
    if not same.any() or same.all():
        empty = score(None, n=0)
        return float("nan"), dict.fromkeys(("accuracy", "auc", "same", "different"), empty)

    def interval(statistic: Callable[[NDArray, NDArray[np.bool_]], float]) -> list[float]:
        # A person drawn twice would be compared with himself: resample people, keep pairs of different draws.
        names, member = np.unique(people, return_inverse=True)
        rng, values = np.random.default_rng(0), []
        for _ in range(metrics.RESAMPLES):
            times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
            weight = np.where(same, times[member[first]], times[member[first]] * times[member[second]])
            rows = np.repeat(np.arange(len(same)), weight)
            if same[rows].any() and not same[rows].all():
                values.append(statistic(similarity[rows], same[rows]))
        return [float(v) for v in np.percentile(values, [2.5, 97.5])]

    def balanced(at: float) -> Callable[[NDArray, NDArray[np.bool_]], float]:
        return lambda s, is_same: float(((s[is_same] >= at).mean() + (s[~is_same] < at).mean()) / 2)

    chosen = _balanced_threshold(similarity, same)
    accuracy = balanced(chosen if threshold is None else threshold)
    n = {"same": int(same.sum()), "different": int((~same).sum())}
    return chosen, {
        "accuracy": score(accuracy(similarity, same), ci=interval(accuracy), baseline=0.5, n=sum(n.values())),
        "auc": score(_auc(similarity, same), ci=interval(_auc), baseline=0.5, n=sum(n.values())),
        "same": score(float(similarity[same].mean()), n=n["same"]),
        "different": score(float(similarity[~same].mean()), n=n["different"]),
    }


def _auc(similarity: NDArray, same: NDArray[np.bool_]) -> float:
    return float(roc_auc_score(same, similarity))


def _balanced_threshold(similarity: NDArray, same: NDArray[np.bool_]) -> float:
    """The threshold with the highest mean of the shares of same and of different pairs told right."""
    order = np.argsort(similarity)
    weight = np.where(same[order], -1.0 / same.sum(), 1.0 / (~same).sum())
    place = int(np.argmax(np.concatenate([[0.0], np.cumsum(weight)])))
    ordered = np.concatenate([[-1.0], similarity[order], [1.0]])
    return float((ordered[place] + ordered[place + 1]) / 2)


def bands(described: pd.DataFrame, vectors: NDArray[np.float32], threshold: float) -> dict[str, dict[str, Score]]:
    """For pairs of one person in which a portrait has something: the share accepted at the threshold and the mean
    cosine."""
    people = described["person"].to_numpy()
    first, second = np.triu_indices(len(people), k=1)
    same = people[first] == people[second]
    first, second = first[same], second[same]
    similarity = metrics.cosine(vectors[first], vectors[second])
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
