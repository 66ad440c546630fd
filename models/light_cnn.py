"""Light CNN-29 v2 (Wu, He, Sun, Tan: "A Light CNN for Deep Face Representation with Noisy Labels", TIFS 2018): the
papers' identity backbone.

Layers have the names of the authors' own PyTorch code, so that the checkpoint they publish loads. Their identity layer
(`fc2`) is not part of the backbone. Legend: B batch, D = 256 embedding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .backbone import Backbone
from .pretrained import matched, read_state

EYES_TO_MOUTH = 48.0
"""Height between the eyes' midpoint and the mouth's in the crop, pixels (the authors' `ec_mc_y`)."""

EYES_FROM_TOP = 40.0
"""Where the eyes' midpoint lies below the crop's upper edge, pixels (`ec_y` of 128-pixel pictures)."""


class _MaxFeatureMap(nn.Module):
    """A convolution with twice the channels; of both halves the larger value at each place (section III-A)."""

    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(n_in, 2 * n_out, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.filter(x).chunk(2, 1)
        return torch.maximum(first, second)


class _Group(nn.Module):
    """1x1, then 3x3."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv_a = _MaxFeatureMap(n_in, n_in, 1)
        self.conv = _MaxFeatureMap(n_in, n_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv_a(x))


class _Residual(nn.Module):
    """Two 3x3 and the identity beside them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _MaxFeatureMap(width, width, 3)
        self.conv2 = _MaxFeatureMap(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


def _blocks(count: int, width: int) -> nn.Sequential:
    return nn.Sequential(*(_Residual(width) for _ in range(count)))


def _pool(x: Tensor) -> Tensor:
    """Version 2 adds the mean to the maximum."""
    return functional.max_pool2d(x, 2) + functional.avg_pool2d(x, 2)


class LightCNN29v2(Backbone):
    """29 convolution and fully connected layers, no normalisation layer: 10,475,872 parameters."""

    kind, dim, side, channels = "lightcnn29v2", 256, 128, 1
    map_shape = (128, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _MaxFeatureMap(1, 48, 5)
        self.block1, self.group1 = _blocks(1, 48), _Group(48, 96)
        self.block2, self.group2 = _blocks(2, 96), _Group(96, 192)
        self.block3, self.group3 = _blocks(3, 192), _Group(192, 128)
        self.block4, self.group4 = _blocks(4, 128), _Group(128, 128)
        self.fc = nn.Linear(128 * 8 * 8, self.dim)
        self.dropout = nn.Dropout(0.5)  # between embedding and identity layer, so in training alone

    @staticmethod
    def placement(points: NDArray) -> NDArray:
        """The authors' alignment: eyes level, their midpoint and the mouth's at fixed heights. See Backbone."""
        eyes, mouth = points[:2].mean(0), points[3:].mean(0)
        along = (points[1] - points[0]) / np.linalg.norm(points[1] - points[0])
        level = np.array([along, [-along[1], along[0]]])  # turns the line through the eyes to the horizontal
        scale = EYES_TO_MOUTH / (level @ (mouth - eyes))[1]
        shift = np.array([LightCNN29v2.side / 2, EYES_FROM_TOP]) - scale * level @ eyes
        return np.column_stack([scale * level, shift])

    @staticmethod
    def read(path: Path | str) -> dict[str, Tensor]:
        """State dict from the authors' checkpoint (`LightCNN_29Layers_V2_checkpoint.pth.tar`). See Backbone."""
        state = read_state(path)
        return matched(state, LightCNN29v2().state_dict(), f"Light CNN-29 v2 ({path})", dropped=["fc2."])

    def features(self, crops: Tensor) -> Tensor:
        """Grey crops [B, 1, 128, 128] in [0, 1] -> [B, 128, 8, 8], all that comes before the embedding layer."""
        x = _pool(self.conv1(crops))
        x = _pool(self.group1(self.block1(x)))
        x = _pool(self.group2(self.block2(x)))
        x = self.group3(self.block3(x))
        return _pool(self.group4(self.block4(x)))

    def head(self, features: Tensor) -> Tensor:
        """Features [B, 128, 8, 8] -> embeddings [B, D], not normalised; half of the values dropped in training."""
        # .flatten(1) of a channels-last tensor still counts channel by channel, as the authors' .view does
        return self.dropout(self.fc(features.flatten(1)))
