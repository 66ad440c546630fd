"""What a character can be set to: continuous sliders and discrete groups, read from `characters/<name>/schema.yaml`.

A parameter vector x has length `width`: the sliders in [0, 1], then for each group one value a choice (a one-hot
vector, or the probabilities that an encoder gives).

A studio's engine may know a slider by another name, in another unit and range, and a choice by another value: the
entries `engine` say so, and tables and documents for the engine are written in those.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, Field, ValidationError, model_validator

from .errors import LikenessError
from .sampler_config import Sampler

SCHEMA_FILE = "schema.yaml"
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML was built with libyaml
# How the character is drawn and drawn from; what people alone read.
DRAWING = ("renderer", "pairs", "reference", "sampler")
WORDS: Any = {
    **dict.fromkeys(("label", "parts"), True),
    "phenotypes": {"__all__": {"label", "ends"}},
    "local": {"__all__": {"label", "ends"}},
    "groups": {"__all__": {"label", "labels", "part"}},
}
# What says nothing about what a parameter means, and what documents from before did not count as such.
NOT_MEANING: Any = {
    **dict.fromkeys((*DRAWING, "earlier", "label", "parts"), True),
    "phenotypes": {"__all__": {"added", "label", "ends"}},
    "local": {"__all__": {"added", "label", "ends"}},
    "groups": {"__all__": {"added", "label", "labels", "like", "ordered", "part"}},
}
NOT_MEANING_BEFORE: Any = {
    **dict.fromkeys((*DRAWING, "earlier", "parts"), True),
    "phenotypes": {"__all__": {"added", "ends"}},
    "local": {"__all__": {"added", "ends"}},
    "groups": {"__all__": {"added", "labels", "like", "ordered", "part"}},
}


class SchemaError(LikenessError, ValueError):
    """A schema file is missing or not valid; the message names the file and the entry."""


class EngineSlider(BaseModel, frozen=True, extra="forbid"):
    """What the studio's engine calls a slider, and which values there mean 0 and 1."""

    name: str
    unit: str = ""
    range: tuple[float, float] = (0.0, 1.0)

    @model_validator(mode="after")
    def _has_extent(self) -> "EngineSlider":
        if not all(map(math.isfinite, self.range)) or self.range[0] == self.range[1]:
            raise ValueError(f"engine slider {self.name}: `range` needs two different numbers, not {list(self.range)}")
        return self


class EngineGroup(BaseModel, frozen=True, extra="forbid"):
    """What the studio's engine calls a group, and its value for each choice (default: the choice's own name)."""

    name: str
    values: dict[str, int | float | str] = {}


class Slider(BaseModel, frozen=True, extra="forbid"):
    """A continuous parameter in [0, 1]."""

    name: str
    part: str
    label: str
    neutral: float = Field(default=0.5, ge=0.0, le=1.0)
    negative: tuple[str, ...] = ()  # morphs driven below the neutral value
    positive: tuple[str, ...] = ()  # morphs driven above it
    reach: float = Field(default=1.0, gt=0.0, le=1.0)  # weight of these morphs at the ends
    ends: tuple[str, str] | None = None  # what people call 0 and 1: narrow, wide
    added: bool = False  # documents from before it was there lack it: it is neutral then
    engine: EngineSlider | None = None

    @model_validator(mode="after")
    def _has_room(self) -> "Slider":
        if self.negative and self.neutral == 0.0:
            raise ValueError(f"slider {self.name}: `negative` needs a neutral value above 0")
        return self

    @property
    def known_as(self) -> EngineSlider:
        """The engine's own name, unit and range; ours where the schema says nothing."""
        return self.engine or EngineSlider(name=self.name)

    def to_engine(self, value: float) -> float:
        """A value in [0, 1] in the engine's range."""
        low, high = self.known_as.range
        return round(low + float(value) * (high - low), 6)

    def from_engine(self, value: float) -> float:
        """The engine's value in [0, 1]. Raises SchemaError when it is not a number inside the engine's range."""
        low, high = self.known_as.range
        share = (value - low) / (high - low)
        # Values that an engine wrote as float32 or rounded may miss the end of the range by a hair.
        if not -1e-4 <= share <= 1.0 + 1e-4:
            raise SchemaError(
                f"{self.known_as.name} is {value:g}: outside its range {min(low, high):g} to "
                f"{max(low, high):g}{self.known_as.unit and ' ' + self.known_as.unit}"
            )
        return min(max(share, 0.0), 1.0)


