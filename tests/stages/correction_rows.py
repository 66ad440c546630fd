"""Rows as the service keeps them, and the directions of an encoder that read them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from engine.schema import Schema
from models.features import FaceFeatures
from serving.corrections import digest_of_player, encode_features
from tests.stages.small_tables import CHARACTER

SCHEMA, SCHEMA_MD5 = Schema.load(CHARACTER), Schema.md5(CHARACTER)
ENCODER, RECOGNISER = "a" * 32 + ".dir", "b" * 32


def given(number: int, changes: Mapping[str, float], choices: Mapping[str, str] | None = None, **about: Any) -> dict:
    """A row in which some sliders and choices of the average face were changed."""
    schema = SCHEMA
    document = schema.to_document(schema.neutral())
    before = {
        "parameters": document["parameters"],
        "discrete": {group: entry["choice"] for group, entry in document["discrete"].items()},
    }
    after = {
        "parameters": {**before["parameters"], **changes},
        "discrete": {**before["discrete"], **(choices or {})},
    }
    features = np.random.default_rng(number).normal(size=6)
    row = {
        "id": f"character-{number:012d}", "player": digest_of_player(f"player {number}"), "consent": True,
        "day": "2026-11-20", "version": {"version": 3, "run": "r"}, "encoder": ENCODER, "recogniser": RECOGNISER,
        "character": schema.name, "schema_md5": SCHEMA_MD5, "refined": "",
        "features": encode_features(features), "before": before, "after": after,
    }  # fmt: skip
    return row | about


def write(folder: Path, rows: Iterable[Mapping[str, Any]], features: FaceFeatures | None = None) -> Path:
    """The stage's input: rows, and the reader of six numbers that all of them name."""
    (folder / "readers").mkdir(parents=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_file((features or FaceFeatures(6)).state_dict(), folder / "readers" / f"{ENCODER}.safetensors")
    return folder
