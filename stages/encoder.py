"""Encoder: what a recogniser sees of a face to character parameters, by the composite loss through frozen imitator,
identity model and parser.

What does not change in training is computed once: the features of every face and render, and the parser's view of the
photos. So the supervised term (renders and portraits with their true parameters) costs next to nothing and runs every
step; the terms that draw a face cost a hundred times as much and can run every n-th step only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.processes import release_memory
from engine.schema import Schema
from models import images
from models.attributes import Attributes
from models.encoder import Architecture, Encoder, choices, harden
from models.identity import IdentityModel
from models.identity_imitator import IdentityImitator
from models.imitator import Imitator
from models.losses import CompositeLoss, DomainStatistics, IdentityLoss, LossWeights, Photos, Schedule, SupervisedLoss
from models.parsing import FaceParser
from models.pretrained import fingerprint
from models.prior import FacialPrior
from models.weights import read_meta, save_model
from stages import imitator as imitator_stage
from stages.context import Context
from stages.data import tables
from stages.data.dataset import ImageDataset, to_picture
from stages.data.people_splits import now_tested
from stages.data.pictures import write_sheet
from stages.data.reads import CHOSEN_BY, TRAINED_ON, WEIGHTS, Files, ParameterSpace, Rows, training_faces
from stages.evaluation.metrics import r2
from stages.training import Batch, rows_for, train
from stages.training.choice_readings import fit_choices, seen_architecture
from stages.training.corrections import ROWS, CorrectionSet, corrected_loss, sliders_of
from stages.training.encoder_config import EncoderConfig
from stages.training.features import ContentCache, FeatureExtractor, LabelledFeatures
from stages.training.ridge import fit_ridge

VERSION = "11"
INPUTS = (
    "embedded", "aligned_faces", "identity_model", "parsing_model", "rendered_pairs", "imitator", "identity_imitator",
    "character",
)  # fmt: skip
ATTRIBUTES = ("attributes/gender-v1.onnx", "attributes/age-v1.onnx")
FACES = training_faces(("source", "split", "image", "parameters", "discrete", "yaw"))
PAIRS = Rows("pairs.parquet", ("split", "image", "parameters", "discrete"))
READS = {
    "embedded": Files(ATTRIBUTES), "aligned_faces": FACES, "identity_model": WEIGHTS, "parsing_model": WEIGHTS,
    "rendered_pairs": PAIRS, "imitator": WEIGHTS, "identity_imitator": WEIGHTS, "character": ParameterSpace(),
    "corrections": ROWS,
}  # fmt: skip

START = "start"
"""The optional input of a training that goes on from an earlier version of this stage: that version's folder."""
LEARNED_FROM = "aligned_faces"
"""The input whose people must not be scored now, if a training is to begin with what learned from them."""

PORTRAITS_CHARACTER = "embedded"
"""The character that the portraits are drawn with: only its encoder can learn from their parameters."""


Config = EncoderConfig


def inputs_of(config: EncoderConfig) -> tuple[str, ...]:
    """What is read under a configuration: players' corrections only where it says so."""
    return INPUTS if config.corrections is None else (*INPUTS, "corrections")


def run(inputs: Mapping[str, Path], config: EncoderConfig, out: Path, context: Context) -> dict[str, float]:
    """Writes model.safetensors, meta.json and a contact sheet (photo | imitator's drawing of the prediction).

    With an input `start`, an earlier version that `why_not_start` says nothing of, training begins with its weights.
    """
    return _Stage(inputs, config, context).run(out)


