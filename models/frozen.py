"""Trained models inside another module."""

from __future__ import annotations

from torch import nn


class Frozen(nn.Module):
    """Holds trained models that a gradient passes through and never changes: no parameter gradients, always in eval
    mode.
    """

    def __init__(self, **models: nn.Module) -> None:
        super().__init__()
        for name, model in models.items():
            self.add_module(name, model.requires_grad_(False).eval())

    def train(self, mode: bool = True) -> Frozen:
        """Stays in eval mode whatever is asked: batch statistics would make the imitator draw other faces."""
        return super().train(False)
