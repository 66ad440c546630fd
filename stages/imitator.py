"""Imitator: a network learns to draw what the engine draws, from the same parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional

from engine.schema import Schema
from models import images
from models.imitator import Imitator
from models.weights import save_model
from stages.context import Context
from stages.data import tables
from stages.data.dataset import ImageDataset, row_batches, to_picture
from stages.data.pictures import write_sheet
from stages.data.reads import ParameterSpace, Rows
from stages.training import Batch, Optimiser, Training, rows_for, train

VERSION = "2"
INPUTS = ("rendered_pairs", "character")
PAIRS = Rows("pairs.parquet", ("split", "image", "labels", "parameters", "discrete"))
READS = {"rendered_pairs": PAIRS, "character": ParameterSpace()}

AVERAGED = 200
"""Training pictures that the baseline is the mean of."""


class ImitatorConfig(BaseModel, frozen=True, extra="forbid"):
    """Architecture and training; defaults are the published ones (512 pixels, SGD 0.01 falling by 0.9 every 50 of 500
    epochs).

    The steps count 20,000 pairs in batches of 16.
    """

    size: int = 512
    width: float = Field(default=1.0, gt=0)
    drop: Literal["first", "last"] = "first"
    validation_pairs: int = 200
    training: Training = Training(
        steps=562_500,
        batch=16,
        optimiser=Optimiser(kind="sgd", rate=0.01, momentum=0.9, schedule="step", decay_every=56_250, decay_by=0.9),
        evaluate_every=5000,
    )


Config = ImitatorConfig


def run(inputs: Mapping[str, Path], config: ImitatorConfig, out: Path, context: Context) -> dict[str, float]:
    """Writes model.safetensors, meta.json and a contact sheet (engine | imitator, unseen parameters)."""
    schema = Schema.load(inputs["character"])
    pairs = PAIRS.read(inputs["rendered_pairs"])
    training_rows = pairs[pairs["split"] == "train"]
    validation_rows = pairs[pairs["split"] == "val"].head(config.validation_pairs)
    if training_rows.empty:
        raise ValueError("no training rows in pairs.parquet")
    torch.manual_seed(config.training.seed)
    imitator = Imitator(schema.width, config.size, config.width, config.drop)
    imitator = imitator.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    pictures = ImageDataset(training_rows["image"].tolist(), config.size)
    x = pair_parameters(schema, training_rows)

    def batch_at(k: int) -> Batch:
        rows = rows_for(k, config.training.batch, len(pictures), config.training.seed)
        return {"x": x[torch.from_numpy(rows)], "renders": pictures[rows]}

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = functional.l1_loss(imitator(batch["x"]), batch["renders"].float() / 255)
        return loss, {"l1": loss}

    def evaluate(step: int) -> dict[str, float]:
        return {} if validation_rows.empty else score(imitator, schema, validation_rows, context.device)

    train("imitator", imitator, batch_at, loss_of, config.training, context, evaluate)
    imitator.eval()
    final = evaluate(config.training.steps)
    architecture = {"n_parameters": schema.width, "size": config.size, "width": config.width, "drop": config.drop}
    save_model(out, imitator, {"model": "transposed", **architecture, "validation": final})
    _sheet(imitator, schema, pairs[pairs["split"] != "train"].head(16), out, context.device)
    return final | ({} if validation_rows.empty else baseline(pictures, validation_rows))


def pair_parameters(schema: Schema, rows: pd.DataFrame) -> Tensor:
    """Parameter vectors [N, width] of rows that have `parameters` and `discrete`."""
    discrete = tables.stack(rows["discrete"], np.int16)
    return torch.from_numpy(schema.pack(tables.stack(rows["parameters"]), discrete)).float()


@torch.no_grad()
def score(imitator: Imitator, schema: Schema, rows: pd.DataFrame, device: str, batch: int = 32) -> dict[str, float]:
    """L1, and PSNR in dB over all pixels and, where the rows have labels, inside the head."""
    pictures, x = ImageDataset(rows["image"].tolist(), imitator.size), pair_parameters(schema, rows)
    has_labels = "labels" in rows and bool(rows["labels"].notna().all())
    labels = ImageDataset(rows["labels"].tolist(), imitator.size, labels=True) if has_labels else None
    absolute, squared, in_head = [], [], []
    for at in row_batches(len(rows), batch):
        error = imitator(x[torch.from_numpy(at)].to(device)).cpu() - pictures[at].float() / 255
        absolute += error.abs().mean((1, 2, 3)).tolist()
        squared += error.square().mean((1, 2, 3)).tolist()
        if labels is not None:
            mask = (labels[at] > 0).float()[:, None]
            in_head += ((error.square() * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3))).clamp(min=1)).tolist()
    result = {"l1": float(np.mean(absolute)), "psnr": _psnr(squared)}
    return result | ({"psnr_head": _psnr(in_head)} if in_head else {})


def baseline(pictures: ImageDataset, validation_rows: pd.DataFrame) -> dict[str, float]:
    """PSNR, dB, of always drawing the mean training picture."""
    at = np.unique(np.linspace(0, len(pictures) - 1, AVERAGED).astype(int))
    mean = torch.stack([pictures[[k]][0].float() for k in at]).mean(0) / 255
    unseen = ImageDataset(validation_rows["image"].tolist(), pictures.size, cache_bytes=0)
    squared = [float((unseen[[k]][0].float() / 255 - mean).square().mean()) for k in range(len(unseen))]
    return {"psnr_mean_picture": _psnr(squared)}


def _psnr(squared: list[float]) -> float:
    """Mean of the pictures' PSNR, dB, for values in [0, 1]."""
    return float(np.mean(-10 * np.log10(np.maximum(squared, 1e-10))))


@torch.no_grad()
def _sheet(imitator: Imitator, schema: Schema, rows: pd.DataFrame, out: Path, device: str) -> None:
    if rows.empty:
        return
    drawn = imitator(pair_parameters(schema, rows).to(device)).cpu()
    tiles = []
    for image, drawing in zip(rows["image"], drawn, strict=True):
        tiles += [images.decode(image), to_picture(drawing)]
    write_sheet(out / "imitator.png", tiles, 8, 128)
