"""What the encoder reads of a face: its identity embedding and, if wanted, the convolution map that it came from.

The published encoder reads the embedding alone, which was trained to forget everything but the identity: where exactly
the brows lie is hardly in it. One layer before, the map still knows. It is reduced by two linear steps that are
fitted once, principal channels at each place and then principal directions of all places together.
Legend: B batch, D embedding, C x h x w map, c channels kept, M map features, F = D + M.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .identity import IdentityModel

QUIETEST = 0.3
"""A direction of the embedding counts as spread by at least this share of the mean spread, or noise would be blown
up."""


ROWS = 2048
"""That are turned to double precision at a time."""


class MapDirections(nn.Module):
    """Convolution maps [B, C, h, w] -> [B, M]: principal channels at each place, then principal directions, whitened.

    Holds buffers only, which travel in the state dict. `shape` (C, h, w); `channels` c; `n` M, 0 for nothing.
    """

    channel_mean: Tensor
    channel_basis: Tensor
    map_mean: Tensor
    map_basis: Tensor

    def __init__(self, shape: Sequence[int], channels: int, n: int) -> None:
        super().__init__()
        n_channels, height, width = shape if n else (0, 0, 0)
        channels = min(channels, n_channels)
        flat = channels * height * width
        if n > flat:
            raise ValueError(f"{n} map features cannot come out of {flat} numbers: keep more channels")
        self.n = n
        self.register_buffer("channel_mean", torch.zeros(n_channels))
        self.register_buffer("channel_basis", torch.zeros(n_channels, channels))
        self.register_buffer("map_mean", torch.zeros(flat))
        self.register_buffer("map_basis", torch.zeros(flat, n))

    def squeeze(self, maps: Tensor) -> Tensor:
        """Maps [B, C, h, w] -> their principal channels, flat [B, h * w * c]."""
        places = maps.permute(0, 2, 3, 1) - self.channel_mean
        return (places @ self.channel_basis).flatten(1)

    def project(self, squeezed: Tensor) -> Tensor:
        """Squeezed maps [B, h * w * c] -> [B, M]."""
        return (squeezed - self.map_mean) @ self.map_basis

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, h, w] -> [B, M]."""
        return self.project(self.squeeze(maps))

    @torch.no_grad()
    def fit_channels(self, maps: Tensor) -> None:
        """Principal channels of maps [N, C, h, w] of any precision; the first of two fits."""
        places = maps.permute(0, 2, 3, 1).flatten(0, 2)
        mean, directions, _ = principal(places, self.channel_basis.shape[1])
        self.channel_mean.copy_(mean)
        self.channel_basis.copy_(directions)

    @torch.no_grad()
    def fit(self, squeezed: Tensor) -> None:
        """Principal directions of squeezed maps [N, h * w * c]; the second."""
        mean, directions, spread = principal(squeezed, self.n)
        self.map_mean.copy_(mean)
        self.map_basis.copy_(directions / spread.clamp(min=1e-6))


class FaceFeatures(nn.Module):
    """Embeddings [B, D] of length 1 and maps [B, C, h, w] -> standardised features [B, F].

    Holds buffers only, which travel in the state dict. `map_shape` (C, h, w); `channels` c and `n_map` M: 0 for the
    embedding alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, map_shape: Sequence[int] = (0, 0, 0), channels: int = 64, n_map: int = 0) -> None:
        super().__init__()
        self.dim, self.n_map = dim, n_map
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.directions = MapDirections(map_shape, channels, n_map)

    @property
    def width(self) -> int:
        """Number of features F."""
        return self.dim + self.n_map

    def forward(self, embeddings: Tensor, maps: Tensor) -> Tensor:
        """Embeddings [B, D] and maps [B, C, h, w] -> features [B, F]."""
        return self.concat(embeddings, self.directions.squeeze(maps) if self.n_map else None)

    def concat(self, embeddings: Tensor, squeezed: Tensor | None) -> Tensor:
        """Embeddings [B, D] and squeezed maps [B, h * w * c] -> features [B, F]."""
        standard = (embeddings - self.mean) / self.std
        if squeezed is None or not self.n_map:
            return standard
        return torch.cat([standard, self.directions.project(squeezed)], 1)

    @torch.no_grad()
    def fit(self, embeddings: Tensor, squeezed: Tensor | None) -> None:
        """Mean and spread of embeddings [N, D], principal directions of squeezed maps [N, h * w * c], whitened."""
        spread = embeddings.std(0)
        self.mean.copy_(embeddings.mean(0))
        self.std.copy_(torch.maximum(spread, QUIETEST * spread.mean()).clamp(min=1e-6))
        if squeezed is not None and self.n_map:
            self.directions.fit(squeezed)


def read_maps(identity: IdentityModel, faces: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Faces [B, 3, H, H] in the reference frame, RGB in [0, 1] -> embeddings [B, D] of length 1 and the maps
    [B, C, h, w] of `Backbone.levels`, the last of which is all that the embedding reads.
    """
    crops = identity.crop(faces).contiguous(memory_format=torch.channels_last)
    levels = identity.backbone.levels(crops)
    return functional.normalize(identity.backbone.head(levels[-1]), dim=1), levels


def principal(rows: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [W], the first k principal directions [W, k] and the spread [k] along each, of rows [N, W] of any precision,
    computed in double precision.

    Directions that the rows do not span (N <= k) have spread 0 and are empty.
    """
    n, width = rows.shape
    mean = torch.stack([part.double().sum(0) for part in rows.split(ROWS)]).sum(0) / n
    if 1 < n < width:  # so few rows span less than a covariance has room for
        values, directions = torch.linalg.svd(rows.double() - mean, full_matrices=False)[1:]
        directions, spread = nn.functional.pad(directions.T, (0, max(0, k - n)))[:, :k], values / (n - 1) ** 0.5
        spread = nn.functional.pad(spread, (0, max(0, k - n)))[:k]
    else:
        covariance = mean.new_zeros(width, width)
        for part in rows.split(ROWS):  # a copy of all rows in double precision would be a gigabyte or more
            centred = part.double() - mean
            covariance += centred.T @ centred / max(n - 1, 1)
        values, directions = torch.linalg.eigh(covariance)
        spread, directions = values.flip(0)[:k].clamp(min=0).sqrt(), directions.flip(1)[:, :k]
    kept = spread > 1e-4 * spread.max()
    # eigenvectors leave the sign open: the largest entry is made positive, so that every machine gives the same basis
    signs = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    return mean, directions * signs * kept, torch.where(kept, spread, torch.ones_like(spread))
