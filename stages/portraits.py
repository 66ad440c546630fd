"""Synthetic photos of people who do not exist: identity, parameters, label map and landmarks are known exactly.

Each person is a plausible sample of the embedded character; each shot of a person has its own camera, pose, expression,
light, background, blur, noise and compression, and now and then something before the face. People, not pictures, are
split into train, val and test.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from engine import occluders, sampler
from engine.camera_effects import apply_camera_effects, crop_tightly
from engine.portrait_scenes import DomainRandomization, random_scene
from engine.renderer import Renderer
from engine.scenes import Scenes, load_backgrounds, load_panoramas
from models.images import decode, decode_labels, encode_png
from stages.context import Context
from stages.data import tables
from stages.data.parallel import map_chunks
from stages.data.pictures import colour_labels, write_sheet
from stages.data.reads import Appearance

VERSION = "8"
INPUTS = ("embedded", "character")
READS = {"character": Appearance()}
PEOPLE_A_CHUNK = 8
FIRST_SINGLE = 1_000_000
"""The number of the first of the `single` people, who are apart so that none of them is ever tested on."""
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("person", pa.string()),
        ("split", pa.string()),
        ("image", pa.binary()),
        ("labels", pa.binary()),
    ]
    + [
        ("landmarks", pa.list_(pa.float32())),
        ("parameters", pa.list_(pa.float32())),
        ("discrete", pa.list_(pa.int16())),
    ]
    + [(name, pa.float32()) for name in ("yaw", "pitch", "roll", "distance", "lens", "exposure", "occluded")]
    + [(name, pa.float32()) for name in ("mireds", "gain", "blur", "noise", "jpeg")]
    + [(name, pa.string()) for name in ("light", "expression", "occluder")]
)


class PortraitsConfig(BaseModel, frozen=True, extra="forbid"):
    """How many portraits, how large, how different."""

    people: int = Field(default=10_000, ge=10, le=FIRST_SINGLE, description="people who do not exist")
    shots: int = Field(default=4, ge=1, description="photos of each")
    single: int = Field(default=0, ge=0, description="further people to train on, one photo of each: an encoder "
                        "learns more from other people than from other photos")  # fmt: skip
    size: int = Field(default=320, ge=64, description="pixels")
    seed: int = 1
    nuisance: DomainRandomization = DomainRandomization()


Config = PortraitsConfig


def run(inputs: Mapping[str, Path], config: PortraitsConfig, out: Path, context: Context) -> dict[str, float]:
    """Write `portraits.parquet` and contact sheets. Returns counts."""
    work = partial(_shoot, inputs["character"], inputs["embedded"], context.device, config)
    people = [*range(config.people), *range(FIRST_SINGLE, FIRST_SINGLE + config.single)]
    total = config.people * config.shots + config.single
    shown: list[dict[str, Any]] = []
    size = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal size
        for row in map_chunks(work, people, PEOPLE_A_CHUNK, context, "portraits", total):
            size += len(row["image"])
            if len(shown) < 12 * config.shots:
                shown.append(row)
            yield row

    count = tables.write(out / "portraits.parquet", rows(), SCHEMA)
    write_sheet(out / "portraits.png", [decode(row["image"]) for row in shown], 2 * config.shots, 160)
    maps = [colour_labels(decode_labels(row["labels"])) for row in shown]
    write_sheet(out / "labels.png", maps, 2 * config.shots, 160)
    return {"rows": count, "people": len(people), "mean_kilobytes": size / count / 1024}


def split_of(person: int, seed: int) -> str:
    """train, val or test of a person: of each ten one is val and one test, drawn by the seed; all `single` ones train.

    It depends on the person alone: whoever trained an encoder when there were fewer people never scores a later one.
    """
    if person >= FIRST_SINGLE:
        return "train"
    ten, place = divmod(person, 10)
    return {0: "test", 1: "val"}.get(int(_order(ten, seed)[place]), "train")


@cache
def _order(ten: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 7, ten]).permutation(10)


@cache
def _studio(character: Path, embedded: Path, device: str) -> tuple[Renderer, list, list]:
    return Renderer(character, embedded, device), load_panoramas(embedded), load_backgrounds(embedded)


def _shoot(
    character: Path, embedded: Path, device: str, config: PortraitsConfig, people: Sequence[int]
) -> list[dict[str, Any]]:
    """All rows of some people."""
    renderer, panoramas, backgrounds = _studio(character, embedded, device)
    rows: list[dict[str, Any]] = []
    scenes: list[Scenes] = []
    generators: list[np.random.Generator] = []
    for person in people:
        rng = np.random.default_rng([config.seed, person])
        sliders, choices = sampler.plausible(renderer.schema, 1, rng)
        for shot in range(config.shots if person < FIRST_SINGLE else 1):
            scene, described = random_scene(rng, config.nuisance, renderer.blend.actions, panoramas, backgrounds)
            scenes.append(scene)
            generators.append(np.random.default_rng([config.seed, person, shot]))
            name = f"{person:05d}"
            rows.append(
                {"id": f"{name}-{shot}", "person": name, "split": split_of(person, config.seed)}
                | {"parameters": sliders[0], "discrete": choices[0]} | described
            )  # fmt: skip
    drawn = renderer.render(
        np.stack([row["parameters"] for row in rows]),
        np.stack([row["discrete"] for row in rows]),
        _joined(scenes),
        config.size,
    )
    for number, (row, rng) in enumerate(zip(rows, generators, strict=True)):
        image, labels, occluder, occluded = drawn.image[number], drawn.labels[number], "none", 0.0
        if rng.random() < config.nuisance.occlusion:
            image, labels, occluder, occluded = occluders.occlude(
                image, labels, drawn.landmarks[number], scenes[number], rng, config.nuisance.cover, backgrounds
            )
        if rng.random() < config.nuisance.tight:
            image, labels = crop_tightly(image, labels, rng, config.nuisance)
        row["image"], developed = apply_camera_effects(image, rng, config.nuisance)
        row["labels"] = encode_png(labels)
        row["landmarks"] = drawn.landmarks[number].ravel()
        row |= developed | {"occluder": occluder, "occluded": occluded}
    return rows


def _joined(scenes: list[Scenes]) -> Scenes:
    return Scenes(
        **{field.name: np.concatenate([getattr(scene, field.name) for scene in scenes]) for field in fields(Scenes)}
    )
