"""One file with everything of a training that changes: no pickle, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.files import partial_file

CHECKPOINT = "checkpoint.safetensors"

Named = dict[str, Tensor]


class Extra(Protocol):
    """State of a stage that belongs into the checkpoint, such as the best weights so far."""

    def tensors(self) -> dict[str, Tensor]:
        """The state by name."""
        ...

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo `tensors`."""
        ...


def write_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any] | None = None) -> None:
    """Tensors and, in the file's metadata, what is plain; at no time is there half a file under that name."""
    # a copy of each: safetensors refuses tensors that share memory
    copies = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    with partial_file(path) as partial:
        save_file(copies, partial, metadata={"state": json.dumps(state)} if state is not None else None)


def read_tensors(path: Path) -> tuple[dict[str, Named], dict[str, Any]]:
    """Tensors by the first part of their name, and the plain state."""
    with safe_open(path, "pt") as file:
        state = json.loads(file.metadata()["state"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    parts: dict[str, Named] = {}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        parts.setdefault(part, {})[rest] = value
    return parts, state


def take_apart(optimiser: torch.optim.Optimizer) -> tuple[Named, dict[str, Any]]:
    """The state of an optimiser as tensors and plain values, each called `<parameter's number>.<name>`."""
    tensors, plain = {}, {}
    for index, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            elif value is not None:
                plain[f"{index}.{key}"] = value
    return tensors, plain


def put_together(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Undo `take_apart`."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **plain}.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def random_state() -> Named:
    """The states of torch's global random numbers in this process."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_state(states: Mapping[str, Tensor]) -> None:
    """Undo `random_state`."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
