"""What every identity backbone offers, so that another one can take its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor, nn


class Backbone(nn.Module):
    """A face recognition network without its identity layer. Legend: B batch, C colour channels, D embedding."""

    kind: ClassVar[str]
    """Its name in configurations and in meta.json."""
    dim: ClassVar[int]
    """Length of an embedding."""
    side: ClassVar[int]
    """Side of the crop that it reads, pixels."""
    channels: ClassVar[int]
    """3: it reads RGB; 1: grey."""
    map_shape: ClassVar[tuple[int, int, int]]
    """Channels, height and width of what `features` gives."""

    fc: nn.Module
    """The embedding layer."""

    @staticmethod
    def placement(points: np.ndarray) -> np.ndarray:
        """The similarity [2, 3] that brings a face into the crop, from its five points (eye centres, nose tip, mouth
        corners, [5, 2]) to crop pixels.
        """
        raise NotImplementedError

    @staticmethod
    def read(path: Path | str) -> dict[str, Tensor]:
        """State dict from the file that the authors publish. Raises FileNotFoundError or ValueError."""
        raise NotImplementedError

    @property
    def last_layers(self) -> Sequence[nn.Module]:
        """What is trained when the convolutions stay as they are."""
        return (self.fc,)

    def features(self, crops: Tensor) -> Tensor:
        """Crops [B, C, side, side] in [0, 1] -> [B, *map_shape], all that comes before the fully connected part."""
        raise NotImplementedError

    def head(self, features: Tensor) -> Tensor:
        """Features -> embeddings [B, D], not normalised."""
        raise NotImplementedError

    def forward(self, crops: Tensor) -> Tensor:
        """Crops [B, C, side, side] in [0, 1] -> embeddings [B, D], not normalised."""
        return self.head(self.features(crops))
