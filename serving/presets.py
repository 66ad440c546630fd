"""Characters and looks to begin with, and random ones near what is already decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter, ValidationError

from engine import sampler
from engine.errors import LikenessError
from engine.schema import Schema

OWN = Path(__file__).with_name("presets.yaml")
CROWD = 256
"""People of whom the one is taken that is nearest to what is decided; a few milliseconds."""


class PresetError(LikenessError):
    """A studio's file of presets cannot be used; the message says what to do."""


class Preset(BaseModel, frozen=True, extra="forbid"):
    """Some sliders and choices; all others stay as they are."""

    name: str
    kind: Literal["person", "look"]
    """`person`: somebody to begin with; `look`: goes over a character that is there."""
    label: str
    parameters: dict[str, float] = {}
    discrete: dict[str, str] = {}
    neutral: tuple[str, ...] = ()
    """Parts of the schema whose sliders are neutral."""

    def fits(self, schema: Schema) -> str:
        """Why a character cannot have it; empty: it can."""
        parts = {slider.part for slider in schema.sliders}
        for what, names, known in (
            ("slider", self.parameters, schema.slider_index),
            ("group", self.discrete, schema.group_index),
            ("part", self.neutral, parts),
        ):
            if unknown := [name for name in names if name not in known]:
                return f"{self.name}: the character has no {what} {', '.join(unknown)}"
        for group, choice in self.discrete.items():
            if choice not in schema.group(group).choices:
                return f"{self.name}: {group} has no {choice}"
        if wrong := [name for name, value in self.parameters.items() if not 0 <= value <= 1]:
            return f"{self.name}: {', '.join(wrong)} is not in [0, 1]"
        return ""

    def of(self, schema: Schema) -> Preset:
        """The same with every slider and choice by its name."""
        neutral = {slider.name: slider.neutral for slider in schema.sliders if slider.part in self.neutral}
        return self.model_copy(update={"parameters": {**neutral, **self.parameters}, "neutral": ()})


def presets_of(schema: Schema, file: Path | None) -> Mapping[str, Preset]:
    """The presets of a character by name: those of a studio's file, or of the project's own those that fit it.

    Raises PresetError where the file cannot be read, or has one that does not fit.
    """
    try:
        found = TypeAdapter(list[Preset]).validate_python(yaml.safe_load((file or OWN).read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise PresetError(f"{file or OWN} is no list of presets: {error}") from error
    why_not = {preset.name: preset.fits(schema) for preset in found}
    if file and any(why_not.values()):
        raise PresetError(f"{file}: {'; '.join(filter(None, why_not.values()))}")
    return {preset.name: preset.of(schema) for preset in found if not why_not[preset.name]}


def random_near(
    schema: Schema, seed: int, parameters: Mapping[str, float], discrete: Mapping[str, str]
) -> NDArray[np.float32]:
    """Parameters [width] of a random person of whom some is decided; the rest is as likely as it is in people who are
    about so. The same arguments give the same one."""
    decided = bool(parameters or discrete)
    sliders, choices = sampler.plausible(schema, CROWD if decided else 1, np.random.default_rng(seed))
    columns = [schema.slider_index[name] for name in parameters]
    groups = [schema.group_index[name] for name in discrete]
    values = np.array(list(parameters.values()), np.float32)
    chosen = np.array([schema.choice(name, choice) for name, choice in discrete.items()], np.int16)
    away = ((sliders[:, columns] - values) ** 2).sum(axis=1) + (choices[:, groups] != chosen).sum(axis=1)
    nearest = int(away.argmin())
    sliders[nearest, columns], choices[nearest, groups] = values, chosen
    return schema.pack(sliders[[nearest]], choices[[nearest]])[0]


def described(presets: Sequence[Preset]) -> list[dict[str, Any]]:
    """Presets as they are answered."""
    return [preset.model_dump(exclude={"neutral"}) for preset in presets]
