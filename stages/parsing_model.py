"""Content model: a ResNet at stride 8 learns to name the parts of the face, on labelled aligned faces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional

from models import images
from models.face_parts import CLASSES, MIRRORED
from models.parsing import FaceParser
from models.pretrained import fingerprint
from models.weights import save_model
from stages.context import Context
from stages.data.dataset import ImageDataset, row_batches, to_unit
from stages.data.pictures import colour_labels, write_sheet
from stages.data.reads import CHOSEN_BY, TRAINED_ON, training_faces
from stages.evaluation.metrics import confusion, f1_of
from stages.training import Batch, Optimiser, Training, generator_for, rows_for, train

VERSION = "3"
INPUTS = ("aligned_faces",)
FACES = training_faces(("source", "split", "image", "labels"), labelled=True)
READS = {"aligned_faces": FACES}

AVERAGED = 200
"""Training maps that the baseline is the average of."""


class ParsingModelConfig(BaseModel, frozen=True, extra="forbid"):
    """Architecture, augmentation and training; defaults are the published ones (ResNet-50, SGD 0.001, batch 16)."""

    depth: Literal[18, 50] = 50
    width: float = Field(default=1.0, gt=0)
    dilate: bool = True
    stages: int = Field(default=4, ge=2, le=4)
    """Residual stages kept."""
    pretrained: Path | None = None
    """ImageNet weights to start from: a file of torchvision's ResNet of this depth; needs `width: 1`."""
    size: int = Field(default=256, ge=64)
    """Pixels at which faces are parsed; the classes come at an eighth of it."""
    flip: bool = True
    brightness: float = 0.25
    """Largest relative change of brightness, contrast and of each colour channel (half as much)."""
    class_balance: float = Field(default=0.0, ge=0, le=1)
    """Exponent on 1 / frequency of a class in the loss; 0: each pixel counts the same, as published."""
    shift: int = Field(default=0, ge=0)
    """Largest random shift, pixels."""
    validation_faces: int = 200
    training: Training = Training(
        steps=20_000, batch=16, optimiser=Optimiser(kind="sgd", rate=0.001, momentum=0.9), evaluate_every=1000
    )


Config = ParsingModelConfig


def run(inputs: Mapping[str, Path], config: ParsingModelConfig, out: Path, context: Context) -> dict[str, float]:
    """Writes model.safetensors, meta.json and contact sheets (photo | truth | prediction)."""
    faces = FACES.read(inputs["aligned_faces"])
    training_rows = faces[faces["split"] == TRAINED_ON]
    held_out = faces[faces["split"] == CHOSEN_BY]
    validation_rows = held_out.head(config.validation_faces)
    if training_rows.empty:
        raise ValueError("no labelled training faces in faces.parquet")
    torch.manual_seed(config.training.seed)
    parser = FaceParser(config.depth, config.width, config.dilate, config.stages)
    if config.pretrained:
        parser.load_pretrained(config.pretrained)
    pictures, labels = _columns(training_rows, config.size)
    weights = _class_weights(labels, config.class_balance).to(context.device)

    def batch_at(k: int) -> Batch:
        rows = rows_for(k, config.training.batch, len(pictures), config.training.seed)
        random = generator_for(k, config.training.seed)
        return dict(zip(("faces", "labels"), augment(pictures[rows], labels[rows], config, random), strict=True))

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = functional.interpolate(
            parser(batch["faces"]), batch["labels"].shape[-2:], mode="bilinear", align_corners=False
        )
        loss = functional.cross_entropy(logits, batch["labels"].long(), weights)
        return loss, {"cross_entropy": loss}

    def evaluate(step: int) -> dict[str, float]:
        if validation_rows.empty:
            return {}
        scores = score(parser, validation_rows, config.size, context.device)
        return {"mean_f1": mean_f1(scores), **{f"f1_{name}": v for name, v in scores.items() if v is not None}}

    train("parsing_model", parser, batch_at, loss_of, config.training, context, evaluate)
    parser.eval()
    final = evaluate(config.training.steps)
    architecture = {"depth": config.depth, "width": config.width, "dilate": config.dilate, "stages": config.stages}
    origin = {"pretrained": fingerprint(config.pretrained)} if config.pretrained else {}
    meta = {"model": "resnet", **architecture, **origin, "size": config.size, "classes": list(CLASSES)}
    save_model(out, parser, {**meta, "validation": final})
    _sheets(parser, held_out, config, out, context.device)
    return final | ({} if validation_rows.empty else baseline(labels, validation_rows, config.size))


