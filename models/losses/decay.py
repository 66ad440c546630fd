"""L_decay: stay near the average face. (Patent CN110717977A, claim 6; the papers have the facial prior in its place)"""

from __future__ import annotations

from torch import Tensor, nn


class DecayLoss(nn.Module):
    """L_decay = ||x - m||_1. Sliders only: a choice has no distance from the average."""

    def forward(self, sliders: Tensor, neutral: Tensor) -> Tensor:
        """Sliders [B, S] and the average face's [S]."""
        return (sliders - neutral).abs().mean()