def why_not_start(inputs: Mapping[str, Path], config: EncoderConfig) -> str:
    """Why a training on these inputs cannot begin with the weights of their `start`; "" where it can.

    Under `start.aligned_faces` lies what that version was trained on.
    """
    if people := now_tested(inputs[f"{START}.{LEARNED_FROM}"], inputs[LEARNED_FROM]):
        return f"of those whom it learned from, {len(people)} are people to test on now"
    identity, parser = IdentityModel.load(inputs["identity_model"]), FaceParser.load(inputs["parsing_model"])
    wanted = _architecture(config, Schema.load(inputs["character"]), identity, parser, 0).document()
    wanted, there = json.loads(json.dumps(wanted)), read_meta(inputs[START])["architecture"]
    if bool(there["prior"]) != config.prior:
        return "one of the two has a facial prior"
    others = sorted(name for name in wanted if name != "prior" and wanted[name] != there.get(name))
    return f"its network is another one: {', '.join(others)}" if others else ""


def _architecture(
    config: EncoderConfig, schema: Schema, identity: IdentityModel, parser: FaceParser, prior: int
) -> Architecture:
    return Architecture(
        n_sliders=schema.n_sliders,
        group_sizes=tuple(schema.group_sizes),
        dim=identity.dim,
        map_shape=identity.backbone.map_shape if config.map_features else (0, 0, 0),
        map_channels=config.map_channels,
        map_features=config.map_features,
        hidden=config.hidden,
        blocks=config.blocks,
        gate=config.gate,
        attention=config.attention,
        dropout=config.dropout,
        linear=config.linear_start,
        mirror=config.mirror,
        prior=prior,
        **seen_architecture(config.appearance, schema, identity, parser),
    )


