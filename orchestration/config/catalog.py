"""The chapters of the pipeline in order: one entry for each module of stages/, and how Dagster shows it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import BaseModel

SOURCES = {
    "embedded": "Landmark model, identity weights, character assets, light, backgrounds; from installed packages.",
    "photos": "The user's photo set, one folder a person. New photos never render pairs again.",
    "characters": "A character's own folder: schema.yaml and, unless embedded, its renderer or exported pairs.",
}
"""Observed sources; a stage calls the last one `character`."""


class StageModule(Protocol):
    """What a module of stages/ offers."""

    VERSION: str
    Config: type[BaseModel]
    INPUTS: Sequence[str]

    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        """Write the output into `out`; the figures that are worth a line."""
        ...


@dataclass(frozen=True)
class Resources:
    """What one step asks a cluster for. Ignored on one machine."""

    gpus: float = 0
    """Of a training: for each device it uses (`LIKENESS_DEVICES`)."""
    cpus: float = 2
    memory_gb: float = 4


@dataclass(frozen=True)
class Stage:
    """One asset that a stage makes."""

    name: str
    group: str
    kinds: tuple[str, ...]
    description: str
    by_character: bool = False
    resources: Resources = Resources()
    tables: tuple[str, ...] = ()
    """Tables to check, by their name in orchestration/checks/suites.py."""
    warnings: tuple[str, ...] = ()
    """Suites of the same file that stop nothing."""
    duplicates: bool = False
    """Whether its real faces are compared with one another; that stops nothing either."""
    drift: tuple[str, ...] = ()
    """Those tables that are compared with what production was made from."""
    compares: bool = False
    """Whether the stage is also given the version in production, as the optional input `production`."""
    continues: bool = False
    """Whether, where its configuration says `start: last`, the stage is also given the newest version of its own asset,
    as the optional input `start`, unless its `why_not_start` says no.
    """
    module: Any = field(default=None, compare=False)
    """The stage itself, where it is not `stages.<name>`."""

    @property
    def uses_gpu(self) -> bool:
        """Does it ask a cluster for a GPU?"""
        return self.resources.gpus > 0

    @property
    def trains(self) -> bool:
        """Can it use several devices?"""
        return self.uses_gpu and self.group == "models"

    @property
    def code(self) -> StageModule:
        """Its module, imported when it is asked for."""
        return self.module or cast(StageModule, importlib.import_module(f"stages.{self.name}"))


STAGES: tuple[Stage, ...] = (
    Stage(
        "portraits",
        "data",
        ("warp", "parquet", "dvc"),
        resources=Resources(gpus=1, cpus=4, memory_gb=8),
        tables=("portraits",),
        drift=("portraits",),
        description="Synthetic photos of people who do not exist: random camera, pose, expression, light, background, "
        "with identity, parameters, labels and landmarks.",
    ),
    Stage(
        "aligned_faces",
        "data",
        ("mediapipe", "parquet", "dvc"),
        resources=Resources(cpus=4, memory_gb=8),
        tables=("faces", "quarantine", "verification_pairs"),
        warnings=("copies", "unusable"),
        duplicates=True,
        drift=("faces",),
        description="Every photo set, aligned to the reference frame by 68 landmarks; pose, quality, quarantine.",
    ),
    Stage(
        "identity_model",
        "models",
        ("torch", "mlflow", "dvc"),
        resources=Resources(gpus=1, cpus=4, memory_gb=16),
        description="Face recognition: FaceRes and SFace rebuilt in torch, the latter fine-tuned on held-in people; "
        "steps are kept only where pairs of validation people get no worse.",
    ),
    Stage(
        "parsing_model",
        "models",
        ("torch", "mlflow", "dvc"),
        resources=Resources(gpus=1, cpus=4, memory_gb=16),
        description="Face parsing into 11 classes at stride 8; its features are the content term's.",
    ),
    Stage(
        "rendered_pairs",
        "data",
        ("warp", "parquet", "dvc"),
        by_character=True,
        resources=Resources(gpus=1, cpus=4, memory_gb=8),
        tables=("pairs", "set_aside"),
        description="Random parameters and the engine's render of them: one fixed camera and light, neutral face; or "
        "the pairs that a studio's engine exported, and why some of them were set aside.",
    ),
    Stage(
        "imitator",
        "models",
        ("torch", "mlflow", "dvc"),
        by_character=True,
        resources=Resources(gpus=1, cpus=4, memory_gb=16),
        description="Stands in for the engine, which has no gradient: transposed convolutions trained by L1.",
    ),
    Stage(
        "identity_imitator",
        "models",
        ("torch", "mlflow", "dvc"),
        by_character=True,
        resources=Resources(gpus=1, cpus=4, memory_gb=16),
        description="Stands in for engine and recogniser together: from parameters to the embedding of their render.",
    ),
    Stage(
        "encoder",
        "models",
        ("torch", "mlflow", "dvc"),
        by_character=True,
        continues=True,
        resources=Resources(gpus=1, cpus=4, memory_gb=16),
        description="Identity embedding in, character parameters out, trained by the composite loss.",
    ),
    Stage(
        "scorecard",
        "evaluation",
        ("torch", "mlflow", "dvc"),
        by_character=True,
        resources=Resources(gpus=1, cpus=4, memory_gb=16),
        compares=True,
        description="Recovery, likeness, imitator, parsing and identity on held-out people, "
        "each score beside its baseline and bound.",
    ),
)

COLLECTED: tuple[Stage, ...] = (
    Stage(
        "corrections",
        "data",
        ("parquet", "dvc"),
        by_character=True,
        tables=("corrections", "corrections_set_aside"),
        description="What players who agreed changed of their characters: parameters before and after, and what the "
        "encoder read of the face. Never the photo.",
    ),
)
"""Assets that a run does not make: they are collected from the service. A stage reads one where its configuration says
so (`inputs_of`)."""


def inputs_of(stage: Stage, config: BaseModel) -> tuple[str, ...]:
    """What a stage reads under a configuration; a module whose inputs follow from it has a function of this name."""
    follows = getattr(stage.code, "inputs_of", None)
    return tuple(follows(config) if follows else stage.code.INPUTS)
