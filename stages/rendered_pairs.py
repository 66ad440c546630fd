"""Random parameters and the engine's render of them in the game look: what the imitator learns from.

A character that its own engine draws is asked for pictures; one that has only exported pairs gives those. All pictures
are in the reference frame.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from engine import sampler
from engine.character import Character
from models.images import BadImage, decode, encode_jpeg, encode_png
from stages.context import Context
from stages.data import exported_pairs, tables
from stages.data.exported_pairs import ExportedPair, RowProblem
from stages.data.parallel import map_chunks
from stages.data.pictures import write_sheet
from stages.data.reads import Appearance
from stages.data.rendering import FrameTransform, engine_of

VERSION = "7"
INPUTS = ("embedded", "character")
READS = {"character": Appearance()}
ROWS_A_CHUNK = 64
SHOWN = 48
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("image", pa.binary()),
        ("labels", pa.binary()),
        ("parameters", pa.list_(pa.float32())),
        ("discrete", pa.list_(pa.int16())),
    ]
)


class RenderedPairsConfig(BaseModel, frozen=True, extra="forbid"):
    """How many pairs, how large, drawn how."""

    pairs: int = Field(default=20_000, ge=20, description="renders; of exported pairs, so many at the most")
    size: int = Field(default=512, ge=64, description="pixels")
    sampler: Literal["uniform", "plausible", "mixed"] = Field(default="uniform", description="uniform as in the papers")
    seed: int = 2


Config = RenderedPairsConfig


def run(inputs: Mapping[str, Path], config: RenderedPairsConfig, out: Path, context: Context) -> dict[str, float]:
    """Write `pairs.parquet`, `quarantine.parquet` and a contact sheet. Returns counts.

    Raises CharacterError when the character's folder cannot be used, or when too few exported pairs can.
    """
    character = Character.load(inputs["character"])
    problems: list[RowProblem] = []
    if character.has_engine:
        drawn = _rendered(character, inputs, config, context)
    else:
        drawn = _exported(character, config, context, problems)
    shown: list[bytes] = []
    size = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal size
        for row in drawn:
            size += len(row["image"])
            if len(shown) < SHOWN:
                shown.append(row["image"])
            yield row

    count = tables.write(out / "pairs.parquet", rows(), SCHEMA)
    problems.sort(key=lambda problem: problem.row)
    set_aside = [exported_pairs.quarantined(problem, character.schema.name) for problem in problems]
    tables.write(out / "quarantine.parquet", set_aside, tables.QUARANTINE_SCHEMA)
    write_sheet(out / "pairs.png", map(decode, shown), 8, 160)
    return {"rows": count, "quarantined": len(set_aside), "mean_kilobytes": size / count / 1024}


def _row(number: int, name: str, image: NDArray[np.uint8], sliders: NDArray, choices: NDArray) -> dict[str, Any]:
    """A row without labels; every tenth is for validation or for tests."""
    split = ("test", "val")[number % 20] if number % 20 < 2 else "train"
    return {
        "id": name, "split": split, "image": encode_jpeg(image), "labels": None,
        "parameters": sliders, "discrete": choices,
    }  # fmt: skip


def _rendered(
    character: Character, inputs: Mapping[str, Path], config: RenderedPairsConfig, context: Context
) -> Iterator[dict[str, Any]]:
    work = partial(_draw, inputs["character"], inputs["embedded"], context.device, config)
    if not character.is_embedded:
        # A studio's engine says itself how often it may be started.
        context = replace(context, workers=min(context.workers, getattr(character.source, "parallel", 1)))
    return map_chunks(work, range(config.pairs), ROWS_A_CHUNK, context, "rendered pairs")


def _draw(
    character: Path, embedded: Path, device: str, config: RenderedPairsConfig, numbers: Sequence[int]
) -> list[dict[str, Any]]:
    engine = engine_of(character, embedded, device)
    assert engine is not None
    rng = np.random.default_rng([config.seed, numbers[0]])
    sliders, choices = sampler.SAMPLERS[config.sampler](engine.schema, len(numbers), rng)
    drawn = engine.draw(sliders, choices, config.size)
    rows = [_row(number, f"{number:06d}", drawn.image[k], sliders[k], choices[k]) for k, number in enumerate(numbers)]
    if drawn.labels is not None:
        for row, labels in zip(rows, drawn.labels, strict=True):
            row["labels"] = encode_png(labels)
    return rows


def _exported(
    character: Character, config: RenderedPairsConfig, context: Context, problems: list[RowProblem]
) -> Iterator[dict[str, Any]]:
    """The rows that can be used; the others are added to `problems`."""
    frame = FrameTransform(character.require_reference())
    export = exported_pairs.read(character)
    export.require_enough()
    pairs = export.pairs[: config.pairs]
    work = partial(_read, frame, config.size)
    problems += export.problems
    usable = 0
    for entry in map_chunks(work, list(enumerate(pairs)), ROWS_A_CHUNK, context, "exported pairs"):
        if isinstance(entry, RowProblem):
            problems.append(entry)
        else:
            usable += 1
            yield entry
    replace(export, pairs=pairs[:usable], problems=problems).require_enough()


def _read(
    frame: FrameTransform, size: int, numbered: Sequence[tuple[int, ExportedPair]]
) -> list[dict[str, Any] | RowProblem]:
    return [_read_one(number, pair, frame, size) for number, pair in numbered]


def _read_one(number: int, pair: ExportedPair, frame: FrameTransform, size: int) -> dict[str, Any] | RowProblem:
    try:
        picture = exported_pairs.open_picture(pair)
    except BadImage as error:
        return RowProblem(pair.id, pair.row, f"{pair.where}: {error}")
    if reason := frame.refusal(picture):
        return RowProblem(pair.id, pair.row, f"{pair.where}: {reason}")
    return _row(number, pair.id, frame(picture, size), pair.sliders, pair.choices)
