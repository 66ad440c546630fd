"""Imitator: how close its picture is to the engine's, on unseen parameters and on those that the encoder gives."""

from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.images import decode, decode_labels, encode_png, grid, resize
from stages.data import tables
from stages.evaluation import metrics
from stages.evaluation.context import FACE_SIZE, EvaluationContext, as_bytes
from stages.evaluation.metrics import Score, mean_score, nothing
from stages.evaluation.report import Report, Tile
from stages.evaluation.schema_mapping import CannotDo

SCORES = ("l1", "psnr", "psnr_head", "ssim", "identity")
EMBEDDED = 100  # pictures of which the identity embeddings are compared
SHOWN = 12
TILE = 160
NO_LABELS = "the pairs have no label maps"


def imitator(evaluation: EvaluationContext, report: Report) -> dict[str, Any]:
    """L1, PSNR, SSIM, and the cosine of the identity embeddings of both pictures.

    At the top for parameters drawn at random that never trained; under `given` for what the encoder gives for
    held-out portraits, probabilities and all, as the loss has it; under `given_chosen` for the same once every group
    has one choice, as the engine has it. The baseline is the average face's picture; without an engine, the mean of
    the engine's pictures.

    An older version's imitator knows nothing of parameters that have come since: it has the scores under `given` alone.
    """
    size = evaluation.imitator.size
    truth = _unit([resize(decode(data), size) for data in evaluation.pairs["image"]])
    plain = truth.mean(axis=0) if evaluation.engine is None else _unit([resize(evaluation.average, size)])[0]
    try:
        scores = _at_random(evaluation, report, truth, plain)
    except CannotDo as error:
        scores = dict.fromkeys(SCORES, nothing(f"this version cannot be scored: {error}"))
    return scores | _given(evaluation, report, plain)


def _at_random(evaluation: EvaluationContext, report: Report, truth: NDArray, plain: NDArray) -> dict[str, Score]:
    """At the parameters of the unseen renders, `truth`."""
    size = len(plain)
    x = evaluation.schema.pack(
        tables.stack(evaluation.pairs["parameters"]), tables.stack(evaluation.pairs["discrete"], np.int16)
    )
    drawn = evaluation.imitated(x)
    head = None
    if evaluation.pairs["labels"].notna().all():
        head = np.stack([_shrink_labels(decode_labels(data), size) > 0 for data in evaluation.pairs["labels"]])
    scores, _ = _scores(evaluation, drawn, truth, plain, head, np.arange(len(x)))
    report.picture("imitator", _alternating(truth, drawn))
    _show(report, "imitator", "Imitator at parameters drawn at random", truth, drawn)
    return scores


def _given(evaluation: EvaluationContext, report: Report, plain: NDArray) -> dict[str, Any]:
    """The same at the encoder's own answers for one portrait of each held-out person."""
    if evaluation.engine is None:
        return {"given": nothing(evaluation.no_engine), "given_chosen": nothing(evaluation.no_engine)}
    first = evaluation.faces.drop_duplicates("person").head(evaluation.config.judged)
    people, x = first["person"].to_numpy(), evaluation.x[first.index]
    sliders, choices = evaluation.schema.choose(x)
    size = len(plain)
    image, labels = evaluation.drawn(sliders, choices, size)
    truth, head = image.astype(np.float32) / 255, None if labels is None else labels > 0
    drawn = evaluation.imitated(x)
    soft, values = _scores(evaluation, drawn, truth, plain, head, people)
    hard, _ = _scores(
        evaluation, evaluation.imitated(evaluation.schema.pack(sliders, choices)), truth, plain, head, people
    )
    if evaluation.portraits_are_its_own:
        report.by_mean("imitator_given_l1", values["l1"], people)
    report.picture("imitator_given", _alternating(truth, drawn))
    _show(report, "imitator_given", "Imitator at what the encoder gives", truth, drawn)
    return {"given": soft, "given_chosen": hard}


def _scores(
    evaluation: EvaluationContext,
    drawn: NDArray,
    truth: NDArray,
    plain: NDArray,
    head: NDArray[np.bool_] | None,
    people: NDArray,
) -> tuple[dict[str, Score], dict[str, NDArray[np.float64]]]:
    """Scores, and the values behind them, of pictures [N, h, h, 3] in [0, 1] beside the true ones."""
    average = np.broadcast_to(plain, drawn.shape)
    ours, theirs = closeness(drawn, truth, head), closeness(average, truth, head)
    embedded = [evaluation.embed(_table(images)) for images in (drawn[:EMBEDDED], truth[:EMBEDDED], plain[None])]
    ours["identity"] = metrics.cosine(embedded[0], embedded[1]).astype(np.float64)
    theirs["identity"] = metrics.cosine(np.broadcast_to(embedded[2], embedded[1].shape), embedded[1])
    scores = {
        name: mean_score(values, people[: len(values)], baseline=float(theirs[name].mean()))
        for name, values in ours.items()
    }
    return (scores if head is not None else scores | {"psnr_head": nothing(NO_LABELS)}), ours


def closeness(images: NDArray, truth: NDArray, head: NDArray[np.bool_] | None) -> dict[str, NDArray[np.float64]]:
    """Of pictures [N, h, h, 3] in [0, 1] to the true ones; inside the head [N, h, h] where its pixels are known."""
    from skimage.metrics import structural_similarity

    squared = np.stack([((a - b) ** 2).mean(axis=2) for a, b in zip(images, truth, strict=True)])
    inside = {} if head is None else {"psnr_head": (squared * head).sum(axis=(1, 2)) / head.sum(axis=(1, 2))}
    ssim = [structural_similarity(a, b, channel_axis=2, data_range=1.0) for a, b in zip(images, truth, strict=True)]
    noise = {"psnr": squared.mean(axis=(1, 2)), **inside}
    return {
        "l1": np.array([np.abs(a - b).mean() for a, b in zip(images, truth, strict=True)], np.float64),
        **{name: -10 * np.log10(np.maximum(values, 1e-10).astype(np.float64)) for name, values in noise.items()},
        "ssim": np.array(ssim),
    }


def _table(images: NDArray) -> pd.DataFrame:
    return pd.DataFrame({"image": [encode_png(as_bytes(image)) for image in images]})


def _unit(pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    return np.stack(pictures).astype(np.float32) / np.float32(255)


def _shrink_labels(labels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def _alternating(truth: NDArray, drawn: NDArray) -> NDArray[np.uint8]:
    tiles = zip(truth[:16], drawn[:16], strict=True)
    return grid([resize(as_bytes(image), FACE_SIZE) for pair in tiles for image in pair], columns=8)


def _show(report: Report, key: str, title: str, truth: NDArray, drawn: NDArray) -> None:
    error = np.abs(truth - drawn).mean(axis=(1, 2, 3))
    tiles = [
        Tile((resize(as_bytes(engine), TILE), resize(as_bytes(ours), TILE)), f"L1 {off:.3f}")
        for engine, ours, off in zip(truth[:SHOWN], drawn[:SHOWN], error, strict=False)
    ]
    report.show(key, title, "The engine's render, and the imitator's drawing of the same parameters.", tiles)
