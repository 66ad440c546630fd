"""Tables that every expectation holds for, small, with real pictures; a test breaks one thing in them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from engine.schema import Schema
from models import images
from orchestration.checks.context import CheckContext
from orchestration.checks.production import NoReference
from orchestration.config.catalog import COLLECTED, STAGES, Stage
from orchestration.config.check_rules import Rules
from orchestration.config.settings import REPOSITORY
from stages import portraits, rendered_pairs
from stages.data import tables

SIZE = 32
CHARACTER = REPOSITORY / "characters" / "embedded"
SCHEMA = Schema.load(CHARACTER)
Row = dict[str, Any]


def stage_named(name: str) -> Stage:
    return next(entry for entry in (*STAGES, *COLLECTED) if entry.name == name)


def picture(level: int = 128, size: int = SIZE) -> bytes:
    return images.encode_jpeg(np.full((size, size, 3), level, np.uint8))


def label_map(highest: int = 10, face: bool = True, size: int = SIZE) -> bytes:
    labels = np.zeros((size, size), np.uint8)
    labels[: size // 2] = 1 if face else 0
    labels[-1, -1] = highest
    return images.encode_png(labels)


def _row(number: int) -> Row:
    splits = ("train", "val", "test")
    return {
        "id": f"portraits/{number}",
        "person": str(number),
        "split": splits[number % 3],
        "image": picture(),
        "labels": label_map(),
        "parameters": SCHEMA.neutral_sliders().tolist(),
        "discrete": SCHEMA.neutral_discrete().tolist(),
        "landmarks": [0.5] * 136,
        "yaw": 1.0,
        "pitch": 2.0,
        "roll": 0.0,
    }


def portrait(number: int, **values: Any) -> Row:
    numbers = dict.fromkeys(("distance", "lens", "exposure", "mireds", "gain", "blur", "noise", "jpeg"), 1.0)
    words = dict.fromkeys(("light", "expression", "occluder"), "none")
    return _row(number) | numbers | words | {"occluded": 0.0} | values


def face(number: int, **values: Any) -> Row:
    seen = {"source": "portraits", "sharpness": 50.0, "brightness": 0.5, "n_faces": 1}
    return _row(number) | seen | values


def pair(number: int, **values: Any) -> Row:
    row = _row(number)
    return {name: row[name] for name in rendered_pairs.SCHEMA.names} | values


def verification_pair(first: str, second: str, **values: Any) -> Row:
    return {"source": "lfw", "fold": 0, "first": first, "second": second, "same": True} | values


def refused(number: int, **values: Any) -> Row:
    return {"id": f"q{number}", "source": "photos", "reason": "no face"} | values


SCHEMAS = {
    "portraits.parquet": portraits.SCHEMA,
    "faces.parquet": tables.FACES_SCHEMA,
    "pairs.parquet": rendered_pairs.SCHEMA,
    "quarantine.parquet": tables.QUARANTINE_SCHEMA,
    "verification_pairs.parquet": tables.VERIFICATION_PAIRS_SCHEMA,
}
MAKERS: dict[str, tuple[str, Callable[..., Row]]] = {
    "portraits": ("portraits.parquet", portrait),
    "aligned_faces": ("faces.parquet", face),
    "rendered_pairs": ("pairs.parquet", pair),
}


def write(folder: Path, asset: str, rows: Sequence[Row], **others: Sequence[Row]) -> Path:
    """The asset's main table, and every other that it has, by its file's stem; empty where none is given."""
    folder.mkdir(parents=True, exist_ok=True)
    file, _ = MAKERS[asset]
    beside = {"aligned_faces": ("quarantine", "verification_pairs"), "rendered_pairs": ("quarantine",)}.get(asset, ())
    for stem in beside:
        tables.write(folder / f"{stem}.parquet", others.get(stem, ()), SCHEMAS[f"{stem}.parquet"])
    tables.write(folder / file, rows, SCHEMAS[file])
    return folder


def write_with_schema(path: Path, rows: Sequence[Row], **types: pa.DataType) -> None:
    """A table that has other types for some columns, or lacks them (None)."""
    kept = [field for field in SCHEMAS[path.name] if types.get(field.name, field.type) is not None]
    schema = pa.schema([pa.field(field.name, types.get(field.name, field.type)) for field in kept])
    tables.write(path, [{field.name: row[field.name] for field in kept} for row in rows], schema)


class NothingInProduction:
    """No model is in production yet."""

    name = "likeness-embedded 0"

    def md5(self, asset: str) -> str:
        raise NoReference("likeness-embedded has no version in production")


class MadeFrom:
    """A version in production that was made from what lies in a folder."""

    name = "likeness-embedded 1"

    def __init__(self, folder: Path | None = None, metrics: dict[str, float] | None = None) -> None:
        self._folder, self._metrics = folder, metrics or {}

    def md5(self, asset: str) -> str:
        return "reference.dir"

    def folder(self, asset: str) -> Path:
        if self._folder is None:
            raise NoReference("it was erased")
        return self._folder

    def metrics(self, asset: str, character: str | None) -> dict[str, float]:
        return self._metrics


def context(
    asset: str,
    folder: Path,
    rules: Rules | None = None,
    production: Any = None,
    metrics: dict[str, float] | None = None,
) -> CheckContext:
    stage = stage_named(asset)
    compared_with: Any = production or NothingInProduction()
    return CheckContext(
        stage,
        "embedded" if stage.by_character else None,
        "new.dir",
        rules or Rules(),
        compared_with,
        {"size": SIZE},
        metrics or {},
        lambda: folder,
        (lambda: CHARACTER) if "character" in stage.code.INPUTS else None,
    )


def records(result: dg.AssetCheckResult, name: str) -> list[dict[str, Any]]:
    """A table of a check's metadata."""
    table = result.metadata[name]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]
