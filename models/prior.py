"""Facial prior: sliders as whitened coefficients of one orthogonal basis for each part of the face.

Shi et al., TPAMI 2022 (doi 10.1109/TPAMI.2020.3024009) whiten the parameters found so far by SVD, part by part, and
predict inside that basis: an answer then varies as known faces do. For part p with samples X_p [N, S_p],
X_p - mean = U diag(s) V^T, and x_p = mean + V diag(spread) z with spread = s / sqrt(N - 1): over the samples each
coefficient has mean 0 and variance 1. Legend: B batch, S sliders, K coefficients, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

SMALLEST_SPREAD = 1e-4
"""A direction in which the samples spread less than this (sliders run from 0 to 1) counts as constant."""


class FacialPrior(nn.Module):
    """Whitened coefficients [B, K] <-> sliders [B, S].

    Holds buffers only, which travel in the state dict: `FacialPrior(n_sliders, dimension)` followed by
    `load_state_dict` gives back what `fit` made.
    """

    mean: Tensor
    basis: Tensor
    spread: Tensor

    def __init__(self, n_sliders: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_sliders))
        self.register_buffer("basis", torch.zeros(n_sliders, dimension))  # orthonormal columns
        self.register_buffer("spread", torch.ones(dimension))

    @classmethod
    def fit(cls, samples: Tensor, parts: Sequence[str], energy: float = 1.0) -> FacialPrior:
        """From samples [N, S] and the part of each slider, keeping this share of each part's variance (1: all of it).

        Sliders that never vary stay at their mean. Raises ValueError when there is nothing to learn from.
        """
        n, n_sliders = samples.shape
        if len(parts) != n_sliders:
            raise ValueError(f"{n_sliders} sliders need as many parts, not {len(parts)}")
        if n < 2 or not 0 < energy <= 1:
            raise ValueError(f"a facial prior needs two samples or more and 0 < energy <= 1, not {n} and {energy}")
        values = samples.detach().cpu().double()
        mean = values.mean(0)
        columns, spreads = [], []
        for part in dict.fromkeys(parts):
            index = torch.tensor([i for i, other in enumerate(parts) if other == part])
            directions, spread = _principal(values[:, index] - mean[index], energy)
            block = torch.zeros(n_sliders, len(spread), dtype=torch.double)
            block[index] = directions
            columns.append(block)
            spreads.append(spread)
        prior = cls(n_sliders, sum(map(len, spreads)))
        if not prior.dimension:
            raise ValueError("no slider varies in the samples: a facial prior needs faces that differ")
        prior.load_state_dict({"mean": mean, "basis": torch.cat(columns, 1), "spread": torch.cat(spreads)})
        return prior

    @classmethod
    def independent(cls, n_sliders: int, mean: float = 0.5, spread: float = 0.165) -> FacialPrior:
        """Where nothing is known of how sliders go together: each has this mean and spread, whatever the others."""
        prior = cls(n_sliders, n_sliders)
        prior.mean.fill_(mean)
        prior.basis.copy_(torch.eye(n_sliders))
        prior.spread.fill_(spread)
        return prior

    @property
    def dimension(self) -> int:
        """Number of coefficients K, at most S."""
        return len(self.spread)

    def to_sliders(self, coefficients: Tensor) -> Tensor:
        """Coefficients [B, K] -> sliders [B, S] in [0, 1]; gradients live on at the border, see `bound`."""
        return bound(self.mean + (coefficients * self.spread) @ self.basis.T)

    def to_coefficients(self, sliders: Tensor) -> Tensor:
        """Sliders [B, S] -> coefficients [B, K] of the nearest point that the basis reaches."""
        return ((sliders - self.mean) @ self.basis) / self.spread

    def penalty(self, coefficients: Tensor) -> Tensor:
        """Mean squared coefficient of each face, [B, K] -> [B]: up to a constant and the factor K / 2, minus the log
        density of a normal distribution with the samples' mean and covariance. A typical face has 1, the mean face 0.
        """
        return coefficients.square().mean(1)


def _principal(centred: Tensor, energy: float) -> tuple[Tensor, Tensor]:
    """Directions [S, k], orthonormal, and the samples' spread [k] along each, largest first."""
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    spread = singular / (len(centred) - 1) ** 0.5
    spread = spread[spread > SMALLEST_SPREAD]
    if energy < 1 and len(spread):
        share = spread.square().cumsum(0) / spread.square().sum()
        spread = spread[: int((share < energy).sum()) + 1]
    directions = directions[: len(spread)].T
    # SVD leaves the sign open: the largest entry is made positive, so that every machine gives the same basis
    signs = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign() if len(spread) else directions[:1]
    return directions * signs, spread


def bound(x: Tensor) -> Tensor:
    """x clamped to [0, 1] without its gradient dying there.

    A plain clamp passes no gradient where it acts, so a slider that once left the range would never come back; a
    sigmoid would bend the basis and never reach 0 and 1, where many sliders rest. Here the gradient is stopped only
    where a descent step would lead further out: it is the gradient of descent with projection.
    """
    bounded: Any = _Bound.apply(x)
    return bounded


class _Bound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        outward = ((x <= 0) & (gradient > 0)) | ((x >= 1) & (gradient < 0))
        return gradient.masked_fill(outward, 0.0)
