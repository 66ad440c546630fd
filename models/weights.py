"""A trained network as a folder: `model.safetensors`, and beside it `meta.json` with what is needed to rebuild it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save_file
from torch import nn

WEIGHTS, META = "model.safetensors", "meta.json"

Network = TypeVar("Network", bound=nn.Module)


def save_model(folder: Path, network: nn.Module, meta: Mapping[str, Any]) -> None:
    """Write both files; the same network gives the same bytes."""
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / META).write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n")


def load_weights(folder: Path, network: Network) -> Network:
    """The network with the folder's weights, every name matched, in eval mode. Raises FileNotFoundError or
    RuntimeError.
    """
    network.load_state_dict(load_file(folder / WEIGHTS))
    return network.eval()


def read_meta(folder: Path) -> dict[str, Any]:
    """What meta.json says. Raises FileNotFoundError."""
    return json.loads((folder / META).read_text())
