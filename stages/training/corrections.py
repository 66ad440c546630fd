"""Players' corrections as a supervised set: what an encoder read of their faces -> what they left.

A row has no photo, so its features cannot be computed anew. It has what another encoder read: the embedding and the
recogniser's last map, in that encoder's directions. Both are linear in the recogniser's output. So they are taken back
to that output, and read again in the directions of the encoder that trains; nothing is lost but what the other had left
out. Another recogniser's output means something else, and its rows are left out.
Legend: N rows, D embedding, M map features, C x h x w map, c channels kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, Field
from safetensors.torch import load_file
from torch import Tensor

from engine.schema import Schema
from models.encoder import Encoder
from models.features import FaceFeatures
from models.losses import SupervisedLoss
from models.weights import WEIGHTS
from stages.data import tables
from stages.data.reads import CHOSEN_BY, TRAINED_ON, Rows
from stages.training.features import LabelledFeatures

ROWS = Rows(
    "corrections.parquet", ("split", "encoder", "recogniser", "features", "parameters", "discrete"),
    (TRAINED_ON, CHOSEN_BY),
)  # fmt: skip
READERS = "readers"


class Corrections(BaseModel, frozen=True, extra="forbid"):
    """Learn from players' corrections, too."""

    weight: float = Field(default=0.5, gt=0, description="of the term, beside `terms: {supervised}`")
    batch: int = Field(default=64, gt=0, description="rows a step")


@dataclass(frozen=True)
class CorrectionSet:
    """Those of one table that this encoder can learn from."""

    train: LabelledFeatures
    held_out: LabelledFeatures
    left_out: int
    """Rows of another recogniser."""

    @classmethod
    def load(cls, folder: Path, identity: Path, encoder: Encoder, schema: Schema) -> CorrectionSet:
        """`folder`: of the table; `identity`: of the recogniser that the encoder reads."""
        rows = ROWS.read(folder)
        own = hashlib.md5((identity / WEIGHTS).read_bytes(), usedforsecurity=False).hexdigest()
        known = rows[rows["recogniser"] == own].reset_index(drop=True)
        features = torch.zeros(len(known), encoder.features.width)
        for name, at in known.groupby("encoder").groups.items():
            before = _read_by(folder / READERS / f"{name}.safetensors", encoder.features)
            seen = tables.stack(known.loc[at, "features"])
            features[torch.from_numpy(np.asarray(at))] = read_anew(before, encoder.features, torch.from_numpy(seen))
        x = _parameters(schema, known)
        by_split = {name: torch.from_numpy((known["split"] == name).to_numpy(copy=True)) for name in ROWS.splits}
        train, held = (LabelledFeatures(features[at], x[at]) for at in by_split.values())
        return cls(train, held, len(rows) - len(known))


def _parameters(schema: Schema, rows: pd.DataFrame) -> Tensor:
    """What the players left [N, width]."""
    if rows.empty:
        return torch.zeros(0, schema.width)
    discrete = tables.stack(rows["discrete"], np.int16)
    return torch.from_numpy(schema.pack(tables.stack(rows["parameters"]), discrete)).float()


def _read_by(file: Path, like: FaceFeatures) -> FaceFeatures:
    """The directions of the encoder that read the rows; its maps have the shape of those of the recogniser, which is
    the same."""
    weights = load_file(file)
    basis = weights.get("directions.channel_basis", torch.zeros(0, 0))
    n_map = weights["directions.map_basis"].shape[1] if "directions.map_basis" in weights else 0
    places = weights["directions.map_mean"].shape[0] // basis.shape[1] if n_map else 0
    # Directions act at each place alike, so that only how many places there are matters.
    shape = (basis.shape[0], places, 1)
    found = FaceFeatures(weights["mean"].shape[0], shape, basis.shape[1] if n_map else 0, n_map)
    found.load_state_dict(weights)
    return found.to(like.mean.device)


@torch.no_grad()
def read_anew(before: FaceFeatures, now: FaceFeatures, seen: Tensor) -> Tensor:
    """Features [N, D + M] that `before` read -> what `now` reads of the same faces [N, F], on the CPU. Of map features
    that `before` had none of, the mean: 0."""
    seen = seen.to(now.mean)
    embeddings = seen[:, : before.dim] * before.std + before.mean
    standard = (embeddings - now.mean) / now.std
    if not now.n_map:
        return standard.cpu()
    if not before.n_map:
        return torch.cat([standard, standard.new_zeros(len(seen), now.n_map)], 1).cpu()
    old, new = before.directions, now.directions
    # Directions that nothing varied along are empty, which the pseudo-inverse takes as they are.
    squeezed = seen[:, before.dim :] @ torch.linalg.pinv(old.map_basis) + old.map_mean
    places = squeezed.unflatten(1, (-1, old.channel_basis.shape[1]))
    maps = places @ old.channel_basis.T + old.channel_mean
    again = ((maps - new.channel_mean) @ new.channel_basis).flatten(1)
    return torch.cat([standard, new.project(again)], 1).cpu()


def corrected_loss(encoder: Encoder, loss: SupervisedLoss, features: Tensor, truth: Tensor) -> Tensor:
    """The supervised term on rows of identity features [N, D + M] and what players left [N, width].

    Where choices, sex and age are read by what knows each of them, that is fitted and not trained, and rows do not have
    what it reads: then the other sliders alone count.
    """
    if encoder.choices is None:
        return loss(*encoder.heads(features), truth)
    sliders, target = sliders_of(encoder, features), truth.clone()
    for number in (encoder.architecture.sex, encoder.architecture.age):
        if number is not None:
            target[:, number] = sliders[:, number].detach()
    return loss(sliders, (), target)


def sliders_of(encoder: Encoder, features: Tensor) -> Tensor:
    """Sliders [N, S] of identity features alone [N, D + M]: sex and age mean nothing where they are read elsewhere."""
    missing = encoder.appearance.width if encoder.appearance is not None else 0
    return encoder.heads(torch.cat([features, features.new_zeros(len(features), missing)], 1))[0]
