"""What a stage reads of an input, where it does not read all of it.

A stage's READS names a reader for each such input. The stage takes its data through the reader, and the reader's digest
is of just these data: two versions of an input with one digest give the same result, so that nothing has to be trained
again because a photo came that is only scored, or because people call a slider by another name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from engine.files import digest_of
from engine.schema import DRAWING, SCHEMA_FILE, Schema
from stages.data import source_files, tables

TRAINED_ON, CHOSEN_BY = "train", "val"
"""The splits whose rows a training learns from, and those that choose between its weights; the others only score."""


class Reader(Protocol):
    """A part of an input's folder."""

    def digest(self, folder: Path) -> str:
        """The same for two folders that do not differ in this part."""
        ...


@dataclass(frozen=True)
class Rows:
    """Columns of a table, and the rows of some splits, in the table's order."""

    file: str
    columns: tuple[str, ...]
    splits: tuple[str, ...] = ()
    """None named: all rows."""
    labelled: bool = False
    """Only rows with a label map."""
    undecided: bool = False
    """Without sets that have an official protocol, in verification_pairs.parquet: they decide nothing."""

    def read(self, folder: Path) -> pd.DataFrame:
        """The rows in memory; lists are numpy arrays, missing values None."""
        # Batch by batch, or there would be two of each picture.
        parts = [batch.to_pandas() for batch in self._batches(folder)]
        pa.default_memory_pool().release_unused()
        return pd.concat([self._schema(folder).empty_table().to_pandas(), *parts], ignore_index=True)

    def digest(self, folder: Path) -> str:
        digest = hashlib.blake2b(json.dumps(astuple(self)).encode(), digest_size=16)
        for batch in self._batches(folder):
            for row in zip(*(_encoded(column) for column in batch.columns), strict=True):
                for value in row:
                    digest.update(len(value).to_bytes(8, "little") + value)
        return digest.hexdigest()

    def _schema(self, folder: Path) -> pa.Schema:
        known = pq.read_schema(folder / self.file)
        return pa.schema([known.field(name) for name in self.columns])

    def _batches(self, folder: Path) -> Iterator[pa.RecordBatch]:
        decided = self._with_protocol(folder) if self.undecided else []
        for batch in tables.batches(folder / self.file, self.columns):
            keep = np.ones(len(batch), bool)
            if self.splits:
                keep &= np.array([split in self.splits for split in batch["split"].to_pylist()], bool)
            if self.labelled:
                keep &= batch["labels"].is_valid().to_numpy(zero_copy_only=False)
            if decided:
                keep &= np.array([source not in decided for source in batch["source"].to_pylist()], bool)
            yield batch.filter(pa.array(keep)).select(list(self.columns))

    @staticmethod
    def _with_protocol(folder: Path) -> list[str]:
        return pq.read_table(folder / "verification_pairs.parquet", columns=["source"])["source"].unique().to_pylist()


def _encoded(column: pa.Array) -> Iterator[bytes]:
    """Each value as bytes that no other value of its type has."""
    plain = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    for value in column.to_pylist():
        yield b"-" if value is None else b"+" + (value if plain else json.dumps(value).encode())


@dataclass(frozen=True)
class Files:
    """Some files, byte by byte."""

    names: tuple[str, ...]

    def digest(self, folder: Path) -> str:
        return digest_of((name, (folder / name).read_bytes()) for name in self.names)


@dataclass(frozen=True)
class Appearance:
    """All that a character is drawn by: its files, and its schema without the words for people."""

    def digest(self, folder: Path) -> str:
        files = source_files.counted(folder, source_files.anything, without=[folder / SCHEMA_FILE])
        schema = json.dumps(Schema.load(folder).without_words(), sort_keys=True).encode()
        contents = ((path.relative_to(folder).as_posix(), path.read_bytes()) for path in files)
        return digest_of([(SCHEMA_FILE, schema), *contents])


@dataclass(frozen=True)
class ParameterSpace:
    """What a character's parameters are, but not how it is drawn or what people call them."""

    def digest(self, folder: Path) -> str:
        schema = Schema.load(folder).without_words()
        meaning = {name: value for name, value in schema.items() if name not in DRAWING}
        return digest_of([(SCHEMA_FILE, json.dumps(meaning, sort_keys=True).encode())])


WEIGHTS = Files(("model.safetensors", "meta.json"))
"""A trained network, without the pictures beside it."""


def training_faces(columns: Sequence[str], **options: Any) -> Rows:
    """Rows of faces.parquet that a training may see: people who only score take no part in it."""
    return Rows("faces.parquet", tuple(columns), (TRAINED_ON, CHOSEN_BY), **options)
