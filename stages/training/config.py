"""How long and how a model is trained: steps, batches, the optimiser and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import BaseModel, Field
from torch import nn


class Optimiser(BaseModel, frozen=True, extra="forbid"):
    """Which optimiser, and its learning rate over the steps."""

    kind: Literal["sgd", "adam", "adamw"] = "adam"
    rate: float = Field(default=1e-4, gt=0)
    momentum: float = 0.9
    """SGD only."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    fused: bool = Field(default=False, exclude_if=lambda value: not value)
    """Adam in one pass over each weight instead of ten: the same up to rounding. Left out of what is recorded where it
    is off, so that trainings of before it are the same."""
    schedule: Literal["constant", "cosine", "onecycle", "step"] = "constant"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which onecycle's rate rises."""
    decay_every: int = Field(default=1000, gt=0)
    decay_by: float = Field(default=0.9, gt=0)
    """The step schedule multiplies the rate by this every `decay_every` steps."""

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate of step 0 .. steps - 1."""
        done = step / max(steps, 1)
        if self.schedule == "cosine":
            return self.rate * 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule == "onecycle":
            if done < self.warmup:
                return self.rate * (0.04 + 0.96 * done / self.warmup)
            return self.rate * (
                0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))
            )
        if self.schedule == "step":
            return self.rate * self.decay_by ** (step // self.decay_every)
        return self.rate

    def build(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser."""
        if self.kind == "sgd":
            return torch.optim.SGD(parameters, self.rate, self.momentum, weight_decay=self.weight_decay)
        cls = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        return cls(parameters, self.rate, self.betas, weight_decay=self.weight_decay, fused=self.fused or None)


class Training(BaseModel, frozen=True, extra="forbid"):
    """How long and how one model is trained."""

    steps: int = Field(default=1000, ge=0)
    batch: int = Field(default=16, gt=0)
    """Rows of one batch; each device has batches of its own."""
    accumulate: int = Field(default=1, gt=0)
    """Batches of one device whose gradients make one step."""
    prefetch: int = Field(default=1, ge=0)
    """Batches that a background thread makes ahead, while the device computes; 0: each is made when its turn comes."""
    optimiser: Optimiser = Optimiser()
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    clip: float | None = None
    """Largest gradient norm."""
    seed: int = 0
    log_every: int = Field(default=10, gt=0)
    evaluate_every: int = Field(default=500, gt=0)
    checkpoint_steps: int = Field(default=1000, gt=0)
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    flat_window: int = Field(default=0, ge=0)
    """Stop when the mean loss of this many steps differs from that of as many before by less than `flat_change`; 0:
    never.
    """
    flat_change: float = 1e-4
