"""What every identity backbone offers, so that another one can take its place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from numpy.typing import NDArray
from torch import Tensor, nn


class Backbone(nn.Module, ABC):
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
    @abstractmethod
    def placement(points: NDArray) -> NDArray:
        """The similarity [2, 3] that brings a face into the crop, from its five points (eye centres, nose tip, mouth
        corners, [5, 2]) to crop pixels.
        """

    @staticmethod
    @abstractmethod
    def read(path: Path | str) -> dict[str, Tensor]:
        """State dict from the file that the authors publish. Raises FileNotFoundError or ValueError."""

    @property
    def attributes(self) -> nn.Module | None:
        """Where its last map says sex and age too: maps [B, *map_shape] -> log-odds of male and age in years [B, 2]."""
        return None

    @property
    def last_layers(self) -> Sequence[nn.Module]:
        """What is trained when the convolutions stay as they are."""
        return (self.fc,)

    @property
    def trainable_layers(self) -> Sequence[nn.Module]:
        """All that can be trained: no layer whose output `attributes` reads, for that head stays as it is."""
        return (self,)

    @abstractmethod
    def features(self, crops: Tensor) -> Tensor:
        """Crops [B, C, side, side] in [0, 1] -> [B, *map_shape], all that comes before the fully connected part."""

    @property
    def level_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Channels, height and width of each map that `levels` gives."""
        return (self.map_shape,)

    def levels(self, crops: Tensor) -> list[Tensor]:
        """Crops [B, C, side, side] in [0, 1] -> maps at growing depth, averaged over as many places as the last one,
        which is what `features` gives.
        """
        return [self.features(crops)]

    centring: ClassVar[tuple[str, ...]] = ()
    """Names, in its state dict, of what `centred` alone uses."""

    def centre(self, features: Tensor) -> None:
        """Before its first training step: let it know what is common to these faces' features [N, *map_shape]."""

    def uncentred(self, features: Tensor) -> Tensor:
        """Features -> [B, K], all that the embedding layer reads of them and that `centre` does not change."""
        return self.head(features)

    def centred(self, uncentred: Tensor) -> Tensor:
        """What `uncentred` gave -> embeddings [B, D], as `head` gives them."""
        return uncentred

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """Features -> embeddings [B, D], not normalised."""

    def forward(self, crops: Tensor) -> Tensor:
        """Crops [B, C, side, side] in [0, 1] -> embeddings [B, D], not normalised."""
        return self.head(self.features(crops))
