"""A stage so small that it trains in a blink, for what is hard about training: several processes, kills, odd losses."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel
from safetensors.torch import save_file
from torch import Tensor, nn

from models.weights import save_model
from stages.context import Context
from stages.training import Batch, Training, generator_for, rows_for, train

ROWS = 30
_draw = torch.Generator().manual_seed(3)
X = torch.randn(ROWS, 5, generator=_draw)
Y = X @ torch.randn(5, 2, generator=_draw)


class Config(BaseModel, frozen=True, extra="forbid"):
    """What is odd about this training."""

    training: Training = Training(steps=12, batch=4)
    regular: bool = True
    """Dropout and batch normalisation."""
    two_heads: bool = False
    """A second head that only every third batch uses, and a frozen layer before both."""
    trouble: Literal["", "nan", "dies", "raises", "hangs"] = ""
    trouble_at: int = 0
    """Number of the batch at which it comes."""


class Kept:
    """The parameters at the last evaluation: state that belongs into the checkpoint."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.weights = module, torch.empty(0)

    def keep(self) -> None:
        self.weights = torch.cat([p.detach().flatten() for p in self.module.parameters()])

    def tensors(self) -> dict[str, Tensor]:
        return {"weights": self.weights}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.weights = tensors["weights"]


class Network(nn.Module):
    """5 numbers in, 2 out."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        torch.manual_seed(1)
        middle = [nn.BatchNorm1d(8), nn.Dropout(0.3)] if config.regular else [nn.Tanh()]
        self.body = nn.Sequential(nn.Linear(5, 8), *middle)
        self.first, self.second = nn.Linear(8, 2), nn.Linear(8, 2)
        self.body[0].requires_grad_(not config.two_heads)
        self.second.requires_grad_(config.two_heads)

    def forward(self, x: Tensor, second: bool = False) -> Tensor:
        hidden = self.body(x)
        return self.first(hidden) + (self.second(hidden) if second else 0)


def batch_at(config: Config, k: int) -> Batch:
    training = config.training
    rows = rows_for(k, training.batch, ROWS, training.seed)
    noise = torch.randn(training.batch, 5, generator=generator_for(k, training.seed))
    batch = {"x": X[rows] + 0.01 * noise * config.regular, "y": Y[rows], "number": torch.tensor(k)}
    if k == config.trouble_at:
        if config.trouble == "nan":
            batch["y"] = batch["y"] * float("nan")
        elif config.trouble == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        elif config.trouble == "raises":
            raise KeyError("a row that is not there")
        elif config.trouble == "hangs":
            time.sleep(600)
    return batch


def loss_of(network: Network, config: Config, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Augmented by torch's global random numbers, as a stage may in its loss."""
    x = batch["x"] + 0.01 * torch.randn_like(batch["x"]) * config.regular
    second = config.two_heads and int(batch["number"]) % 3 == 0
    loss = (network(x, second) - batch["y"]).square().mean()
    return loss, {"squared": loss, **({"second": loss} if second else {})}


def run(inputs: Mapping[str, Path], config: Config, out: Path, context: Context) -> dict[str, float]:
    """Writes model.safetensors and meta.json; in a process of its own also what that process ended with."""
    network = Network(config)
    kept = Kept(network)

    def evaluate(step: int) -> dict[str, float]:
        kept.keep()
        with torch.no_grad():
            return {"error": float((network(X) - Y).square().mean())}

    def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return loss_of(network, config, batch)

    steps = train("tiny", network, lambda k: batch_at(config, k), loss, config.training, context, evaluate, kept)
    save_model(out, network, {"steps": steps})
    if "ends" in inputs:
        ended = {**network.state_dict(), "kept": kept.weights}
        save_file(ended, inputs["ends"] / f"{os.environ.get('LOCAL_RANK', '0')}.safetensors")
    return {"steps": float(steps), "random": float(torch.rand(()))}
