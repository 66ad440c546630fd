"""L_idt: is it the same person? (Shi et al., AAAI 2020, eq. 2; TPAMI 2022, eq. 3)"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class DomainStatistics(nn.Module):
    """Mean and spread [D] of one domain's embeddings: what all its faces have in common, however they differ.

    A recogniser that has seen photos only places all renders near one another, whoever they show. Adaptive batch
    normalisation (Li et al., Pattern Recognition 2018) for its last layer takes that out: every domain is centred and
    scaled by statistics of its own.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    @torch.no_grad()
    def fit(self, embeddings: Tensor) -> DomainStatistics:
        """From embeddings [N, D]."""
        self.mean.copy_(embeddings.mean(0))
        self.std.copy_(embeddings.std(0).clamp(min=1e-6))
        return self

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> the same without what their domain has in common."""
        return (embeddings - self.mean) / self.std


class IdentityLoss(nn.Module):
    """L_idt = 1 - cos(e, e'), of plain embeddings or, given both domains' statistics, of aligned ones."""

    def __init__(self, photos: DomainStatistics | None = None, drawings: DomainStatistics | None = None) -> None:
        super().__init__()
        self.photos, self.drawings = photos or nn.Identity(), drawings or nn.Identity()

    def forward(self, photo: Tensor, drawn: Tensor) -> Tensor:
        """Embeddings [B, D] of photo and drawing -> mean over the batch."""
        return (1 - functional.cosine_similarity(self.photos(photo), self.drawings(drawn), dim=1)).mean()
