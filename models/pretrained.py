"""Weights from the files in which other people publish them: read without running what is in them, and matched by
name and shape.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

_COUNTER = "num_batches_tracked"


def read_state(path: Path | str) -> dict[str, Tensor]:
    """Tensors by layer name from a .safetensors file or one that `torch.save` wrote.

    Of a training checkpoint the entry `state_dict` is taken; DataParallel's prefix `module.` is removed. Raises
    FileNotFoundError, or ValueError when the file cannot be read or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: download them from their authors and give the file's path")
    found = _load(path)
    state = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} holds no state dict: a table of tensors by layer name was expected")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _load(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError, LookupError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path} cannot be read as weights ({reason})") from error


def fingerprint(path: Path | str) -> dict[str, str]:
    """Name and sha256 of a file of weights, so that a model can say what it was made from."""
    with Path(path).open("rb") as file:
        return {"file": Path(path).name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def matched(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str, dropped: Sequence[str] = ()
) -> dict[str, Tensor]:
    """The part of `state` that `expected` asks for, every layer by name and shape.

    `dropped`: beginnings of the names of layers that the file may have beyond these. Raises ValueError that names the
    layers that are missing, unknown or of another shape.
    """
    kept = {name: value for name, value in state.items() if not name.startswith(tuple(dropped))}
    for name, value in expected.items():
        # Files from before PyTorch 0.4.1 lack this counter, and nothing is computed from it.
        if name.endswith(_COUNTER):
            kept.setdefault(name, torch.zeros_like(value))
    wrong = {
        "missing": [name for name in expected if name not in kept],
        "unknown": [name for name in kept if name not in expected],
        "of another shape": [
            f"{name} {list(value.shape)} instead of {list(expected[name].shape)}"
            for name, value in kept.items()
            if name in expected and value.shape != expected[name].shape
        ],
    }
    complaints = [f"{kind}: {_some(names)}" for kind, names in wrong.items() if names]
    if complaints:
        raise ValueError(f"these are not the weights of {what}; layers {'; '.join(complaints)}")
    return kept


def _some(names: Sequence[str], shown: int = 6) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