class _Stage:
    """The data and the models of one run."""

    def __init__(self, inputs: Mapping[str, Path], config: EncoderConfig, context: Context) -> None:
        self.config, self.context = config, context
        self.batches_a_step = config.training.accumulate * context.devices
        self.schema = Schema.load(inputs["character"])
        identity = IdentityModel.load(inputs["identity_model"]).to(context.device)
        self.parser = parser = FaceParser.load(inputs["parsing_model"])
        self.attributes = [inputs["embedded"] / name for name in ATTRIBUTES]
        imitator = Imitator.load(inputs["imitator"])
        width = read_meta(inputs["imitator"])["n_parameters"]
        if width != self.schema.width:
            raise ValueError(
                f"the imitator draws {width} parameters, character {self.schema.name} has {self.schema.width}"
            )
        self.faces = FACES.read(inputs["aligned_faces"])
        self.pairs = PAIRS.read(inputs["rendered_pairs"])
        if not self._learns_from_renders():  # then a few say where renders lie, and how well they are read
            some = [self.pairs[self.pairs["split"] == split].head(RENDERS_LOOKED_AT) for split in ("train", "val")]
            self.pairs = pd.concat(some)
        self.pictures = ImageDataset(self.faces["image"].tolist(), config.face_size, cache_bytes=0)
        self.train_rows = np.flatnonzero((self.faces["split"] == TRAINED_ON).to_numpy())
        if not len(self.train_rows):
            raise ValueError("no training faces in faces.parquet")
        frontal = np.abs(self.faces["yaw"].to_numpy()) <= config.max_frontal_yaw
        self.frontal, self.frontal_rows = torch.from_numpy(frontal), self.train_rows[frontal[self.train_rows]]
        self.identity_imitator = IdentityImitator.load(inputs["identity_imitator"])
        self.schedule = Schedule(**config.timing.model_dump(exclude={"coldest"}), temperature_end=config.timing.coldest)
        torch.manual_seed(config.training.seed)
        self.encoder = self._build(identity)
        self.start = inputs.get(START)
        self.training = config.training_of(self.start is not None)
        self.same_appearance = False
        if self.start is not None:
            self.encoder, self.same_appearance = _continued(Encoder.load(self.start), self.encoder)
        self._read(identity, imitator.size)
        self.corrections: CorrectionSet | None = None
        if config.corrections is not None:
            table, recogniser = inputs["corrections"], inputs["identity_model"]
            self.corrections = CorrectionSet.load(table, recogniser, self.encoder, self.schema)
        self.loss = self._loss(imitator, identity, parser).to(context.device)
        kept = int(config.content_cache_gigabytes * 1e9)
        self.content = ContentCache(self.loss, self.pictures, context.device, kept)

    def _build(self, identity: IdentityModel) -> Encoder:
        config, schema = self.config, self.schema
        parts = [slider.part for slider in schema.sliders]
        prior = FacialPrior.fit(self._prior_samples(), parts, config.prior_energy) if config.prior else None
        architecture = _architecture(config, schema, identity, self.parser, prior.dimension if prior else 0)
        encoder = Encoder(architecture, torch.from_numpy(schema.neutral()))
        if encoder.appearance is not None:
            encoder.appearance.parser.load_state_dict(self.parser.state_dict())
            networks = identity.backbone.attributes or Attributes.from_onnx(*self.attributes)
            encoder.appearance.attributes.load_state_dict(networks.state_dict())
        if prior is not None and encoder.prior is not None:
            encoder.prior.load_state_dict(prior.state_dict())
        return encoder

    def _prior_samples(self) -> Tensor:
        """Slider samples of the prior: those of the portraits, which are people, else those of the renders."""
        portraits = self._portraits("train")
        table = self.faces[portraits] if portraits.any() else self.pairs[self.pairs["split"] == "train"]
        return torch.from_numpy(tables.stack(table["parameters"]))

    def _portraits(self, split: str) -> NDArray:
        """Which faces [N] bool have parameters of this very character."""
        if self.schema.name != PORTRAITS_CHARACTER:
            return np.zeros(len(self.faces), bool)
        return ((self.faces["split"] == split) & self.faces["parameters"].notna()).to_numpy(copy=True)

    def _read(self, identity: IdentityModel, size: int) -> None:
        """Features of all faces and renders. Renders are read at the imitator's size: no sharper will the
        faces be that the loop term draws.
        """
        context = self.context
        extractor = FeatureExtractor(identity, self.encoder, context.device, context.progress, context.cache)
        # What an earlier version reads is scaled as its weights are used to.
        of_features, of_appearance = self.start is None, not self.same_appearance
        extractor.fit_channels(self.pictures, self.train_rows, of_features, of_appearance)
        release_memory()  # of maps, and here and below of what was turned to double precision
        if of_appearance:
            extractor.fit_appearance(self.pictures, self.train_rows)
            release_memory()
        faces = extractor.extract(self.pictures, "faces")
        renders = extractor.extract(ImageDataset(self.pairs["image"].tolist(), size, cache_bytes=0), "renders")
        release_memory()
        if self.start is None:
            extractor.fit(faces, self.train_rows)
            release_memory()
        self.embeddings, self.features = faces.embeddings, extractor.concat(faces)
        drawn, x = extractor.concat(renders), imitator_stage.pair_parameters(self.schema, self.pairs)
        rows = {name: _where(self.pairs["split"] == name) for name in ("train", "val")}
        self.renders = {name: LabelledFeatures(drawn[at], x[at]) for name, at in rows.items()}
        self.people: dict[str, LabelledFeatures] = {}
        self.seen = self.embeddings[torch.from_numpy(self._portraits("val"))]
        """How the recogniser sees the portraits of those held out."""
        for name in ("train", "val"):
            if (at := self._portraits(name)).any():
                parameters = imitator_stage.pair_parameters(self.schema, self.faces[at])
                self.people[name] = LabelledFeatures(self.features[torch.from_numpy(at)], parameters)
        self.supervision = self._supervision()
        if (look := self.config.appearance) is not None and self.supervision:
            fit_choices(self.encoder, look, self.schema, self.supervision[-1])
        self.domains = [DomainStatistics(identity.dim) for _ in range(2)]
        if self.config.align_domains:
            self.domains[0].fit(self.embeddings[torch.from_numpy(self.train_rows)])
            self.domains[1].fit(renders.embeddings[rows["train"]])

    def _learns_from_renders(self) -> bool:
        wanted = self.config.supervise_pairs
        if wanted is None:
            return not (self.config.supervise_portraits and self._portraits("train").any())
        return wanted

    def _supervision(self) -> list[LabelledFeatures]:
        """Renders first, then portraits; what the configuration leaves out is missing."""
        portraits = self.people.get("train") if self.config.supervise_portraits else None
        pairs = self.renders["train"] if self._learns_from_renders() and len(self.renders["train"]) else None
        self.pair_share = 0.0 if pairs is None else 1.0 if portraits is None else self.config.pair_share
        return [known for known in (pairs, portraits) if known is not None]

    def _loss(self, imitator: Imitator, identity: IdentityModel, parser: FaceParser) -> CompositeLoss:
        config, schema = self.config, self.schema
        spread = None
        if self.supervision:
            spread = self.supervision[-1].x[:, : schema.n_sliders].std(0)
        norm = config.supervised_norm if self.supervision else "l2"
        imitator = imitator.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return CompositeLoss(
            imitator, identity, self.identity_imitator, parser, torch.from_numpy(schema.neutral()),
            LossWeights(**config.terms.model_dump()), config.content_size,
            SupervisedLoss(schema.n_sliders, schema.group_sizes, norm, config.group_weight, spread),
            IdentityLoss(*self.domains) if config.align_domains else IdentityLoss(),
        )  # fmt: skip

    def _start_linear(self) -> list[float]:
        """The linear path becomes the ridge regression of what is known; gives the strength of the shrinkage for each
        coefficient of the prior: what leaves little trace in the features is shrunk more, to the mean if need be.

        Portraits where there are any: renders of another world would bend the line.
        """
        if not self.supervision or self.encoder.prior is None:
            raise ValueError("linear_start needs the facial prior and supervision: set `prior` and a `supervise_...`")
        known = self.supervision[-1]
        targets = self.encoder.prior.cpu().to_coefficients(known.x[:, : self.schema.n_sliders])
        ridge = fit_ridge(known.features[:, : self.encoder.features.width], targets, SHRINKAGE)
        self.encoder.start_linear(ridge.weight.float(), ridge.bias.float())
        return ridge.strengths.tolist()

    def batch_at(self, k: int) -> Batch:
        """Batch k; all batches of one step take the same terms, however many devices and batches make it."""
        step = k // self.batches_a_step
        batch: dict[str, Tensor] = {"step": torch.tensor(step)}
        if self.config.uses_photos and (not self.supervision or self.schedule.uses_photos(step)):
            batch |= self._photo_batch(step, k)
        if self.supervision:
            batch |= self._supervised_batch(k)
        if self.config.terms.recognised:
            batch |= self._recognised_batch(k)
        if self.corrections is not None and len(self.corrections.train):
            batch |= self._corrected_batch(k, self.corrections.train)
        return batch

    def _corrected_batch(self, k: int, known: LabelledFeatures) -> dict[str, Tensor]:
        assert self.config.corrections is not None
        size, seed = self.config.corrections.batch, self.config.training.seed
        index = torch.from_numpy(rows_for(k, size, len(known), seed + SEED_OF_CORRECTED))
        return {"corrected_features": known.features[index], "corrected_x": known.x[index]}

    def _photo_batch(self, step: int, k: int) -> dict[str, Tensor]:
        config, schedule = self.config, self.schedule
        sides = schedule.includes_side_views(step) or not len(self.frontal_rows)
        rows = self.train_rows if sides else self.frontal_rows
        turn = schedule.turn(step) if self.supervision else step
        turn = turn * self.batches_a_step + k % self.batches_a_step
        at = rows[rows_for(turn, config.training.batch, len(rows), config.training.seed + sides)]
        index = torch.from_numpy(at)
        batch = {"embeddings": self.embeddings[index], "features": self.features[index], "frontal": self.frontal[index]}
        if config.terms.content and schedule.has_content(step):
            batch["content"], batch["probabilities"] = self.content(at)
        return batch

    def _supervised_batch(self, k: int) -> dict[str, Tensor]:
        config, seed = self.config, self.config.training.seed
        sizes = [config.supervised_batch]
        if len(self.supervision) == 2:
            renders = round(config.supervised_batch * self.pair_share)
            sizes = [renders, config.supervised_batch - renders]
        features, x = [], []
        for number, (known, size) in enumerate(zip(self.supervision, sizes, strict=True), start=1):
            if size:
                index = torch.from_numpy(rows_for(k, size, len(known), seed + number))
                features.append(known.features[index])
                x.append(known.x[index])
        return {"known_features": torch.cat(features), "known_x": torch.cat(x)}

    def _recognised_batch(self, k: int) -> dict[str, Tensor]:
        """Any faces of the training, portraits and real photos alike: nothing has to be known of them."""
        size, seed = self.config.supervised_batch, self.config.training.seed
        rows = self.train_rows[rows_for(k, size, len(self.train_rows), seed + SEED_OF_RECOGNISED)]
        index = torch.from_numpy(rows)
        return {"seen_features": self.features[index], "seen_embeddings": self.embeddings[index]}

    def loss_of(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        step, known, photos, seen = int(batch["step"]), None, None, None
        if "known_x" in batch:
            known = (self._noisy(batch["known_features"]), batch["known_x"])
        if "seen_features" in batch:
            seen = (self._noisy(batch["seen_features"]), batch["seen_embeddings"])
        if "features" in batch:
            content, probabilities = (batch.get(name) for name in ("content", "probabilities"))
            photos = Photos(
                batch["embeddings"], batch["features"], None if content is None else content.float(),
                None if probabilities is None else probabilities.float(), batch["frontal"],
            )  # fmt: skip
        temperature = self.schedule.temperature_at(step, self.training.steps)
        total, terms = self.loss(self.encoder, photos, known, seen, self.schedule.warmup(step), temperature)
        if self.config.corrections is None or "corrected_x" not in batch:
            return total, terms
        features, supervised = self._noisy(batch["corrected_features"]), self.loss.supervised_loss
        assert supervised is not None, "the stage gives the loss this term, whatever is supervised"
        corrected = corrected_loss(self.encoder, supervised, features, batch["corrected_x"])
        return total + self.config.corrections.weight * corrected, terms | {"corrected": corrected.detach()}

    def _noisy(self, features: Tensor) -> Tensor:
        return features + torch.randn_like(features) * self.config.feature_noise

    @torch.no_grad()
    def evaluate(self, step: int) -> dict[str, float]:
        """Recovery of known parameters on people and renders that were held out."""
        return self._recovery(lambda known: self.encoder(known.features.to(self.context.device)))

    def baseline(self) -> dict[str, float]:
        """The recovery of the average face: whoever is shown, it says the neutral parameters."""
        neutral = torch.from_numpy(self.schema.neutral()).to(self.context.device)
        return self._recovery(lambda known: neutral.expand_as(known.x), "_average_face")

    def _recovery(self, answer: Callable[[LabelledFeatures], Tensor], suffix: str = "") -> dict[str, float]:
        values: dict[str, float] = {}
        for name, known in (("portraits", self.people.get("val")), ("pairs", self.renders["val"])):
            if known is not None and len(known) > 2:
                x = answer(known)
                found = recovery(x.cpu(), known.x, self.schema.n_sliders, self.schema.group_sizes)
                if name == "portraits":
                    found["similarity"] = self._similarity(x, self.seen)
                values |= {f"{name}_{key}{suffix}": value for key, value in found.items()}
        return values

    @torch.no_grad()
    def _corrected(self) -> dict[str, float]:
        """How far the sliders are from what held-out players left, and how many rows there were to learn from."""
        if self.corrections is None:
            return {}
        known, n = self.corrections.held_out, self.schema.n_sliders
        counts = {"corrections": len(self.corrections.train), "corrections_left_out": self.corrections.left_out}
        found = {name: float(count) for name, count in counts.items()}
        if len(known):
            sliders = sliders_of(self.encoder, known.features.to(self.context.device)).cpu()
            found["corrected_slider_l1"] = float((sliders - known.x[:, :n]).abs().mean())
        return found

    def _similarity(self, x: Tensor, seen: Tensor) -> float:
        """Mean cosine of photos' embeddings [N, D] with those that renders of answers [N, width] would have, by the
        identity imitator."""
        expected = self.loss.identity_imitator(x).cpu()
        return float((expected * seen).sum(1).mean())

    def run(self, out: Path) -> dict[str, float]:
        config = self.config
        release_memory()  # of the rows that choices were fitted to
        if self.start is None:
            shrinkage, started = self._start_linear() if config.linear_start else None, {}
        else:
            shrinkage = read_meta(self.start).get("shrinkage")
            started = {"start": fingerprint(self.start / WEIGHTS.names[0])["sha256"]}
        steps = train("encoder", self.encoder, self.batch_at, self.loss_of, self.training, self.context, self.evaluate)
        self.encoder.eval()
        final = self.evaluate(steps)
        meta = {
            "model": "attention" if config.attention else "mlp",
            "character": self.schema.name,
            "architecture": self.encoder.architecture.document(),
            "face_size": config.face_size,
            "shrinkage": shrinkage,
            "steps": steps,
            "validation": final,
            **started,
        }
        save_model(out, self.encoder, meta)
        self._sheet(out)
        return final | self.baseline() | self._corrected()

    @torch.no_grad()
    def _sheet(self, out: Path) -> None:
        """Validation people, real photos and then portraits, each beside the drawing of its prediction."""
        portraits = (self.faces["source"] == "portraits").to_numpy()
        choosing = (self.faces["split"] == CHOSEN_BY).to_numpy()
        real = np.flatnonzero(~portraits & choosing)[:12]
        held = np.flatnonzero(portraits & choosing)[: 32 - len(real)]
        rows = np.concatenate([real, held])
        if not len(rows):
            return
        x = self.encoder(self.features[torch.from_numpy(rows)].to(self.context.device))
        imitator: Imitator = self.loss.imitator
        drawn = imitator(harden(x, self.schema.n_sliders, self.schema.group_sizes)).cpu()
        tiles = []
        for row, drawing in zip(rows, drawn, strict=True):
            tiles += [images.decode(self.faces["image"].iloc[row]), to_picture(drawing)]
        write_sheet(out / "encoder.png", tiles, 8, 128)


def _continued(last: Encoder, new: Encoder) -> tuple[Encoder, bool]:
    """An earlier encoder, to be trained on, with the networks of now that it looks through; and whether these are the
    same, so that what was fitted to them holds. What is read of choices is fitted anew in any case.
    """
    last.train(new.training)
    for parameter, now in zip(last.parameters(), new.parameters(), strict=True):
        parameter.requires_grad_(now.requires_grad)
    if last.appearance is None or new.appearance is None:
        return last, False
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (last.appearance.parser, new.appearance.parser),
        (last.appearance.attributes, new.appearance.attributes),
    ]
    same = all(
        torch.equal(value, now.state_dict()[name]) for then, now in pairs for name, value in then.state_dict().items()
    )
    for then, now in pairs:
        then.load_state_dict(now.state_dict())
    return last, same


SHRINKAGE = (100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0, 100_000.0)
"""Strengths among which the ridge regression chooses by leave-one-out error."""

SEED_OF_CORRECTED = 20
SEED_OF_RECOGNISED = 10
"""Apart from the seeds of supervised rows, which are 1 and 2 more than the training's."""

RENDERS_LOOKED_AT = 500
"""Renders of each split that are embedded where none is learnt from."""


def _where(mask: object) -> Tensor:
    return torch.from_numpy(np.flatnonzero(np.asarray(mask)))


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
