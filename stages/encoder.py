"""Encoder: identity embeddings to character parameters, by the composite loss through frozen imitator, identity model
and parser.

Embeddings are computed once, so the supervised term (renders and portraits with their true parameters) costs next to
nothing and runs every step; the terms that draw a face cost a hundred times as much and can run every n-th step only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from engine.schema import Schema
from models import images
from models.encoder import Encoder, choices, harden
from models.identity import IdentityModel
from models.imitator import Imitator
from models.losses import CompositeLoss, SupervisedLoss, Weights
from stages import identity_model, parsing_model, tables
from stages import imitator as imitator_stage
from stages.context import Context
from stages.metrics import r2
from stages.training import Batch, Optimiser, Training, load_weights, read_meta, rows_for, save_model, train

VERSION = "1"
INPUTS = ("aligned_faces", "identity_model", "parsing_model", "rendered_pairs", "imitator", "character")

PORTRAITS_CHARACTER = "embedded"
"""The character that the portraits are drawn with: only its encoder can learn from their parameters."""


class Terms(BaseModel, frozen=True, extra="forbid"):
    """Weight of each term; the first four as in the papers, whose lambda for the decay is 0."""

    identity: float = Field(default=0.01, ge=0)
    content: float = Field(default=1.0, ge=0)
    loop: float = Field(default=1.0, ge=0)
    decay: float = Field(default=0.01, ge=0)
    supervised: float = Field(default=1.0, ge=0)


class Config(BaseModel, frozen=True, extra="forbid"):
    """Architecture, loss and training; architecture, lambdas and Adam 1e-4 are the published ones."""

    hidden: int = 512
    blocks: int = 3
    gate: int = 16
    dropout: float = Field(default=0.0, ge=0, lt=1)
    terms: Terms = Terms()
    supervise_pairs: bool = True
    supervise_portraits: bool = True
    """Also learn from the training portraits' own parameters; only the embedded character can."""
    supervised_norm: Literal["l1", "l2"] = "l2"
    group_weight: float = 0.05
    supervised_batch: int = Field(default=256, gt=0)
    pair_share: float = Field(default=0.5, ge=0, le=1)
    """Share of renders in a supervised batch, where there are both renders and portraits."""
    embedding_noise: float = Field(default=0.0, ge=0)
    """Noise on supervised embeddings, in units of the embeddings' own spread."""
    composite_every: int = Field(default=1, gt=0)
    composite_from: int = Field(default=0, ge=0)
    """First step that draws faces; before it, only the supervised term runs."""
    max_frontal_yaw: float = 20.0
    """Degrees; photos turned further get no content term."""
    content_size: int = Field(default=256, ge=64)
    """Pixels at which photo and drawing are parsed."""
    face_size: int = Field(default=256, ge=64)
    training: Training = Training(
        steps=200_000, batch=16, optimiser=Optimiser(kind="adam", rate=1e-4), evaluate_every=2000, clip=10.0
    )


@dataclass
class _Known:
    """Embeddings whose parameters are known."""

    embeddings: Tensor
    x: Tensor

    def __len__(self) -> int:
        return len(self.x)


def run(inputs: Mapping[str, Path], config: Config, out: Path, context: Context) -> dict[str, float]:
    """Writes model.safetensors, meta.json and a contact sheet (photo | imitator's drawing of the prediction)."""
    return _Stage(inputs, config, context).run(out)


def load(folder: Path) -> Encoder:
    """The trained encoder, in eval mode."""
    meta = read_meta(folder)
    encoder = Encoder(
        meta["n_sliders"],
        meta["group_sizes"],
        meta["dim"],
        meta["hidden"],
        meta["blocks"],
        meta["gate"],
        meta["dropout"],
    )
    load_weights(folder, encoder)
    return encoder.eval()