class Group(BaseModel, frozen=True, extra="forbid"):
    """A discrete parameter: one of `choices`."""

    name: str
    label: str
    choices: tuple[str, ...] = Field(min_length=2)
    neutral: str
    labels: dict[str, str] = {}  # what people call the choices; see label_of
    like: dict[str, str] = {}  # the older choice that a newer one is nearest to; together they are a family
    part: str | None = None  # the part that people look for it in
    ordered: bool = False  # choices are steps of a scale
    added: bool = False  # documents from before it was there lack it: it is neutral then
    engine: EngineGroup | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> "Group":
        if self.neutral not in self.choices:
            raise ValueError(f"group {self.name}: neutral {self.neutral!r} is not one of {list(self.choices)}")
        if len(set(self.choices)) != len(self.choices):
            raise ValueError(f"group {self.name}: a choice appears twice")
        if unknown := sorted(set(self.engine.values if self.engine else ()) - set(self.choices)):
            raise ValueError(f"group {self.name}: engine values for unknown choices {unknown}")
        if unknown := sorted(set(self.labels) - set(self.choices)):
            raise ValueError(f"group {self.name}: labels for unknown choices {unknown}")
        if unknown := sorted({*self.like, *self.like.values()} - set(self.choices)):
            raise ValueError(f"group {self.name}: `like` names unknown choices {unknown}")
        if len(self._number_of) != len(self.choices):
            raise ValueError(f"group {self.name}: two choices have the same engine value")
        return self

    @property
    def families(self) -> tuple[int, ...]:
        """For each choice a number that it shares with those `like` it; without `like`, with all but `none`."""
        if self.like or "none" not in self.choices:
            return tuple(self.choices.index(self.like.get(choice, choice)) for choice in self.choices)
        return tuple(int(choice != "none") for choice in self.choices)

    @property
    def engine_name(self) -> str:
        """What the studio's engine calls the group."""
        return self.engine.name if self.engine else self.name

    def label_of(self, choice: str) -> str:
        """What people call a choice: its label, or its tidied name where it has none."""
        return self.labels.get(choice) or tidied(choice)

    def to_engine(self, choice: int) -> int | float | str:
        """The engine's value for a choice number."""
        name = self.choices[choice]
        return self.engine.values.get(name, name) if self.engine else name

    def from_engine(self, value: object) -> int:
        """The choice number of an engine's value, read from a table as text or as a number. Raises SchemaError."""
        number = self._number_of.get(_as_text(value))
        if number is None:
            known = [self.to_engine(choice) for choice in range(len(self.choices))]
            raise SchemaError(f"{self.engine_name} is {value!r}: not one of {known}")
        return number

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {_as_text(self.to_engine(number)): number for number in range(len(self.choices))}


