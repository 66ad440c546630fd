"""A trained model as a folder: model.safetensors with meta.json beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn


def save_model(folder: Path, module: nn.Module, meta: Mapping[str, Any]) -> None:
    """Weights as model.safetensors and all that is needed to rebuild the module as meta.json; the same model gives the
    same bytes.
    """
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "meta.json").write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n")


def load_weights(folder: Path, module: nn.Module) -> None:
    """Weights from model.safetensors, every name matched. Raises FileNotFoundError or RuntimeError."""
    module.load_state_dict(load_file(folder / "model.safetensors"))


def read_meta(folder: Path) -> dict[str, Any]:
    """meta.json beside the weights."""
    return json.loads((folder / "meta.json").read_text())