class _Stage:
    """The data and the models of one run."""

    def __init__(self, inputs: Mapping[str, Path], config: Config, context: Context) -> None:
        self.config, self.context = config, context
        self.schema = Schema.load(inputs["character"])
        identity = identity_model.load(inputs["identity_model"]).to(context.device)
        parser = parsing_model.load(inputs["parsing_model"])
        imitator = imitator_stage.load(inputs["imitator"])
        width = read_meta(inputs["imitator"])["n_parameters"]
        if width != self.schema.width:
            raise ValueError(
                f"the imitator draws {width} parameters, character {self.schema.name} has {self.schema.width}"
            )
        self._read_faces(inputs["aligned_faces"], identity)
        self._read_pairs(inputs["rendered_pairs"], identity, imitator.size)
        torch.manual_seed(config.training.seed)
        neutral = torch.from_numpy(self.schema.neutral())
        self.encoder = Encoder(
            self.schema.n_sliders,
            self.schema.group_sizes,
            identity.dim,
            config.hidden,
            config.blocks,
            config.gate,
            config.dropout,
            neutral,
        )
        self.supervision = self._supervision()
        seen = [self.embeddings[self.train_rows], *(known.embeddings for known in self.supervision)]
        self.encoder.standardise_by(torch.cat(seen))
        supervised = SupervisedLoss(
            self.schema.n_sliders, self.schema.group_sizes, config.supervised_norm, config.group_weight
        )
        imitator = imitator.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        weights = Weights(**config.terms.model_dump())
        self.loss = CompositeLoss(imitator, identity, parser, neutral, weights, config.content_size, supervised)
        self.loss.to(context.device)

    def _read_faces(self, folder: Path, identity: IdentityModel) -> None:
        columns = ["id", "source", "split", "image", "parameters", "discrete", "yaw"]
        self.faces = tables.read(folder / "faces.parquet", columns)
        self.pictures = tables.Pictures(self.faces["image"].tolist(), self.config.face_size, cache_bytes=0)
        self.embeddings = self._embed(identity, self.pictures, "faces")
        self.train_rows = np.flatnonzero((self.faces["split"] == "train").to_numpy())
        self.frontal = torch.from_numpy(np.abs(self.faces["yaw"].to_numpy()) <= self.config.max_frontal_yaw)
        if not len(self.train_rows):
            raise ValueError("no training faces in faces.parquet")

    def _read_pairs(self, folder: Path, identity: IdentityModel, size: int) -> None:
        """Renders are embedded at the imitator's size: so sharp, and no sharper, will the faces be that the loop term
        draws.
        """
        pairs = tables.read(folder / "pairs.parquet", ["split", "image", "parameters", "discrete"])
        pictures = tables.Pictures(pairs["image"].tolist(), size, cache_bytes=0)
        embeddings = self._embed(identity, pictures, "renders")
        x = imitator_stage.pair_parameters(self.schema, pairs)
        split = pairs["split"].to_numpy()
        self.pairs = {name: _Known(embeddings[split == name], x[split == name]) for name in ("train", "val")}

    def _embed(self, identity: IdentityModel, pictures: tables.Pictures, what: str) -> Tensor:
        def report(done: int) -> None:
            self.context.progress(f"encoder: embeddings of {what}", done, len(pictures))

        return tables.in_batches(identity, pictures, self.context.device, on_done=report)

    def _known_portraits(self, split: str) -> _Known | None:
        if self.schema.name != PORTRAITS_CHARACTER:
            return None
        chosen = (self.faces["split"] == split) & self.faces["parameters"].notna()
        if not chosen.any():
            return None
        return _Known(
            self.embeddings[torch.from_numpy(chosen.to_numpy(copy=True))],
            imitator_stage.pair_parameters(self.schema, self.faces[chosen]),
        )

    def _supervision(self) -> list[_Known]:
        """Renders first, then portraits; what the configuration leaves out is missing."""
        portraits = self._known_portraits("train") if self.config.supervise_portraits else None
        pairs = self.pairs["train"] if self.config.supervise_pairs and len(self.pairs["train"]) else None
        self.pair_share = 0.0 if pairs is None else 1.0 if portraits is None else self.config.pair_share
        return [known for known in (pairs, portraits) if known is not None]

    def batch_at(self, k: int) -> Batch:
        config, seed = self.config, self.config.training.seed
        batch: dict[str, Tensor] = {}
        if not self.supervision or (k >= config.composite_from and k % config.composite_every == 0):
            at = self.train_rows[
                rows_for(k // config.composite_every, config.training.batch, len(self.train_rows), seed)
            ]
            index = torch.from_numpy(at)
            batch |= {"photos": self.pictures[at], "embeddings": self.embeddings[index], "frontal": self.frontal[index]}
        if self.supervision:
            batch |= self._supervised_batch(k)
        return batch

    def _supervised_batch(self, k: int) -> dict[str, Tensor]:
        config, seed = self.config, self.config.training.seed
        sizes = [config.supervised_batch]
        if len(self.supervision) == 2:
            renders = round(config.supervised_batch * self.pair_share)
            sizes = [renders, config.supervised_batch - renders]
        embeddings, x = [], []
        for number, (known, size) in enumerate(zip(self.supervision, sizes, strict=True), start=1):
            if size:
                index = torch.from_numpy(rows_for(k, size, len(known), seed + number))
                embeddings.append(known.embeddings[index])
                x.append(known.x[index])
        return {"known_embeddings": torch.cat(embeddings), "known_x": torch.cat(x)}

    def loss_of(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        known = batch.get("known_embeddings")
        if known is not None and self.config.embedding_noise:
            known = known + torch.randn_like(known) * self.encoder.std * self.config.embedding_noise
        photos = batch.get("photos")
        return self.loss(
            self.encoder,
            None if photos is None else photos.float() / 255,
            batch.get("embeddings"),
            batch.get("frontal"),
            known,
            batch.get("known_x"),
        )

    @torch.no_grad()
    def evaluate(self, step: int) -> dict[str, float]:
        """Recovery of known parameters on people and renders that were held out."""
        values: dict[str, float] = {}
        for name, known in (("portraits", self._known_portraits("val")), ("pairs", self.pairs["val"])):
            if known is not None and len(known) > 2:
                x = self.encoder(known.embeddings.to(self.context.device)).cpu()
                found = recovery(x, known.x, self.schema.n_sliders, self.schema.group_sizes)
                values |= {f"{name}_{key}": value for key, value in found.items()}
        return values

    def run(self, out: Path) -> dict[str, float]:
        config = self.config
        steps = train(
            "encoder", self.encoder, self.batch_at, self.loss_of, config.training, self.context, self.evaluate
        )
        self.encoder.eval()
        final = self.evaluate(steps)
        meta = {
            "model": "attention",
            "character": self.schema.name,
            "n_sliders": self.schema.n_sliders,
            "group_sizes": list(self.schema.group_sizes),
            "dim": self.encoder.mean.numel(),
            "face_size": config.face_size,
            "steps": steps,
            "validation": final,
            **{key: getattr(config, key) for key in ("hidden", "blocks", "gate", "dropout")},
        }
        save_model(out, self.encoder, meta)
        self._sheet(out)
        return final

    @torch.no_grad()
    def _sheet(self, out: Path) -> None:
        """Real photos, then held-out portraits, each beside the drawing of its prediction."""
        source, split = self.faces["source"].to_numpy(), self.faces["split"].to_numpy()
        real, held = np.flatnonzero(source == "photos")[:12], np.flatnonzero((source == "portraits") & (split == "val"))
        rows = np.concatenate([real, held[: 32 - len(real)]])
        if not len(rows):
            return
        x = self.encoder(self.embeddings[torch.from_numpy(rows)].to(self.context.device))
        imitator: Imitator = self.loss.imitator
        drawn = imitator(harden(x, self.schema.n_sliders, self.schema.group_sizes)).cpu()
        tiles = []
        for row, drawing in zip(rows, drawn, strict=True):
            photo = images.decode(self.faces["image"].iloc[row])
            tiles += [images.resize(photo, 128), images.resize(tables.to_picture(drawing), 128)]
        (out / "encoder.png").write_bytes(images.encode_png(images.grid(tiles, columns=8)))


def recovery(x: Tensor, truth: Tensor, n_sliders: int, group_sizes: tuple[int, ...]) -> dict[str, float]:
    """How well known parameters [N, width] come back: mean R2 over the sliders that vary, accuracy over the groups."""
    sliders, true_sliders = x[:, :n_sliders], truth[:, :n_sliders]
    each = r2(true_sliders.numpy(), sliders.numpy())
    mean = float(np.nanmean(each)) if np.isfinite(each).any() else 0.0
    values = {"r2": mean, "slider_l1": float((sliders - true_sliders).abs().mean())}
    if group_sizes:
        hits = choices(x, n_sliders, group_sizes) == choices(truth, n_sliders, group_sizes)
        values["group_accuracy"] = float(hits.float().mean())
    return values
