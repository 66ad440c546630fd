"""L_ctt: are the outlines the same? (Shi et al., AAAI 2020, eq. 3; TPAMI 2022, eq. 4)"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..parsing import CLASSES

CLASS_WEIGHTS: dict[str, float] = {
    "background": 0.0,
    "face": 0.5,
    "hair": 0.25,
    **dict.fromkeys(
        ("left_brow", "right_brow", "left_eye", "right_eye", "nose", "upper_lip", "teeth", "lower_lip"), 1.0
    ),
}
"""How much a pixel of each class counts."""


class ContentLoss(nn.Module):
    """L_ctt = ||w (f - f')||_1, w from the class probabilities of the photo."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.tensor([CLASS_WEIGHTS[name] for name in CLASSES])
        self.register_buffer("weights", weights.view(1, -1, 1, 1), persistent=False)
        self.weights: Tensor

    def forward(self, photo: Tensor, drawn: Tensor, probabilities: Tensor) -> Tensor:
        """Features [B, C, h, w] of both, the photo's class probabilities [B, K, h, w] -> weighted mean; 0 for an empty
        batch.
        """
        if len(photo) == 0:
            return drawn.sum()
        pixel = (probabilities * self.weights).sum(1, keepdim=True)
        return (pixel * (photo - drawn).abs()).sum() / (pixel.sum() * photo.shape[1]).clamp(min=1e-6)


def sized(faces: Tensor, size: int) -> Tensor:
    """Faces [B, 3, H, H] at the size at which they are parsed, without aliasing; differentiable."""
    if faces.shape[-1] == size:
        return faces
    smaller = size < faces.shape[-1]
    return functional.interpolate(faces, (size, size), mode="bilinear", align_corners=False, antialias=smaller)
