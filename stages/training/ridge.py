"""Ridge regression, its strength chosen for each target by the leave-one-out error.

The same as scikit-learn's `RidgeCV(alpha_per_target=True)`, which holds four copies of the rows in double precision and
multiplies all of them by a square matrix again for each strength. Legend: N rows, F features, K targets, A strengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 2048
"""That are turned to double precision at a time."""


@dataclass(frozen=True)
class Ridge:
    """y = weight @ x + bias."""

    weight: Tensor  # [K, F]
    bias: Tensor  # [K]
    strengths: Tensor  # [K] that were chosen


def fit_ridge(x: Tensor, y: Tensor, strengths: Sequence[float]) -> Ridge:
    """From rows x [N, F] with their targets y [N, K], of any precision; in double precision.

    With the eigenvectors of the covariance both the answer and a row's leverage h are sums over F for every strength. A
    row that is left out is missed by its error divided by 1 - h (Allen, "The relationship between variable selection
    and data augmentation and a method for prediction", Technometrics 1974).
    """
    n = len(x)
    mean_x, mean_y = (torch.stack([part.double().sum(0) for part in each.split(ROWS)]).sum(0) / n for each in (x, y))

    def centred() -> Iterator[tuple[Tensor, Tensor]]:
        for rows, targets in zip(x.split(ROWS), y.split(ROWS), strict=True):
            yield rows.double() - mean_x, targets.double() - mean_y

    covariance, product = mean_x.new_zeros(x.shape[1], x.shape[1]), mean_x.new_zeros(x.shape[1], y.shape[1])
    for rows, targets in centred():
        covariance += rows.T @ rows
        product += rows.T @ targets
    values, directions = torch.linalg.eigh(covariance)
    shrinkage = 1 / (values.clamp(min=0) + mean_x.new_tensor(strengths)[:, None])  # [A, F]
    product = directions.T @ product
    errors = mean_x.new_zeros(len(strengths), y.shape[1])
    for rows, targets in centred():
        along = rows @ directions
        leverage = 1 / n + along.square() @ shrinkage.T
        for number, one in enumerate(shrinkage):
            missed = (targets - along @ (one[:, None] * product)) / (1 - leverage[:, number, None])
            errors[number] += missed.square().sum(0)
    best = errors.argmin(0)
    weight = (directions @ (shrinkage[best].T * product)).T
    return Ridge(weight, mean_y - weight @ mean_x, mean_x.new_tensor(strengths)[best])
