"""Random parameters and the engine's render of them in the game look: what the imitator learns from."""

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field

from engine import sampling
from engine.renderer import Renderer
from engine.scenes import Scenes
from models.images import decode, encode_jpeg, encode_png, grid, resize
from stages import tables
from stages.context import Context
from stages.parallel import map_chunks
from stages.pictures import write_picture

VERSION = "1"
INPUTS = ("embedded", "character")
ROWS_A_CHUNK = 64
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


class Config(BaseModel, frozen=True, extra="forbid"):
    """How many pairs, how large, drawn how."""

    pairs: int = Field(default=20_000, ge=20, description="renders")
    size: int = Field(default=512, ge=64, description="pixels")
    sampler: Literal["uniform", "plausible", "mixed"] = Field(default="uniform", description="uniform as in the papers")
    seed: int = 2


def run(inputs: Mapping[str, Path], config: Config, out: Path, context: Context) -> dict[str, float]:
    """Write `pairs.parquet` and a contact sheet. Returns counts."""
    work = partial(_draw, inputs["character"], inputs["embedded"], context.device, config)
    chunks = [range(start, min(start + ROWS_A_CHUNK, config.pairs)) for start in range(0, config.pairs, ROWS_A_CHUNK)]
    rows = map_chunks(work, chunks, context, "rendered pairs", config.pairs)
    tables.write(out / "pairs.parquet", rows, SCHEMA)
    write_picture(out / "pairs.png", grid([resize(decode(row["image"]), 160) for row in rows[:48]], columns=8))
    return {"rows": len(rows), "mean_kilobytes": float(np.mean([len(row["image"]) for row in rows]) / 1024)}


@cache
def _renderer(character: Path, embedded: Path, device: str) -> Renderer:
    return Renderer(character, embedded, device)


def _draw(character: Path, embedded: Path, device: str, config: Config, numbers: range) -> list[dict[str, Any]]:
    renderer = _renderer(character, embedded, device)
    rng = np.random.default_rng([config.seed, numbers.start])
    sliders, choices = sampling.SAMPLERS[config.sampler](renderer.schema, len(numbers), rng)
    drawn = renderer.render(sliders, choices, Scenes.game(len(numbers)), config.size)
    return [
        {
            "id": f"{number:06d}",
            "split": ("test", "val")[number % 20] if number % 20 < 2 else "train",
            "image": encode_jpeg(drawn.image[k]),
            "labels": encode_png(drawn.labels[k]),
            "parameters": sliders[k],
            "discrete": choices[k],
        }
        for k, number in enumerate(numbers)
    ]