class Schema(BaseModel, frozen=True, extra="forbid"):
    """All parameters of one character, in the order of the parameter vector (phenotypes first)."""

    name: str
    label: str
    phenotypes: tuple[Slider, ...] = ()
    local: tuple[Slider, ...] = Field(default=(), alias="sliders")
    groups: tuple[Group, ...] = ()
    parts: dict[str, str] = {}  # what people call the parts of sliders and groups, in the order they expect
    # md5s of this schema before choices were put behind the others and entries `added`: their documents still hold.
    earlier: tuple[str, ...] = ()
    sampler: Sampler | None = None
    # How the character is drawn: read by engine/character.py, and no part of what the parameters mean.
    renderer: Any = None
    pairs: Any = None
    reference: Any = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Schema":
        for names in ([entry.name for entry in (*self.sliders, *self.groups)], self.engine_columns):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"used twice: {', '.join(twice)}")
        if not self.sliders:
            raise ValueError("a character needs at least one slider")
        return self

    @model_validator(mode="after")
    def _sampler_fits(self) -> "Schema":
        choices = {group.name: group.choices for group in self.groups}
        if self.sampler and (problems := self.sampler.problems([s.name for s in self.sliders], choices)):
            raise ValueError("; ".join(problems))
        return self

    @classmethod
    def load(cls, character_dir: Path) -> "Schema":
        """Read `schema.yaml` in a character's folder. Raises SchemaError naming the file and the entry."""
        path = character_dir / SCHEMA_FILE
        try:
            return cls.model_validate(yaml.load(path.read_text(), YAML_LOADER))
        except FileNotFoundError as error:
            raise SchemaError(f"no {SCHEMA_FILE} in {character_dir}") from error
        except yaml.YAMLError as error:
            raise SchemaError(f"{path} is not YAML: {error}") from error
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors()]
            raise SchemaError(f"{path} is not a valid schema: {'; '.join(problems)}") from error

    @property
    def sliders(self) -> tuple[Slider, ...]:
        """All sliders, phenotypes first."""
        return (*self.phenotypes, *self.local)

    @property
    def n_sliders(self) -> int:
        """How many sliders there are."""
        return len(self.sliders)

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """How many choices each group has."""
        return tuple(len(group.choices) for group in self.groups)

    @property
    def width(self) -> int:
        """Length of the parameter vector."""
        return self.n_sliders + sum(self.group_sizes)

    @property
    def engine_columns(self) -> list[str]:
        """The engine's own names of all sliders, then of all groups."""
        return [slider.known_as.name for slider in self.sliders] + [group.engine_name for group in self.groups]

    @cached_property
    def slider_index(self) -> dict[str, int]:
        """The numbers of the sliders by name."""
        return {slider.name: index for index, slider in enumerate(self.sliders)}

    @cached_property
    def group_index(self) -> dict[str, int]:
        """The numbers of the groups by name."""
        return {group.name: index for index, group in enumerate(self.groups)}

    def group(self, name: str) -> Group:
        """The group of that name. Raises KeyError."""
        return self.groups[self.group_index[name]]

    def choice(self, group: str, choice: str) -> int:
        """The number of a choice inside its group."""
        return self.group(group).choices.index(choice)

    def neutral_sliders(self) -> NDArray[np.float32]:
        """Neutral values [S]."""
        return np.array([slider.neutral for slider in self.sliders], dtype=np.float32)

    def neutral_discrete(self) -> NDArray[np.int16]:
        """Numbers of the neutral choices [G]."""
        return np.array([group.choices.index(group.neutral) for group in self.groups], dtype=np.int16)

    def neutral(self) -> NDArray[np.float32]:
        """The average face's parameter vector [width]."""
        return self.pack(self.neutral_sliders()[None], self.neutral_discrete()[None])[0]

    def pack(self, parameters: ArrayLike, discrete: ArrayLike) -> NDArray[np.float32]:
        """Sliders [B, S] and choice numbers [B, G] to parameter vectors [B, width] (one-hot groups)."""
        sliders = np.asarray(parameters, dtype=np.float32)
        choices = np.asarray(discrete, dtype=np.int64)
        hot = [np.eye(size, dtype=np.float32)[choices[:, index]] for index, size in enumerate(self.group_sizes)]
        return np.concatenate([sliders, *hot], axis=1)

    def split(self, x: ArrayLike) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Parameter vectors [B, width] to sliders [B, S] and the probabilities [B, size] of each group."""
        vectors = np.asarray(x, dtype=np.float32)
        ends = np.cumsum([self.n_sliders, *self.group_sizes])
        sliders, *groups = np.split(vectors, ends[:-1], axis=1)
        return sliders, groups

    def choose(self, x: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """Parameter vectors [B, width] to sliders [B, S] clipped to [0, 1] and the likeliest choices [B, G]."""
        sliders, groups = self.split(x)
        choices = (
            np.stack([group.argmax(axis=1) for group in groups], axis=1) if groups else np.zeros((len(sliders), 0))
        )
        return sliders.clip(0.0, 1.0), choices.astype(np.int16)

    def to_engine(self, parameters: ArrayLike, discrete: ArrayLike) -> list[dict[str, int | float | str]]:
        """Sliders [B, S] and choice numbers [B, G] as B rows of the engine's own names and values."""
        return [
            {s.known_as.name: s.to_engine(value) for s, value in zip(self.sliders, values, strict=True)}
            | {g.engine_name: g.to_engine(int(choice)) for g, choice in zip(self.groups, chosen, strict=True)}
            for values, chosen in zip(np.asarray(parameters), np.asarray(discrete), strict=True)
        ]

    def to_document(self, x: ArrayLike) -> dict[str, Any]:
        """`parameters` and `discrete` of a character.json for one parameter vector [width].

        `engine` has the same in the engine's own names, units and ranges, where the schema gives them.
        """
        document = self._own_document(x)
        if any(entry.engine for entry in (*self.sliders, *self.groups)):
            document["engine"] = {
                "values": self.to_engine(*self.choose(np.asarray(x)[None]))[0],
                "units": {s.known_as.name: s.known_as.unit for s in self.sliders if s.known_as.unit},
            }
        return document

    def _own_document(self, x: ArrayLike) -> dict[str, Any]:
        sliders, groups = self.split(np.asarray(x)[None])
        return {
            "parameters": {
                s.name: round(float(v), 5) for s, v in zip(self.sliders, sliders[0].clip(0, 1), strict=True)
            },
            "discrete": {
                group.name: {
                    "choice": group.choices[int(p[0].argmax())],
                    "probabilities": {c: round(float(v), 5) for c, v in zip(group.choices, p[0], strict=True)},
                }
                for group, p in zip(self.groups, groups, strict=True)
            },
        }

    def from_document(self, parameters: Mapping[str, Any], discrete: Mapping[str, Any]) -> NDArray[np.float32]:
        """The parameter vector [width] of a character.json. Raises SchemaError that names every entry that is unknown,
        missing or none, and says what it should be."""
        parameters, discrete = self.completed(parameters, discrete)
        for kind, given, known in (("slider", parameters, self.slider_index), ("group", discrete, self.group_index)):
            unknown, missing = sorted(map(str, set(given) - set(known))), sorted(set(known) - set(given))
            if unknown or missing:
                raise SchemaError(f"{kind}s do not fit character {self.name}: unknown {unknown}, missing {missing}")
        if problems := [said for s in self.sliders if (said := _value_problem(s.name, parameters[s.name]))]:
            raise SchemaError("; ".join(problems))
        choices = [_choice_number(group, discrete[group.name]) for group in self.groups]
        values = [float(parameters[slider.name]) for slider in self.sliders]
        return self.pack(np.array([values]), np.array([choices]).reshape(1, -1))[0]

    def completed(
        self, parameters: Mapping[str, Any], discrete: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """`parameters` and `discrete` of a character.json, with neutral values for what was added since."""
        sliders = {slider.name: slider.neutral for slider in self.sliders if slider.added}
        groups = {
            group.name: {
                "choice": group.neutral,
                "probabilities": {c: float(c == group.neutral) for c in group.choices},
            }
            for group in self.groups
            if group.added
        }
        return {**parameters, **sliders, **parameters}, {**discrete, **groups, **discrete}  # in the order of the schema

    @classmethod
    def md5(cls, character_dir: Path) -> str:
        """md5 of what the parameters mean, as written into every character.json.

        Comments, how the character is drawn and words for people do not count. Raises SchemaError.
        """
        return cls.load(character_dir)._md5_without(NOT_MEANING)

    @classmethod
    def md5s(cls, character_dir: Path) -> frozenset[str]:
        """Every md5 by which a character.json may name this schema: `md5`, that of documents and models from before
        labels were words for people, and those of earlier versions that it only adds to. Raises SchemaError.
        """
        schema = cls.load(character_dir)
        return frozenset((*map(schema._md5_without, (NOT_MEANING, NOT_MEANING_BEFORE)), *schema.earlier))

    def _md5_without(self, fields: Any) -> str:
        meaning = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=fields)
        return hashlib.md5(json.dumps(meaning, sort_keys=True).encode(), usedforsecurity=False).hexdigest()

    def without_words(self) -> dict[str, Any]:
        """The schema as a document without what only people read: labels, names of parts and of a slider's ends."""
        return self.model_dump(mode="json", by_alias=True, exclude=WORDS)

    def names_of(self, part: str) -> Sequence[str]:
        """Names of the sliders of a part."""
        return [slider.name for slider in self.sliders if slider.part == part]


