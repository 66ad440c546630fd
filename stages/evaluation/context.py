"""What the scorecard's sections measure with: data and models loaded once, and what draws the character.

Scores of likeness belong to the engine's render. Where a character has only exported pairs, the imitator draws in its
place, and the scores say so.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from engine.character import Character
from engine.schema import Schema
from models.encoder import Encoder
from models.identity import IdentityModel
from models.images import grid, resize
from models.imitator import Imitator
from models.inference import optimize_for_inference
from models.parsing import FaceParser
from models.predictor import Predictor
from models.search import ICCV_2019
from stages.context import Context
from stages.data import tables
from stages.data.dataset import ImageDataset, in_batches
from stages.data.people_splits import PORTRAITS, Person, named
from stages.data.pictures import IMITATOR_MARK, marked
from stages.data.reads import Rows
from stages.data.rendering import AlignedEngine, RenderBatch
from stages.encoder import PORTRAITS_CHARACTER
from stages.evaluation.verifier import IndependentVerifier

T = TypeVar("T")

PAIRS = Rows("pairs.parquet", ("id", "split", "image", "labels", "parameters", "discrete"), ("test",))

FACE_SIZE = 256
BATCH = 8
"""Faces that are read at once: the maps of 32 take most of a gigabyte."""


class ScorecardConfig(BaseModel, frozen=True, extra="forbid"):
    """How much is scored."""

    people: int = Field(default=1000, ge=2, description="held-out people at the most")
    judged: int = Field(default=1000, ge=2, description="of these, how many the judge compares")
    searched: int = Field(default=200, ge=0, description="of these, how many are also searched for by gradient")
    search_steps: int = Field(default=ICCV_2019.steps, ge=1, description="of that search; the default is ICCV 2019's")
    photos: int = Field(default=1000, ge=0, description="real photos at the most, whole people")
    validation: int = Field(default=300, ge=0, description="validation people that parameter vectors are normalised by")
    degraded: int = Field(default=60, ge=1, description="held-out people whose portraits are made worse")
    degraded_judged: int = Field(default=16, ge=1, description="of these, how many the judge compares")
    pairs: int = Field(default=1000, ge=1, description="unseen renders at the most")
    fitted: int = Field(default=16, ge=1, description="label maps that the bound of the parser is measured on")
    timed: int = Field(default=32, ge=1, description="photos that the speed is measured on")
    visible: float = Field(
        default=0.004,
        description="a slider is visible if, from 0 to 1, it changes the head in the frontal render by this mean share "
        "of full scale",
    )


@dataclass(frozen=True)
class Networks:
    """What is scored. Another version's networks run that version's own code: they answer the same calls."""

    identity: IdentityModel
    encoder: Encoder
    imitator: Imitator
    parser: FaceParser

    @classmethod
    def load(cls, inputs: Mapping[str, Path], device: str) -> Self:
        """Those that the stages left."""
        return cls(
            IdentityModel.load(inputs["identity_model"]).to(device),
            Encoder.load(inputs["encoder"]).to(device),
            Imitator.load(inputs["imitator"]).to(device),
            FaceParser.load(inputs["parsing_model"]).to(device),
        )


@dataclass(frozen=True)
class EvaluationContext:
    """Everything that is scored, loaded once."""

    schema: Schema
    engine: AlignedEngine | None
    faces: pd.DataFrame  # held-out synthetic portraits
    photos: pd.DataFrame  # real photos of people who never trained
    validation: pd.DataFrame  # portraits of validation people
    validation_photos: pd.DataFrame  # real photos of validation people
    labels: pd.DataFrame  # what people say of real photos, tables.APPEARANCE_LABELS_SCHEMA
    pairs: pd.DataFrame  # unseen renders
    identity: IdentityModel
    encoder: Encoder
    imitator: Imitator
    parser: FaceParser
    x: NDArray[np.float32]  # [N, width] the encoder's answers to `faces`
    config: ScorecardConfig
    inputs: Mapping[str, Path]
    context: Context
    known: dict[str, Any] = field(default_factory=dict)
    """What is the same for all encoders that are scored on these people; a copy with other networks shares it."""

    @classmethod
    def load(
        cls, inputs: Mapping[str, Path], config: ScorecardConfig, context: Context, networks: Networks | None = None
    ) -> "EvaluationContext":
        """`networks`: those in `inputs` unless given.

        Raises CharacterError or SchemaError when the character's folder cannot be used.
        """
        tables_of = _Faces(inputs["aligned_faces"])
        test = tables_of.some("test", True, config.people)
        character = Character.load(inputs["character"])
        networks = networks or Networks.load(inputs, context.device)
        return cls(
            schema=character.schema,
            engine=AlignedEngine.open(character, inputs["embedded"], context.device),
            faces=test,
            photos=tables_of.photos(config.photos),
            validation=tables_of.some("val", True, config.validation),
            validation_photos=tables_of.some("val", False, config.validation),
            labels=tables_of.labels(),
            pairs=PAIRS.read(inputs["rendered_pairs"]).head(config.pairs),
            **vars(networks),
            x=predict(networks.identity, networks.encoder, test["image"], context.device),
            config=config,
            inputs=inputs,
            context=context,
        )

    def with_networks(self, networks: Networks, inputs: Mapping[str, Path]) -> Self:
        """The same people, engine and judge with other networks, which come from these inputs."""
        x = predict(networks.identity, networks.encoder, self.faces["image"], self.context.device)
        return replace(self, **vars(networks), x=x, inputs=inputs)

    def without(self, people: Collection[Person]) -> Self:
        """The same without some people; itself where none of them is scored."""

        def others(table: pd.DataFrame) -> NDArray[np.bool_]:
            pairs = zip(table["source"], table["person"], strict=True)
            return np.array([named(str(source), str(person)) not in people for source, person in pairs], bool)

        faces, photos = others(self.faces), others(self.photos)
        if faces.all() and photos.all():
            return self
        return replace(
            self,
            faces=self.faces[faces].reset_index(drop=True),
            photos=self.photos[photos].reset_index(drop=True),
            x=self.x[faces],
            known={what: found for what, found in self.known.items() if what == "judge"},
        )

    def once(self, what: str, compute: Callable[[], T]) -> T:
        """A result that depends on no network, computed when it is first asked for."""
        if what not in self.known:
            self.known[what] = compute()
        return self.known[what]

    @property
    def judge(self) -> IndependentVerifier:
        """The recogniser that takes no part in training."""
        return self.once("judge", lambda: IndependentVerifier(self.inputs["embedded"] / "judge"))

    def predict(self, table: pd.DataFrame, size: int = FACE_SIZE) -> NDArray[np.float32]:
        """Parameter vectors [N, width] of the aligned faces of a table, looked at in `size` pixels."""
        return predict(self.identity, self.encoder, table["image"], self.context.device, size)

    def predict_together(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """The same [N, width], but everybody's photos have one answer: that to the mean of what was read of each."""
        reader, pictures = _reader(self.identity), ImageDataset(table["image"].tolist(), FACE_SIZE)
        device = self.context.device
        features = in_batches(lambda faces: self.encoder.look(reader, faces)[1], pictures, device, BATCH).numpy()
        _, person = np.unique(table["person"].to_numpy().astype(str), return_inverse=True)
        means = np.stack([features[person == number].mean(axis=0) for number in range(person.max() + 1)])
        with torch.no_grad():
            return self.encoder(torch.from_numpy(means).to(device)).cpu().numpy()[person]

    def embed(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """Identity embeddings [N, D] of the aligned faces of a table."""
        return embed(self.identity, table["image"], self.context.device)

    def predictor(self) -> Predictor:
        """From pictures to parameters, landmarks and alignment included; a context manager."""
        landmarks = self.inputs["embedded"] / "landmarks" / "face_landmarker.task"
        return Predictor(landmarks, self.identity, self.encoder, device=self.context.device)

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """Identity embeddings [N, D] of `faces`."""
        return self.embed(self.faces)

    @cached_property
    def photo_x(self) -> NDArray[np.float32]:
        """Parameter vectors [N, width] of `photos`."""
        return self.predict(self.photos) if len(self.photos) else np.zeros((0, self.schema.width), np.float32)

    @cached_property
    def photo_renders(self) -> NDArray[np.uint8]:
        """Their pictures [N, FACE_SIZE, FACE_SIZE, 3]."""
        return self.draw(self.photo_x)

    @property
    def portraits_are_its_own(self) -> bool:
        """Whether the portraits show this character, so that their parameters are the truth about its own."""
        return self.schema.name == PORTRAITS_CHARACTER

    @property
    def no_engine(self) -> str:
        """Why a score that needs the engine's render is null."""
        return f"{self.schema.name} has only exported pairs: this score needs its engine"

    def draw(self, x: NDArray[np.float32], size: int = FACE_SIZE) -> NDArray[np.uint8]:
        """Pictures [N, size, size, 3] of parameter vectors [N, width]: the engine's, or the imitator's."""
        return self.drawn(*self.schema.choose(x), size).image

    def drawn(self, sliders: NDArray[np.float32], choices: NDArray[np.int16], size: int) -> RenderBatch:
        """The same of sliders [N, S] and choice numbers [N, G], with label maps where the engine has them."""
        if self.engine is not None:
            return self.engine.draw(sliders, choices, size)
        images = self.imitated(self.schema.pack(sliders, choices))
        return RenderBatch(np.stack([resize(as_bytes(image), size) for image in images]), None)

    def imitated(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The imitator's pictures [N, h, h, 3] in [0, 1], at its own size."""
        device = self.context.device
        with torch.no_grad():
            rows = range(0, len(x), BATCH)
            batches = [self.imitator(torch.from_numpy(x[k : k + BATCH]).to(device)) for k in rows]
            return torch.cat(batches).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()

    @cached_property
    def average(self) -> NDArray[np.uint8]:
        """The average face's picture [FACE_SIZE, FACE_SIZE, 3]."""
        return self.draw(self.schema.neutral()[None])[0]

    def side_by_side(self, photos: list[NDArray[np.uint8]], renders: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Photo and render in turn; what the imitator drew in the engine's place is marked."""
        mark = IMITATOR_MARK if self.engine is None else ""
        pairs = [
            image
            for photo, render in zip(photos, renders, strict=True)
            for image in (resize(photo, FACE_SIZE), marked(resize(render, FACE_SIZE), mark))
        ]
        return grid(pairs, columns=8)


class _Faces:
    """Rows of the aligned faces; only what is asked for is read, because a real set can be far larger than memory."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "faces.parquet"
        self.known = tables.read(self.path, ["id", "source", "person", "split"])
        pairs = folder / "verification_pairs.parquet"
        columns = ["first", "second"]
        table = tables.read(pairs, columns) if pairs.is_file() else pd.DataFrame(columns=columns)
        self.in_protocols = {*table["first"], *table["second"]}

    def some(self, split: str, portraits: bool, people: int) -> pd.DataFrame:
        """Portraits, or real photos, of the first people of a split."""
        of = self.known[(self.known["split"] == split) & ((self.known["source"] == PORTRAITS) == portraits)]
        return self._read(of[of["person"].isin(sorted(of["person"].unique())[:people])])

    def photos(self, most: int) -> pd.DataFrame:
        """Real test photos, person by person, but for those that a verification protocol uses."""
        of = self.known[(self.known["split"] == "test") & (self.known["source"] != PORTRAITS)]
        of = of[~of["id"].isin(self.in_protocols)].sort_values(["source", "person", "id"])
        sizes = of.groupby(["source", "person"], sort=True)["id"].transform("size").to_numpy()
        ends = of.groupby(["source", "person"], sort=True).ngroup().to_numpy()
        kept = np.cumsum(sizes * ~pd.Series(ends).duplicated().to_numpy()) <= most
        return self._read(of[kept])

    def labels(self) -> pd.DataFrame:
        """What people say of real photos."""
        file = self.path.with_name("appearance_labels.parquet")
        return tables.read(file) if file.is_file() else pd.DataFrame(columns=tables.APPEARANCE_LABELS_SCHEMA.names)

    def _read(self, rows: pd.DataFrame) -> pd.DataFrame:
        return faces_of(self.path, rows["id"].tolist())


def faces_of(path: Path, ids: Sequence[str]) -> pd.DataFrame:
    """The rows of an aligned table with these ids that are there, sorted by id."""
    wanted = set(ids)
    # Batch by batch: a scan reads far ahead, and most of what it reads are pictures that nobody asked for.
    parts = [
        batch.filter(pa.array([name in wanted for name in batch["id"].to_pylist()], pa.bool_()))
        for batch in tables.batches(path)
    ]
    found = pa.Table.from_batches(parts, pq.read_schema(path)).to_pandas()
    return found.sort_values("id").reset_index(drop=True)


def as_bytes(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture in [0, 1] as uint8."""
    return (image * 255 + 0.5).astype(np.uint8)


def embed(identity: IdentityModel, images: pd.Series, device: str) -> NDArray[np.float32]:
    """Identity embeddings [N, D] of aligned faces."""
    return in_batches(_reader(identity), ImageDataset(images.tolist(), FACE_SIZE), device, BATCH).numpy()


def predict(
    identity: IdentityModel, encoder: Encoder, images: pd.Series, device: str, size: int = FACE_SIZE
) -> NDArray[np.float32]:
    """Parameter vectors [N, width] of aligned faces, looked at in `size` pixels."""
    reader, pictures = _reader(identity), ImageDataset(images.tolist(), size)
    return in_batches(lambda faces: encoder.read(reader, faces), pictures, device, BATCH).numpy()


def _reader(identity: IdentityModel) -> IdentityModel:
    """The same, faster, without gradients, made once; another version's model stays as it is, for its code is
    another's.
    """
    if not isinstance(identity, IdentityModel):
        return identity
    if identity not in _READERS:
        _READERS[identity] = optimize_for_inference(identity)
    return _READERS[identity]


_READERS = WeakKeyDictionary[IdentityModel, IdentityModel]()
