"""What players changed of their characters, as a table: parameters before and after, and what an encoder read.

The rows come from the service, of players who agreed; there is no photo in them. What the encoder read is numbers in
that encoder's own directions. `readers/<md5 of the encoder>.safetensors` has these directions, so that another encoder
on the same recogniser can read them (`stages.training.corrections`). No part of `likeness run`: `likeness corrections`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from safetensors import safe_open

from engine.schema import Schema, SchemaError
from stages.context import Context
from stages.data import tables
from stages.data.reads import CHOSEN_BY, TRAINED_ON
from stages.evaluation import corrections as report

VERSION = "1"
INPUTS = ("character",)
GIVEN = "given"
"""The input that is no asset: `rows.jsonl`, a row a line as the service keeps it (`serving.corrections.Correction`),
and `readers/`."""
FILE, ASIDE, READERS = "corrections.parquet", "set_aside.parquet", "readers"
SOURCE = "players"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("player", pa.string()),
        ("split", pa.string()),
        ("consent", pa.bool_()),
        ("day", pa.string()),
        ("version", pa.int32()),
        ("run", pa.string()),
        ("encoder", pa.string()),
        ("recogniser", pa.string()),
        ("refined", pa.string()),
        ("features", pa.list_(pa.float16())),
        ("before", pa.list_(pa.float32())),
        ("before_discrete", pa.list_(pa.int16())),
        ("parameters", pa.list_(pa.float32())),
        ("discrete", pa.list_(pa.int16())),
    ]
)
"""`parameters` and `discrete` are what the player left, in the schema's order; `recogniser` is the md5 of its weights;
`player` is null where the game gave no id."""
LARGEST = 1e4
"""Features are in units of their own spread; what is larger was never read of a face."""


class CorrectionsConfig(BaseModel, frozen=True, extra="forbid"):
    """Who is held out."""

    held_out: float = Field(default=0.2, ge=0, le=1, description="share of players whose rows only score")


Config = CorrectionsConfig


class Refused(Exception):
    """A row that is set aside; the message is the reason."""


def run(inputs: Mapping[str, Path], config: CorrectionsConfig, out: Path, context: Context) -> dict[str, float]:
    """Write the table, what was set aside and why, the readers, and the report of mean corrections. Returns counts."""
    maker = _RowMaker(inputs["character"], inputs[GIVEN] / READERS, config)
    rows, aside = list[dict[str, Any]](), dict[str, str]()
    for given in _given(inputs[GIVEN] / "rows.jsonl"):
        try:
            if given["id"] in maker.seen:
                raise Refused("there is a row of this character already")
            rows.append(maker.row(given))
            maker.seen.add(given["id"])
        except Refused as reason:
            aside.setdefault(str(given["id"]), str(reason))
    rows.sort(key=lambda row: row["id"])
    tables.write(out / FILE, rows, SCHEMA)
    refused = [{"id": id, "source": SOURCE, "reason": why} for id, why in sorted(aside.items())]
    tables.write(out / ASIDE, refused, tables.QUARANTINE_SCHEMA)
    (out / READERS).mkdir()
    for encoder in sorted({row["encoder"] for row in rows}):
        shutil.copyfile(maker.readers / f"{encoder}.safetensors", out / READERS / f"{encoder}.safetensors")
    found = report.of_table(out / FILE, maker.schema)
    (out / "report.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "report.html").write_text(report.html(found))
    held = sum(row["split"] != TRAINED_ON for row in rows)
    return {"rows": len(rows), "held_out": held, "set_aside": len(refused), "players": found["players"]}


def _given(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text().splitlines():
        yield json.loads(line)


class _RowMaker:
    """Rows of one character creator."""

    def __init__(self, character: Path, readers: Path, config: CorrectionsConfig) -> None:
        self.schema, self.schema_md5s = Schema.load(character), Schema.md5s(character)
        self.readers, self.config = readers, config
        self.widths = {path.stem: _width(path) for path in readers.glob("*.safetensors")}
        self.seen: set[str] = set()

    def row(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Refused."""
        if why := given.get("unreadable"):
            raise Refused(why)
        if given["consent"] is not True:
            raise Refused("the player did not agree that it is kept")
        if given["character"] != self.schema.name or given["schema_md5"] not in self.schema_md5s:
            raise Refused("of another character creator, or of one before it changed")
        if given["encoder"] not in self.widths:
            raise Refused(f"nobody knows the encoder of version {given['version']['version']} any more")
        features = _features(given["features"], self.widths[given["encoder"]])
        before, after = (self._values(given, name) for name in ("before", "after"))
        player = given["player"] or None
        return {
            "id": given["id"],
            "player": player,
            "split": split_of(player or given["id"], self.config.held_out),
            "consent": True,
            "day": given["day"],
            "version": given["version"]["version"],
            "run": given["version"]["run"],
            "encoder": given["encoder"],
            "recogniser": given["recogniser"],
            "refined": given["refined"],
            "features": list(features),
            "before": before[0].tolist(),
            "before_discrete": before[1].tolist(),
            "parameters": after[0].tolist(),
            "discrete": after[1].tolist(),
        }

    def _values(self, given: Mapping[str, Any], name: str) -> tuple[NDArray, NDArray]:
        """Parameters and choices. Raises Refused."""
        values = given[name]
        try:
            discrete = {group: {"choice": choice} for group, choice in values["discrete"].items()}
            x = self.schema.from_document(values["parameters"], discrete)
        except SchemaError as error:
            raise Refused(f"{name}: {error}") from error
        parameters, choices = self.schema.choose(x[None])
        return parameters[0], choices[0]


def _width(reader: Path) -> int:
    """Numbers that an encoder reads of a face's identity."""
    with safe_open(reader, "np") as tensors:
        names = tensors.keys()
        of_map = tensors.get_slice("directions.map_basis").get_shape()[-1] if "directions.map_basis" in names else 0
        return tensors.get_slice("mean").get_shape()[0] + of_map


def _features(text: str, width: int) -> NDArray[np.float16]:
    """Raises Refused."""
    try:
        features = np.frombuffer(base64.b64decode(text, validate=True), "<f2")
    except ValueError as error:
        raise Refused(f"what the encoder read is damaged: {error}") from error
    if len(features) != width:
        raise Refused(f"{len(features)} numbers, where the encoder reads {width}")
    if not (np.abs(features.astype(np.float32)) < LARGEST).all():
        raise Refused("what the encoder read is not finite, or larger than it can be of a face")
    return features


def split_of(person: str, held_out: float) -> str:
    """Of all rows of a player: the same in every version of the table, so that who scores has never trained."""
    place = int.from_bytes(hashlib.sha256(f"split of {person}".encode()).digest()[:8], "big") / 2**64
    return CHOSEN_BY if place < held_out else TRAINED_ON