def tidied(name: str) -> str:
    """A name as people would write it: `light_blond` is "Light blond", `short01` is "Short 1"."""
    words = re.sub(r"(?<=[A-Za-z])(?=\d)|_+", " ", name).split()
    text = " ".join(str(int(word)) if word.isdecimal() else word for word in words)
    return text[:1].upper() + text[1:]


def _value_problem(name: str, value: Any) -> str:
    """What is wrong with a slider's value in a document; empty where nothing is."""
    is_number = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
    if is_number and 0.0 <= value <= 1.0:
        return ""
    outside = ", outside [0, 1]" * is_number
    return f"parameters.{name} is {_in_json(value)}{outside}: write a number from 0 to 1"


def _choice_number(group: Group, entry: object) -> int:
    where, wanted = f"discrete.{group.name}", f"one of {', '.join(group.choices)}"
    if not isinstance(entry, Mapping):
        choice = entry if isinstance(entry, str) and entry in group.choices else group.neutral
        raise SchemaError(f'{where} is {_in_json(entry)}: write {{"choice": "{choice}"}}, with {wanted}')
    choice = entry.get("choice")
    if choice not in group.choices:
        raise SchemaError(f"{where}.choice is {_in_json(choice)}, not {wanted}")
    return group.choices.index(str(choice))


def _in_json(value: object, longest: int = 60) -> str:
    """A value as a file has it, shortened."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[:longest]}…"


def _as_text(value: object) -> str:
    """A table may hold 2, 2.0 or "2" for one choice."""
    text = str(value).strip()
    try:
        return str(int(float(text))) if float(text).is_integer() else text
    except ValueError:
        return text
