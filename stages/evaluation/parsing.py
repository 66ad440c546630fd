"""Parsing: F1 of each class on held-out portraits."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.face_parts import CLASSES
from models.images import decode, decode_labels, grid, resize
from models.parsing import STRIDE
from stages.data.dataset import ImageDataset, in_batches
from stages.data.pictures import colour_labels
from stages.evaluation import metrics
from stages.evaluation.context import FACE_SIZE, EvaluationContext
from stages.evaluation.metrics import Resamples, score
from stages.evaluation.report import Report, Tile

SHOWN = 8
FITTED_AT_ONCE = 4
"""Label maps whose best logits are looked for together: more only take more memory."""
TILE = 160


def parsing(evaluation: EvaluationContext, report: Report) -> dict[str, Any]:
    """F1 of each class but the background, and their mean. The bound is what a grid of 1/8 can hold; the baseline is
    the average face's map."""
    truth = np.stack([decode_labels(data) for data in evaluation.faces["labels"]])
    size = truth.shape[1]
    guess = _classify(evaluation, evaluation.faces["image"].tolist(), size)
    fitted = evaluation.config.fitted
    bound = evaluation.once("parsing bound", lambda: _bound(truth[:: max(len(truth) // fitted, 1)][:fitted]))
    average = _average_labels(evaluation, size)
    plain = None if average is None else metrics.f1(truth, np.broadcast_to(average, truth.shape), len(CLASSES))
    matrices = np.stack([metrics.confusion(t, g, len(CLASSES)) for t, g in zip(truth, guess, strict=True)])
    people = evaluation.faces["person"].to_numpy()
    by_person = metrics.sums_by(people, matrices)
    drawn = metrics.draws(len(by_person))
    resampled = metrics.f1_of(np.tensordot(drawn, by_person, axes=1))
    if evaluation.portraits_are_its_own:
        report.by_sums("parsing_mean", matrices, people, mean_f1)
    _show(evaluation, report, truth, guess)
    each = metrics.f1_of(matrices.sum(axis=0))
    mean = score(
        float(np.nanmean(each[1:])), bound=float(np.nanmean(bound[1:])), n=len(truth),
        resampled=Resamples(np.nanmean(resampled[:, 1:], axis=1), len(by_person)),
        baseline=None if plain is None else float(np.nanmean(plain[1:])),
    )  # fmt: skip
    classes = {
        name: score(
            each[k], bound=bound[k], baseline=None if plain is None else plain[k], n=len(truth),
            resampled=Resamples(resampled[:, k], len(by_person)),
        )
        for k, name in enumerate(CLASSES)
    }  # fmt: skip
    return {"mean": mean, "classes": classes}


def _classify(evaluation: EvaluationContext, encoded: list[bytes], size: int) -> NDArray[np.uint8]:
    """The parser's class ids [N, size, size] of aligned faces."""

    def classify(faces: Tensor) -> Tensor:
        return _enlarged(evaluation.parser(faces), size).argmax(1).byte()

    return in_batches(classify, ImageDataset(encoded, size), evaluation.context.device, batch=16).numpy()


def _bound(truth: NDArray[np.uint8]) -> NDArray[np.float64]:
    """F1 of each class that the best logits on the parser's grid reach."""
    return metrics.f1(truth, fit_logits(torch.from_numpy(truth), truth.shape[1] // STRIDE), len(CLASSES))


def mean_f1(matrices: NDArray) -> NDArray[np.float64]:
    """Mean F1 over all classes but the background, of confusions [K, classes, classes]: [K]."""
    each = metrics.f1_of(matrices)[..., 1:]
    known = np.isfinite(each)
    return np.where(known, each, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)


def _average_labels(evaluation: EvaluationContext, size: int) -> NDArray[np.uint8] | None:
    """The average face's label map [size, size]; only the embedded engine has one."""
    labels = evaluation.drawn(*evaluation.schema.choose(evaluation.schema.neutral()[None]), size).labels
    return None if labels is None else labels[0]


def fit_logits(truth: Tensor, cells: int, steps: int = 60) -> NDArray[np.uint8]:
    """Class ids [N, H, W] that the best logits on a grid of cells × cells give for the truth [N, H, W] itself."""
    return np.concatenate([_fitted(part, cells, steps, truth.numel()) for part in truth.split(FITTED_AT_ONCE)])


def _fitted(truth: Tensor, cells: int, steps: int, places: int) -> NDArray[np.uint8]:
    """The same of some pictures; `places`: of all of them, over which the loss is averaged."""
    with torch.enable_grad():
        hot = torch.nn.functional.one_hot(truth.long(), len(CLASSES)).permute(0, 3, 1, 2).float()
        small = torch.nn.functional.interpolate(hot, (cells, cells), mode="area")
        logits = (small * 8).requires_grad_()
        optimiser = torch.optim.Adam([logits], lr=0.5)
        for _ in range(steps):
            enlarged = _enlarged(logits, truth.shape[1])
            loss = torch.nn.functional.cross_entropy(enlarged, truth.long(), reduction="sum") / places
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return _enlarged(logits.detach(), truth.shape[1]).argmax(1).byte().numpy()


def _enlarged(logits: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(logits, size=(size, size), mode="bilinear", align_corners=False)


def _show(evaluation: EvaluationContext, report: Report, truth: NDArray[np.uint8], guess: NDArray[np.uint8]) -> None:
    rows = zip(evaluation.faces["image"][:SHOWN], truth[:SHOWN], guess[:SHOWN], strict=True)
    tiles = []
    for data, own, ours in rows:
        pictures = tuple(resize(image, TILE) for image in (decode(data), colour_labels(own), colour_labels(ours)))
        f1 = float(mean_f1(metrics.confusion(own, ours, len(CLASSES))[None])[0])
        tiles.append(Tile(pictures, f"mean F1 {f1:.3f}"))
    report.picture("labels", grid([picture for tile in tiles for picture in tile.pictures], columns=6))
    report.show("labels", "Label maps", "Portrait, true labels, and the parser's.", tiles)
    if len(evaluation.photos):
        _show_photos(evaluation, report)


def _show_photos(evaluation: EvaluationContext, report: Report) -> None:
    """Real photos have no truth, so that people have to look."""
    shown = evaluation.photos.head(SHOWN)
    found = _classify(evaluation, shown["image"].tolist(), FACE_SIZE)
    tiles = [
        Tile((resize(decode(data), TILE), resize(colour_labels(labels), TILE)), str(person))
        for data, labels, person in zip(shown["image"], found, shown["person"], strict=True)
    ]
    report.picture("labels_photos", grid([picture for tile in tiles for picture in tile.pictures], columns=4))
    report.show("labels_photos", "Label maps of real photos", "Photo and the parser's labels.", tiles)
