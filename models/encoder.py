"""Encoder: identity embedding to character parameters.

FC 512, three residual attention blocks (FC 512-1024-512 with a squeeze-excite gate 16 wide), one sigmoid head for the
sliders and one softmax head for each discrete group: 3.47 M parameters (Shi et al., TPAMI 2022). Legend: B batch, D
embedding, S sliders, G groups, width = S + all groups' choices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class _AttentionBlock(nn.Module):
    """x + gate(h) * h, with h = FC(ReLU(FC(x)))."""

    def __init__(self, width: int, hidden: int, gate: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.squeeze, self.excite = nn.Linear(width, gate), nn.Linear(gate, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(torch.relu(self.up(x)))
        return torch.relu(x + torch.sigmoid(self.excite(torch.relu(self.squeeze(h)))) * h)


class Encoder(nn.Module):
    """Embeddings [B, D] -> parameters x [B, width]: sliders in [0, 1], then a softmax for each group.

    `neutral`: parameters of the average face [width]; an untrained encoder starts there.
    """

    def __init__(
        self,
        n_sliders: int,
        group_sizes: Sequence[int],
        dim: int = 128,
        hidden: int = 512,
        blocks: int = 3,
        gate: int = 16,
        dropout: float = 0.0,
        neutral: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.n_sliders, self.group_sizes = n_sliders, tuple(group_sizes)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.mean: Tensor
        self.std: Tensor
        self.enter = nn.Linear(dim, hidden)
        self.blocks = nn.Sequential(*(_AttentionBlock(hidden, 2 * hidden, gate) for _ in range(blocks)))
        self.dropout = nn.Dropout(dropout)
        self.sliders = nn.Linear(hidden, n_sliders)
        self.groups = nn.ModuleList(nn.Linear(hidden, size) for size in self.group_sizes)
        if neutral is not None:
            self._start_from(neutral)

    @property
    def width(self) -> int:
        """Length of a parameter vector."""
        return self.n_sliders + sum(self.group_sizes)

    def standardise_by(self, embeddings: Tensor) -> None:
        """Take mean and spread of embeddings [N, D]; with the mean spread alone, so that quiet directions are not
        blown up.
        """
        spread = embeddings.std(0)
        self.mean.copy_(embeddings.mean(0))
        self.std.copy_(torch.maximum(spread, 0.3 * spread.mean()).clamp(min=1e-6))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> [B, width] before sigmoid and softmax."""
        h = torch.relu(self.enter((embeddings - self.mean) / self.std))
        h = self.dropout(self.blocks(h))
        return torch.cat([self.sliders(h), *(group(h) for group in self.groups)], 1)

    def activate(self, logits: Tensor) -> Tensor:
        """Logits [B, width] -> parameters [B, width]."""
        sliders, *groups = self.split(logits)
        return torch.cat([torch.sigmoid(sliders), *(torch.softmax(group, 1) for group in groups)], 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] of length 1 -> parameters [B, width]."""
        return self.activate(self.logits(embeddings))

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """[B, width] -> sliders [B, S], then one [B, choices] for each group."""
        return split(x, self.n_sliders, self.group_sizes)

    @torch.no_grad()
    def _start_from(self, neutral: Tensor) -> None:
        sliders, *groups = self.split(neutral[None].float())
        self.sliders.weight.mul_(0.1)
        self.sliders.bias.copy_(torch.logit(sliders[0].clamp(0.02, 0.98)))
        for layer, probabilities in zip(self.groups, groups, strict=True):
            assert isinstance(layer, nn.Linear)
            layer.weight.mul_(0.1)
            layer.bias.copy_(torch.log(probabilities[0].clamp(min=0.1)))


def split(x: Tensor, n_sliders: int, group_sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """[B, width] -> sliders [B, S], then one [B, choices] for each group."""
    return torch.split(x, [n_sliders, *group_sizes], dim=1)


def harden(x: Tensor, n_sliders: int, group_sizes: Sequence[int]) -> Tensor:
    """x with each group's probabilities replaced by the one-hot of the likeliest choice, as an engine needs it."""
    sliders, *groups = split(x, n_sliders, group_sizes)
    hard = [nn.functional.one_hot(group.argmax(1), group.shape[1]).to(x) for group in groups]
    return torch.cat([sliders, *hard], 1)


def choices(x: Tensor, n_sliders: int, group_sizes: Sequence[int]) -> Tensor:
    """Index of each group's likeliest choice, [B, G] int64."""
    groups = split(x, n_sliders, group_sizes)[1:]
    if not groups:
        return torch.zeros(len(x), 0, dtype=torch.long, device=x.device)
    return torch.stack([group.argmax(1) for group in groups], 1)
