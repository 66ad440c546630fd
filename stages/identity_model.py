"""Identity model: a backbone learns to tell the training people apart; the layer that names them is dropped afterwards.

FaceRes and SFace start from the pretrained weights that come with the project, Light CNN-29 v2 from its authors'
checkpoint or from scratch. The weights with the best verification of validation people are kept, and only if real
photos of such people get no worse: fine-tuning on portraits must not cost what a model knows about real faces, so "0
steps kept" is a possible answer. People who are scored later choose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator
from sklearn.metrics import auc, roc_curve
from torch import Tensor, nn
from torch.nn import functional

from models.identity import IdentityModel, Kind, build
from models.inference import optimize_for_inference
from models.pretrained import fingerprint
from models.weights import save_model
from stages.context import Context
from stages.data.dataset import ImageDataset, in_batches
from stages.data.reads import CHOSEN_BY, TRAINED_ON, Files, training_faces
from stages.evaluation.face_pairs import draw_pairs, similarity
from stages.training import Batch, Optimiser, Training, generator_for, rows_for, train

VERSION = "5"
INPUTS = ("embedded", "aligned_faces")

CHOSEN_BY_TEST_PEOPLE = ("1", "2")
"""Older versions of this stage."""
WEIGHTS = {"faceres+sface": "identity", "faceres": "identity/faceres.json", "sface": "identity/sface.onnx"}
"""Of the backbones whose weights come with the project, in data/embedded."""
CENTRED_ON = 1000
"""Training faces whose mean a pretrained recogniser takes off, at most."""
ONE_FILE: tuple[Kind, ...] = ("sface", "lightcnn29v2")
"""Backbones whose weights are a file that can be named."""
WEIGHT_FILES = ("identity/faceres.json", "identity/faceres.bin", "identity/sface.onnx")
# Sets with an official protocol score the finished model and decide nothing; in some the person is not even known.
FACES = training_faces(("source", "person", "split", "image"), undecided=True)
READS = {"embedded": Files(WEIGHT_FILES), "aligned_faces": FACES}


class IdentityModelConfig(BaseModel, frozen=True, extra="forbid"):
    """Which backbone, from which weights, and how it is trained."""

    backbone: Kind = "faceres+sface"
    """lightcnn29v2: the papers'."""
    weights: Path | None = None
    """A pretrained file of the backbone's authors. None: FaceRes and SFace take those that come with the project, Light
    CNN is trained from scratch.
    """
    trainable: Literal["head", "all"] = "all"
    """head: the fully connected part on convolution features that are computed once; all: the convolutions too, but not
    FaceRes', whose maps a frozen head reads sex and age from.
    """
    loss: Literal["softmax", "cosface", "arcface"] = "cosface"
    margin: float = 0.2
    scale: float = 32.0
    shift: int = Field(default=0, ge=0)
    """Largest random shift of a training crop, pixels, for `trainable: all`; Light CNN's authors: 8."""
    mirror: bool = False
    """Mirror half of the training crops, for `trainable: all`, as Light CNN's authors do."""
    training: Training = Training(
        steps=2000,
        batch=64,
        optimiser=Optimiser(kind="sgd", rate=0.001, weight_decay=5e-4, schedule="cosine"),
        evaluate_every=200,
        clip=5.0,
    )
    min_photos: int = Field(default=2, ge=1)
    """People with fewer photos take no part: one photo does not say what stays the same in another."""
    max_pairs: int = Field(default=20_000, gt=0)
    """Different-person pairs in a verification set; all same-person pairs are used."""
    tolerance: float = 0.0
    """How far a held-out AUC may fall below that of the weights at the start and still count as no worse."""

    @property
    def from_scratch(self) -> bool:
        """Are there no weights to start from?"""
        return self.backbone not in WEIGHTS and self.weights is None

    @model_validator(mode="after")
    def _complete(self) -> IdentityModelConfig:
        if self.weights and self.backbone not in ONE_FILE:
            raise ValueError(
                f"`weights` is one file of one network, and {self.backbone} comes with the project: "
                f"name the file's network too, `backbone: {' or '.join(ONE_FILE)}`"
            )
        if self.from_scratch and self.trainable != "all":
            raise ValueError(
                f"{self.backbone} without `weights` is trained from scratch, which needs `trainable: all`; "
                "to fine-tune it, give its authors' checkpoint as `weights`"
            )
        if (self.shift or self.mirror) and self.trainable != "all":
            raise ValueError("`shift` and `mirror` need `trainable: all`: `head` computes each face's features once")
        return self


