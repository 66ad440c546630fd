"""An encoder that was registered before, run by the code that was registered with it.

A packed folder holds `model/` (weights, schema), `code/<package>` under a name that no other version has, and the
`loader.py` of its time, so that two versions answer in one process. What an older version cannot do raises CannotDo.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from engine.schema import Schema
from engine.words import a_few
from stages.evaluation.context import Networks

EXACT = 1e-6
"""A parameter that differs by less is the same."""
NAMED = 5
"""How many parameters a message names."""


class CannotDo(Exception):
    """What is asked for is more than this version can do; the message says why."""


def networks(folder: Path, schema: Schema, device: str) -> Networks:
    """The networks of a packed folder, whose answers are parameter vectors of `schema`.

    Where the character's schema has changed since, parameters are carried over by name, to and fro. Raises CannotDo.
    """
    with _importable(folder / "code"):
        loader, package, model = _parts(folder)
        predictor = _made(loader, "load_predictor", package, model)
        identity, encoder = predictor.identity.to(device).eval(), predictor.encoder.to(device).eval()
        own = importlib.import_module(f"{package}.schema").Schema.load(model)
        imitator = _or_absent(lambda: _made(loader, "load_imitator", package, model).to(device))
        carried, back = SchemaMapping.between(own, schema), SchemaMapping.between(schema, own)
        if carried is not None and back is not None:
            encoder = RemappedEncoder(encoder, carried)
            imitator = RemappedImitator(imitator, carried, back, tuple(map(" ".join, _names(schema))))
        parser = _or_absent(lambda: _made(loader, "load_parser", package, model).to(device))
    return Networks(*(cast(Any, network) for network in (identity, encoder, imitator, parser)))


def predictor(folder: Path) -> tuple[Any, Any]:
    """A packed folder's own predictor, from photos to parameters, and its own schema. Raises CannotDo, OSError."""
    with _importable(folder / "code"):
        loader, package, model = _parts(folder)
        schema = importlib.import_module(f"{package}.schema").Schema
        return _made(loader, "load_predictor", package, model), schema.load(model)


def _parts(folder: Path) -> tuple[ModuleType, str, Path]:
    """The loader, the name of the package and the folder of the weights."""
    loader, model = _loader(folder), folder / "model"
    return loader, json.loads((model / "about.json").read_text())["package"], model


def _loader(folder: Path) -> ModuleType:
    """The version's own loader.py as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"loader_of_{folder.name}", folder / "loader.py")
    if spec is None or spec.loader is None or not (folder / "loader.py").is_file():
        raise CannotDo("it was registered without a loader.py")
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        # MLflow misses type hints that it would take for a second signature.
        warnings.simplefilter("ignore", UserWarning)
        spec.loader.exec_module(module)
    return module


def _made(loader: ModuleType, function: str, package: str, model: Path) -> Any:
    make = getattr(loader, function, None)
    if make is None:
        raise CannotDo(f"it was registered before there was {function}")
    return make(package, model)


def _or_absent(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except CannotDo as error:
        return MissingNetwork(str(error))


@contextmanager
def _importable(code: Path) -> Iterator[None]:
    """Packages in `code` can be imported; what they import later is found through the package itself."""
    sys.path.insert(0, str(code))
    try:
        yield
    finally:
        sys.path.remove(str(code))


@dataclass(frozen=True)
class MissingNetwork:
    """In the place of a network that the version does not have: whatever is asked of it raises CannotDo."""

    reason: str

    def __call__(self, *_: Any) -> NoReturn:
        raise CannotDo(self.reason)

    def __getattr__(self, name: str) -> NoReturn:
        raise CannotDo(self.reason)


@dataclass(frozen=True)
class SchemaMapping:
    """Parameter vectors of one schema as those of another, by the names of sliders, groups and choices.

    What the one has no name for gets the other's neutral value.
    """

    width: int
    columns: Tensor  # [K] of the vector that is given
    targets: Tensor  # [K] of the vector that is made of it
    neutral: Tensor  # [width]
    groups: tuple[slice, ...]
    """The columns of each group in what is made."""

    @classmethod
    def between(cls, old: Any, new: Any) -> SchemaMapping | None:
        """From one schema to another, each by its own version's code; None where both have the same names in order."""
        names = _names(old), _names(new)
        if names[0] == names[1]:
            return None
        column = {name: number for number, name in enumerate(names[0])}
        kept = [(column[name], target) for target, name in enumerate(names[1]) if name in column]
        columns, targets = (torch.tensor([pair[k] for pair in kept], dtype=torch.long) for k in (0, 1))
        ends = [new.n_sliders + sum(new.group_sizes[:k]) for k in range(len(new.groups) + 1)]
        groups = tuple(slice(a, b) for a, b in pairwise(ends))
        return cls(new.width, columns, targets, torch.from_numpy(new.neutral()), groups)

    def __call__(self, x: Tensor) -> Tensor:
        """[N, width of the one] → [N, width]."""
        neutral = self.neutral.to(x)
        answer = torch.zeros(len(x), self.width, dtype=x.dtype, device=x.device)
        known = torch.zeros(self.width, dtype=torch.bool, device=x.device)
        answer[:, self.targets.to(x.device)] = x[:, self.columns.to(x.device)]
        known[self.targets.to(x.device)] = True
        for group in self.groups:
            # A choice that the one never heard of has no probability; a group unknown to it is neutral.
            known[group] = bool(known[group].any())
        return torch.where(known, answer, neutral)


def _names(schema: Any) -> list[tuple[str, ...]]:
    sliders = [(slider.name,) for slider in schema.sliders]
    return sliders + [(group.name, choice) for group in schema.groups for choice in group.choices]


class RemappedEncoder:
    """Another version's encoder, whose answers are carried over into the character's schema of today."""

    def __init__(self, encoder: Any, carried: SchemaMapping) -> None:
        self.encoder, self.carried = encoder, carried

    def __call__(self, features: Tensor) -> Tensor:
        return self.carried(self.encoder(features))

    def look(self, identity: Any, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and features of faces, as `Encoder.look` gives them."""
        return self.encoder.look(identity, faces)

    def read(self, identity: Any, faces: Tensor) -> Tensor:
        """Faces [B, 3, H, H] → parameters [B, width] of the schema of today."""
        return self.carried(self.encoder.read(identity, faces))


@dataclass(frozen=True)
class RemappedImitator:
    """Another version's imitator, which is given parameters of the schema of today.

    It can draw whatever its own encoder answers. What has come since it cannot, unless it is neutral.
    """

    imitator: Any
    carried: SchemaMapping
    """From its own schema to that of today."""
    back: SchemaMapping
    names: tuple[str, ...]  # [width] of the schema of today

    @property
    def size(self) -> int:
        """Its pictures' height and width in pixels."""
        return self.imitator.size

    def __call__(self, x: Tensor) -> Tensor:
        """Parameters [B, width] of the schema of today → pictures [B, 3, size, size]. Raises CannotDo."""
        own = self.back(x)
        lost = ((self.carried(own) - x).abs() > EXACT).any(dim=0).nonzero().flatten().tolist()
        if lost:
            raise CannotDo(
                f"its imitator was trained before there were {a_few([self.names[column] for column in lost], NAMED)}"
            )
        return self.imitator(own)
