"""FaceRes and SFace side by side: two networks by other people on other photos, which err about other things.

What either sees of a face goes into one map and one embedding. A likeness to both is one to a third recogniser far more
often than a likeness to one of them; docs/method.md has the figures. Legend: B batch, D = 1152 embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .backbone import Backbone
from .faceres import FaceRes, SexAndAgeHead
from .frame import Window
from .reference import REFERENCE, five_points
from .sface import SFace

SHARE = 0.75
"""FaceRes' share of the cosine of two embeddings."""
FILES = ("faceres.json", "sface.onnx")
"""Of their weights, in one folder."""


class TwoRecognisers(Backbone):
    """Crops of FaceRes, in which SFace's crop lies -> both maps one after the other, and both embeddings."""

    kind, side, channels = "faceres+sface", FaceRes.side, 3
    dim = FaceRes.dim + SFace.dim
    map_shape = (FaceRes.map_shape[0] + SFace.map_shape[0], *FaceRes.map_shape[1:])
    centring = tuple(f"faceres.{name}" for name in FaceRes.centring)

    def __init__(self) -> None:
        super().__init__()
        self.faceres, self.sface = FaceRes(), SFace()
        self.window = Window(_between(), SFace.side)

    @staticmethod
    def placement(points: NDArray) -> NDArray:
        """FaceRes'. See Backbone."""
        return FaceRes.placement(points)

    @staticmethod
    def read(path: Path | str) -> dict[str, Tensor]:
        """State dict from a folder with both networks' files. See Backbone."""
        parts = {"faceres": FaceRes.read(Path(path) / FILES[0]), "sface": SFace.read(Path(path) / FILES[1])}
        return {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}

    @property
    def attributes(self) -> SexAndAgeHead:
        """See Backbone: it reads FaceRes' channels, which come first."""
        return self.faceres.attributes

    @property
    def last_layers(self) -> Sequence[nn.Module]:
        """SFace's: what FaceRes lost by a training on portraits was seen by other recognisers."""
        return self.sface.last_layers

    @property
    def trainable_layers(self) -> Sequence[nn.Module]:
        """SFace: FaceRes' maps say sex and age too. See Backbone."""
        return (self.sface,)

    def centre(self, features: Tensor) -> None:
        """See Backbone."""
        self.faceres.centre(self._split(features)[0])

    def features(self, crops: Tensor) -> Tensor:
        """Crops [B, 3, 224, 224], RGB in [0, 1] -> [B, 2048, 7, 7]."""
        return torch.cat([self.faceres.features(crops), self.sface.features(self.window(crops))], 1)

    @property
    def level_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """See Backbone."""
        pairs = zip(self.faceres.level_shapes, self.sface.level_shapes, strict=True)
        return tuple((first[0] + second[0], *first[1:]) for first, second in pairs)

    def levels(self, crops: Tensor) -> list[Tensor]:
        """See Backbone."""
        pairs = zip(self.faceres.levels(crops), self.sface.levels(self.window(crops)), strict=True)
        return [torch.cat(pair, 1) for pair in pairs]

    def head(self, features: Tensor) -> Tensor:
        """Features [B, 2048, 7, 7] -> embeddings [B, D] of length 1."""
        return self.centred(self.uncentred(features))

    def uncentred(self, features: Tensor) -> Tensor:
        """Features [B, 2048, 7, 7] -> [B, 1024 + 128]. See Backbone."""
        networks = zip((self.faceres, self.sface), self._split(features), strict=True)
        return torch.cat([network.uncentred(seen) for network, seen in networks], 1)

    def centred(self, uncentred: Tensor) -> Tensor:
        """See Backbone."""
        parts = uncentred.split([uncentred.shape[1] - SFace.dim, SFace.dim], 1)
        networks = zip((self.faceres, self.sface), parts, strict=True)
        found = [network.centred(part.contiguous()) for network, part in networks]
        first, second = (functional.normalize(one, dim=1) for one in found)
        return torch.cat([SHARE**0.5 * first, (1 - SHARE) ** 0.5 * second], 1)

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        first, second = features.split([FaceRes.map_shape[0], SFace.map_shape[0]], 1)
        return first, second


def _between() -> NDArray:
    """FaceRes' crop [0, 1] -> SFace's crop in pixels, [2, 3]."""
    points = five_points(REFERENCE)
    wide, close = (np.vstack([network.placement(points), [0, 0, 1]]) for network in (FaceRes, SFace))
    crop = np.diag([FaceRes.side, FaceRes.side, 1.0])
    return (close @ np.linalg.inv(wide) @ crop)[:2]