Config = IdentityModelConfig


class MarginHead(nn.Module):
    """Classification by the angle to each identity's direction (CosFace, Wang 2018; ArcFace, Deng 2019)."""

    def __init__(self, dim: int, n_people: int, loss: str, margin: float, scale: float) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(n_people, dim))
        self.loss, self.margin, self.scale = loss, margin, scale

    def forward(self, embeddings: Tensor, people: Tensor) -> Tensor:
        """Embeddings [B, D] of length 1 and person numbers [B] -> cross entropy."""
        cosine = embeddings @ functional.normalize(self.directions, dim=1).T
        own = cosine.gather(1, people[:, None])
        if self.loss == "cosface":
            wanted = own - self.margin
        elif self.loss == "arcface":
            angle = torch.acos(own.clamp(-1 + 1e-6, 1 - 1e-6))
            wanted = torch.cos((angle + self.margin).clamp(max=math.pi))
        else:
            wanted = own
        return functional.cross_entropy(self.scale * cosine.scatter(1, people[:, None], wanted), people)


def verification(embeddings: NDArray, people: NDArray, max_pairs: int = 20_000, seed: int = 0) -> dict[str, float]:
    """Are two faces one person? AUC, and accuracy at the best threshold with both kinds of pair weighing the same.

    `embeddings` [N, D] of length 1; `people` [N]. Empty when there is no pair of one kind.
    """
    pairs = draw_pairs(people, max_pairs, seed)
    if pairs.one_sided:
        return {}
    scores = similarity(embeddings, pairs.first, pairs.second)
    false_accepts, accepts, thresholds = roc_curve(pairs.same, scores)
    best = int((accepts - false_accepts).argmax())
    return {
        "auc": float(auc(false_accepts, accepts)),
        "accuracy": float((accepts[best] + 1 - false_accepts[best]) / 2),
        "threshold": float(thresholds[best]),
        "pairs": float(len(pairs.same)),
    }


class _Best:
    """The weights kept so far: at first those at the start. Its state goes into the checkpoint."""

    def __init__(self, module: nn.Module, tolerance: float) -> None:
        self.module, self.tolerance = module, tolerance
        self.step, self.start, self.best = 0, {}, {}
        self.weights: dict[str, Tensor] = {}

    def offer(self, step: int, aucs: Mapping[str, float]) -> None:
        """Keep the module's weights if they are the best that made no held-out set worse."""
        if not self.weights:
            self.start = dict(aucs)
        else:
            no_worse = all(aucs[key] >= self.start[key] - self.tolerance for key in self.start)
            if not (no_worse and _mean(aucs) > _mean(self.best)):  # so that not-a-number is never kept
                return
        self.step, self.best = step, dict(aucs)
        self.weights = {key: value.detach().cpu().clone() for key, value in self.module.state_dict().items()}

    def tensors(self) -> dict[str, Tensor]:
        named = {f"weights.{key}": value for key, value in self.weights.items()}
        named |= {f"start.{key}": torch.tensor(value, dtype=torch.float64) for key, value in self.start.items()}
        named |= {f"best.{key}": torch.tensor(value, dtype=torch.float64) for key, value in self.best.items()}
        return named | {"step": torch.tensor(self.step)}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        def part(name: str) -> dict[str, Tensor]:
            return {k.partition(".")[2]: v for k, v in tensors.items() if k.startswith(f"{name}.")}

        self.step, self.weights = int(tensors["step"]), part("weights")
        self.start = {k: float(v) for k, v in part("start").items()}
        self.best = {k: float(v) for k, v in part("best").items()}


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / max(len(values), 1)


