"""Identity imitator: a network learns which embedding the recogniser gives to the engine's render of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional

from engine.schema import Schema
from models.identity import IdentityModel
from models.identity_imitator import IdentityImitator
from models.inference import optimize_for_inference
from models.weights import save_model
from stages.context import Context
from stages.data.dataset import ImageDataset, in_batches
from stages.data.reads import CHOSEN_BY, TRAINED_ON, WEIGHTS, ParameterSpace, Rows
from stages.imitator import pair_parameters
from stages.training import Batch, Optimiser, Training, rows_for, train

VERSION = "3"
INPUTS = ("rendered_pairs", "identity_model", "character")
PAIRS = Rows("pairs.parquet", ("split", "image", "parameters", "discrete"), (TRAINED_ON, CHOSEN_BY))
READS = {"rendered_pairs": PAIRS, "identity_model": WEIGHTS, "character": ParameterSpace()}


class IdentityImitatorConfig(BaseModel, frozen=True, extra="forbid"):
    """Architecture and training. The papers have no such network."""

    hidden: int = Field(default=1024, gt=0)
    dropout: float = Field(default=0.4, ge=0, lt=1)
    size: int = Field(default=128, ge=64, description="pixels at which renders are embedded")
    training: Training = Training(
        steps=3000,
        batch=128,
        optimiser=Optimiser(kind="adamw", rate=0.003, weight_decay=0.05, fused=True, schedule="onecycle"),
    )


Config = IdentityImitatorConfig


def run(inputs: Mapping[str, Path], config: IdentityImitatorConfig, out: Path, context: Context) -> dict[str, float]:
    """Writes model.safetensors and meta.json. Raises ValueError without training rows."""
    schema = Schema.load(inputs["character"])
    pairs = PAIRS.read(inputs["rendered_pairs"])
    rows = {name: np.flatnonzero(pairs["split"] == name) for name in (TRAINED_ON, CHOSEN_BY)}
    if not len(rows[TRAINED_ON]):
        raise ValueError("no training rows in pairs.parquet")
    embeddings = _embedded(inputs["identity_model"], pairs["image"].tolist(), config.size, context)
    x = pair_parameters(schema, pairs)
    learnt, unseen = ((x[at], embeddings[at]) for at in map(torch.from_numpy, rows.values()))
    architecture = {
        "n_parameters": schema.width, "dim": embeddings.shape[1], "hidden": config.hidden, "dropout": config.dropout,
    }  # fmt: skip
    torch.manual_seed(config.training.seed)
    network = IdentityImitator(**architecture)

    def batch_at(k: int) -> Batch:
        at = torch.from_numpy(rows_for(k, config.training.batch, len(learnt[0]), config.training.seed))
        return {"x": learnt[0][at], "embeddings": learnt[1][at]}

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (1 - functional.cosine_similarity(network(batch["x"]), batch["embeddings"])).mean()
        return loss, {"distance": loss}

    @torch.no_grad()
    def evaluate(step: int) -> dict[str, float]:
        return score(network(unseen[0].to(context.device)).cpu(), unseen[1]) if len(unseen[0]) else {}

    steps = train("identity_imitator", network, batch_at, loss_of, config.training, context, evaluate)
    network.eval()
    final = evaluate(steps)
    save_model(out, network, {"model": "perceptron", "architecture": architecture, "validation": final})
    return final | (baseline(*(embedded for _, embedded in (learnt, unseen))) if final else {})


def score(expected: Tensor, seen: Tensor) -> dict[str, float]:
    """How well embeddings [N, D] are known: mean cosine with the true ones, and how often the true one is the nearest
    of all.
    """
    similarity = expected @ seen.T
    first = (similarity.argmax(1) == torch.arange(len(seen))).float().mean()
    return {"similarity": float(similarity.diagonal().mean()), "rank1": float(first)}


def baseline(learnt: Tensor, unseen: Tensor) -> dict[str, float]:
    """The mean cosine of always saying the mean training embedding."""
    mean = functional.normalize(learnt.mean(0), dim=0)
    return {"similarity_mean_embedding": float((unseen @ mean).mean())}


def _embedded(folder: Path, pictures: list[bytes], size: int, context: Context) -> Tensor:
    """Embeddings [N, D] of renders, by the identity model of a folder."""
    identity = optimize_for_inference(IdentityModel.load(folder).to(context.device))
    shown = ImageDataset(pictures, size, cache_bytes=0)
    return in_batches(
        identity, shown, context.device, on_done=lambda done: context.progress("renders embedded", done, len(shown))
    )