def baseline(labels: ImageDataset, validation_rows: pd.DataFrame, size: int) -> dict[str, float]:
    """What a parser scores that never looks: at each place the class that most training maps have there."""
    at = np.unique(np.linspace(0, len(labels) - 1, AVERAGED).astype(int))
    counts = torch.zeros(len(CLASSES), size, size, dtype=torch.int64)
    for start in range(0, len(at), 16):
        counts += functional.one_hot(labels[at[start : start + 16]].long(), len(CLASSES)).sum(0).permute(2, 0, 1)
    _, truth = _columns(validation_rows, size)
    maps = truth[np.arange(len(truth))]
    usual = counts.argmax(0).expand_as(maps)
    return {"mean_f1_average_map": mean_f1(f1_scores(confusion(maps.numpy(), usual.numpy(), len(CLASSES))))}


def _columns(rows: pd.DataFrame, size: int) -> tuple[ImageDataset, ImageDataset]:
    images_column, labels_column = rows["image"].tolist(), rows["labels"].tolist()
    return ImageDataset(images_column, size), ImageDataset(labels_column, size, labels=True)


def _class_weights(labels: ImageDataset, exponent: float) -> Tensor:
    """One weight a class, from at most 100 label maps; rare classes weigh up to 10 times as much as common ones."""
    seen = labels[np.arange(min(100, len(labels)))].flatten().long()
    share = torch.bincount(seen, minlength=len(CLASSES)).float() / len(seen)
    weights = share.clamp(min=1e-4) ** -exponent
    return (weights / weights.min()).clamp(max=10.0)


def augment(
    faces: Tensor, labels: Tensor, config: ParsingModelConfig, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """uint8 faces [B, 3, H, W] and class ids [B, H, W] -> float faces in [0, 1] and class ids, flipped and recoloured
    at random.

    In a mirrored face the person's left brow is a right one, so the class ids are swapped along.
    """
    n = len(faces)
    flipped = torch.rand(n, generator=random) < 0.5 if config.flip else torch.zeros(n, dtype=torch.bool)
    mirrored_labels = torch.tensor(MIRRORED, dtype=torch.uint8)[labels.long()].flip(-1)
    labels = torch.where(flipped[:, None, None], mirrored_labels, labels)
    picture = torch.where(flipped[:, None, None, None], faces.flip(-1), faces).float() / 255
    if config.shift:
        down, right = torch.randint(-config.shift, config.shift + 1, (2,), generator=random).tolist()
        picture, labels = picture.roll((down, right), (-2, -1)), labels.roll((down, right), (-2, -1))
    if config.brightness:
        change = 1 + config.brightness * (2 * torch.rand(3, n, 1, 1, 1, generator=random) - 1)
        tint = 1 + 0.5 * config.brightness * (2 * torch.rand(n, 3, 1, 1, generator=random) - 1)
        mean = picture.mean((1, 2, 3), keepdim=True)
        picture = ((picture - mean) * change[0] + mean * change[1]) * tint
    return picture.clamp(0, 1), labels


@torch.no_grad()
def score(parser: FaceParser, rows: pd.DataFrame, size: int, device: str, batch: int = 16) -> dict[str, float | None]:
    """F1 of each class over labelled rows of faces.parquet, counted at full size."""
    pictures, labels = _columns(rows, size)
    counted = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for at in row_batches(len(rows), batch):
        predicted = parser.parse(to_unit(pictures[at], device)).cpu()
        counted += confusion(labels[at].numpy(), predicted.numpy(), len(CLASSES))
    return f1_scores(counted)


def f1_scores(counted: NDArray[np.int64]) -> dict[str, float | None]:
    """F1 of each class, from the pixels of each true class that were called each class [K, K]; None where the truth
    lacks the class.
    """
    each = f1_of(counted)
    return {name: float(each[k]) if counted[k].any() else None for k, name in enumerate(CLASSES)}


def mean_f1(scores: Mapping[str, float | None]) -> float:
    """Mean over the classes that occur, background left out."""
    values = [score for name, score in scores.items() if name != "background" and score is not None]
    return sum(values) / max(len(values), 1)


def _sheets(parser: FaceParser, held_out: pd.DataFrame, config: ParsingModelConfig, out: Path, device: str) -> None:
    """Of validation people alone: the scorecard shows how people are parsed who only score."""
    portraits = held_out["source"] == "portraits"
    for name, of in (("parsing_portraits", portraits), ("parsing_photos", ~portraits)):
        rows = held_out[of].head(12)
        if rows.empty:
            continue
        pictures = ImageDataset(rows["image"].tolist(), config.size)[np.arange(len(rows))]
        with torch.no_grad():
            predicted = parser.parse(to_unit(pictures, device)).cpu().numpy()
        tiles = []
        for i, truth in enumerate(rows["labels"]):
            tiles.append(pictures[i].permute(1, 2, 0).numpy())
            tiles.append(images.resize(colour_labels(images.decode_labels(truth)), config.size))
            tiles.append(colour_labels(predicted[i]))
        write_sheet(out / f"{name}.png", tiles, 6, 128)