class _Tuner(nn.Module):
    """The model and its classification layer, with the training rows and the held-out ones.

    Pretrained weights stay in eval mode throughout: portraits must not shift the batch statistics that real photos are
    normalised by. A model from scratch has its training mode, and with it its authors' dropout.
    """

    def __init__(
        self, model: IdentityModel, config: IdentityModelConfig, context: Context, faces: pd.DataFrame
    ) -> None:
        super().__init__()
        self.model, self.config, self.context = model, config, context
        photos_of_person = faces.groupby(["source", "person"])["split"].transform("size")
        rows = np.flatnonzero(((faces["split"] == TRAINED_ON) & (photos_of_person >= config.min_photos)).to_numpy())
        self.people, person_of_row = np.unique(faces["person"].to_numpy()[rows].astype(str), return_inverse=True)
        self.labels = torch.from_numpy(person_of_row.astype(np.int64))
        self.sets = _held_out(faces)
        torch.manual_seed(config.training.seed)
        self.margin_head = MarginHead(model.dim, max(len(self.people), 1), config.loss, config.margin, config.scale)
        model.requires_grad_(False)
        everything = config.trainable == "all"
        for layer in model.backbone.trainable_layers if everything else model.backbone.last_layers:
            layer.requires_grad_(True)
        self.train_inputs = self._prepare(faces, rows, "training faces", config.shift)
        if not config.from_scratch and len(rows):
            model.backbone.centre(self._features(torch.linspace(0, len(rows) - 1, min(len(rows), CENTRED_ON)).long()))
        self.held_inputs = {name: self._prepare(faces, at, name) for name, at in self.sets.items()}
        self.held_people = {name: faces["person"].to_numpy()[at].astype(str) for name, at in self.sets.items()}

    def train(self, mode: bool = True) -> _Tuner:
        """Pretrained layers have no training mode."""
        super().train(False)
        self.margin_head.train(mode)
        self.model.train(mode and self.config.from_scratch)
        return self

    @torch.no_grad()
    def _prepare(self, faces: pd.DataFrame, rows: NDArray, what: str, margin: int = 0) -> Tensor:
        """What a step starts from: convolution features (half precision) for `head`, crops (uint8, `margin` pixels more
        on each side) for `all`.
        """
        self.model.eval()
        pictures = ImageDataset(faces["image"].to_numpy()[rows].tolist(), size=256, cache_bytes=0)
        reader = optimize_for_inference(self.model)

        def prepared(images: Tensor) -> Tensor:
            crops = reader.crop(images, margin)
            if self.config.trainable == "all":
                return (crops * 255).round().byte()
            return reader.backbone.features(crops).half()

        def report(done: int) -> None:
            self.context.progress(f"identity_model: {what}", done, len(rows))

        return in_batches(prepared, pictures, self.context.device, on_done=report)

    @torch.no_grad()
    def _features(self, rows: Tensor) -> Tensor:
        """Convolution features [N, *map_shape] of some training faces, on the CPU."""
        prepared = self.train_inputs[rows]
        if self.config.trainable == "head":
            return prepared.float()
        shift = self.config.shift
        crops = prepared[..., shift : shift + self.model.backbone.side, shift : shift + self.model.backbone.side]
        parts = [self.model.backbone.features(part.to(self.context.device).float() / 255) for part in crops.split(64)]
        return torch.cat([part.cpu() for part in parts])

    def _embed(self, prepared: Tensor) -> Tensor:
        if self.config.trainable == "all":
            return self.model.embed_crops(prepared.float() / 255)
        return functional.normalize(self.model.backbone.head(prepared.float()), dim=1)

    def batch_at(self, k: int) -> Batch:
        training = self.config.training
        rows = torch.from_numpy(rows_for(k, training.batch, len(self.labels), training.seed))
        prepared = self.train_inputs[rows]
        if self.config.shift or self.config.mirror:
            prepared = augment(prepared, self.config.shift, self.config.mirror, generator_for(k, training.seed))
        return {"prepared": prepared, "people": self.labels[rows]}

    def loss_of(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.margin_head(self._embed(batch["prepared"]), batch["people"])
        return loss, {"classification": loss}

    @torch.no_grad()
    def verify(self) -> dict[str, dict[str, float]]:
        """Verification on each held-out set that has pairs of both kinds."""
        figures = {}
        for name, prepared in self.held_inputs.items():
            if not len(prepared):
                continue
            parts = [self._embed(part.to(self.context.device)).cpu() for part in prepared.split(64)]
            found = verification(torch.cat(parts).numpy(), self.held_people[name], self.config.max_pairs)
            figures |= {name: found} if found else {}
        return figures


def augment(crops: Tensor, shift: int, mirror: bool, random: torch.Generator) -> Tensor:
    """Crops [B, C, S + 2 shift, S + 2 shift] -> [B, C, S, S], each cut out somewhere and, with `mirror`, half of them
    mirrored.
    """
    side = crops.shape[-1] - 2 * shift
    corners = torch.randint(0, 2 * shift + 1, (len(crops), 2), generator=random).tolist()
    cut = [crop[:, y : y + side, x : x + side] for crop, (y, x) in zip(crops, corners, strict=True)]
    flipped = torch.rand(len(crops), generator=random) < 0.5 if mirror else torch.zeros(len(crops), dtype=torch.bool)
    return torch.stack([crop.flip(-1) if turn else crop for crop, turn in zip(cut, flipped.tolist(), strict=True)])


def decides(source: str, split: str, official: bool = False, version: str = VERSION) -> bool:
    """Whether a face takes part in the choice between weights: those of validation people do, unless their set has
    official pairs. In models of older versions of this stage real photos of test people did too; lineage asks here.
    """
    if official:
        return False
    return split == CHOSEN_BY or (version in CHOSEN_BY_TEST_PEOPLE and source != "portraits" and split != TRAINED_ON)


def _held_out(faces: pd.DataFrame) -> dict[str, NDArray]:
    """Rows of the verification sets, of portraits and of real photos; `faces` has no sets with official pairs."""
    portraits = (faces["source"] == "portraits").to_numpy()
    rows = faces[["source", "split"]].itertuples(index=False)
    chosen = np.array([decides(str(source), str(split)) for source, split in rows], bool)
    return {"portraits": np.flatnonzero(portraits & chosen), "photos": np.flatnonzero(~portraits & chosen)}


def _start(inputs: Mapping[str, Path], config: IdentityModelConfig) -> IdentityModel:
    """The model before its first step, in eval mode."""
    if config.from_scratch:
        torch.manual_seed(config.training.seed)
        return build(config.backbone).eval()
    return IdentityModel.from_file(config.backbone, config.weights or inputs["embedded"] / WEIGHTS[config.backbone])


def run(inputs: Mapping[str, Path], config: IdentityModelConfig, out: Path, context: Context) -> dict[str, float]:
    """Writes model.safetensors and meta.json (steps kept, verification before and after).

    Raises ValueError when the faces do not suffice for training from scratch.
    """
    faces = FACES.read(inputs["aligned_faces"])
    model = _start(inputs, config).to(context.device)
    tuner = _Tuner(model, config, context, faces)
    best = _Best(model, config.tolerance)
    before = tuner.verify()
    if config.from_scratch and (len(tuner.people) < 2 or not before):
        raise ValueError(
            "training from scratch needs two training people, and two held-out people of whom one has two faces: "
            "add a photo set with identities, or give the authors' checkpoint as `weights`"
        )
    best.offer(0, {name: values["auc"] for name, values in before.items()})
    steps = 0

    def evaluate(step: int) -> dict[str, float]:
        figures = before if step == 0 else tuner.verify()
        if step:
            best.offer(step, {name: values["auc"] for name, values in figures.items()})
        return {f"{name}_{key}": values[key] for name, values in figures.items() for key in ("auc", "accuracy")}

    if len(tuner.people) > 1:  # one person cannot be told apart from anybody
        steps = train("identity_model", tuner, tuner.batch_at, tuner.loss_of, config.training, context, evaluate, best)
    model.load_state_dict(best.weights)
    after = tuner.verify()
    figures = {"steps_trained": steps, "steps_kept": best.step, "before": before, "after": after}
    meta = {"model": model.kind, "dim": model.dim, "trainable": config.trainable, "people": len(tuner.people)}
    origin = {"weights": fingerprint(config.weights)} if config.weights else {}
    save_model(out, model, {**meta, **origin, "verification": figures})
    metrics = {"steps_trained": float(steps), "steps_kept": float(best.step)}
    for name in after:
        for key in ("auc", "accuracy"):
            metrics |= {f"{name}_{key}_before": before[name][key], f"{name}_{key}_after": after[name][key]}
    return metrics
