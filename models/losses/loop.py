"""L_rec: does the encoder read its own drawing back? (Shi et al., AAAI 2020, eq. 4; TPAMI 2022, eq. 5)"""

from __future__ import annotations

from torch import Tensor, nn


class LoopLoss(nn.Module):
    """L_rec = ||x - x'||_1, mean over the vector."""

    def forward(self, x: Tensor, again: Tensor) -> Tensor:
        """Parameters [B, width] of the photo and of the drawing."""
        return (x - again).abs().mean()
