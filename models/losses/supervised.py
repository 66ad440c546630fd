"""L_sup: renders whose parameters are known. (EasyCraft, CVPR 2025)"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

NORMS = ("l1", "l2", "standardised")


class SupervisedLoss(nn.Module):
    """L_sup = ||E(F(render)) - x|| for sliders, plus cross entropy, mean over the groups.

    `norm`: "l1", "l2", or "standardised": squared distance in units of each slider's own spread [S], so that a slider
    which seldom moves counts as much as one that often does; 1 is as good as always answering the mean.
    """

    def __init__(
        self,
        n_sliders: int,
        group_sizes: Sequence[int],
        norm: str = "l2",
        group_weight: float = 0.05,
        spread: Tensor | None = None,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is one of {', '.join(NORMS)}, not {norm!r}")
        if norm == "standardised" and spread is None:
            raise ValueError("the standardised norm needs the sliders' spread")
        self.n_sliders, self.group_sizes, self.norm = n_sliders, tuple(group_sizes), norm
        self.group_weight = group_weight
        moving = torch.zeros(n_sliders) if spread is None else spread
        # sliders that never vary in the data teach nothing, and would count without end
        scale = torch.where(moving > 1e-4, 1 / moving.clamp(min=1e-4), torch.zeros_like(moving))
        self.register_buffer("scale", scale, persistent=False)
        self.scale: Tensor

    def forward(self, sliders: Tensor, groups: Sequence[Tensor], truth: Tensor) -> Tensor:
        """Sliders [B, S], each group's logits [B, choices] and the true parameters [B, width]."""
        true_sliders, *true_groups = torch.split(truth, [self.n_sliders, *self.group_sizes], dim=1)
        if self.norm == "standardised":
            loss = ((sliders - true_sliders) * self.scale).square().mean()
        else:
            loss = (functional.l1_loss if self.norm == "l1" else functional.mse_loss)(sliders, true_sliders)
        if groups:
            entropies = [functional.cross_entropy(g, t) for g, t in zip(groups, true_groups, strict=True)]
            loss = loss + self.group_weight * torch.stack(entropies).mean()
        return loss
