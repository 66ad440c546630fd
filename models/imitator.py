"""Imitator: transposed convolutions that draw the engine's face from its parameters, so that the engine gets a
gradient.

Eight layers 512-512-512-256-128-64-64-3 for 512 pixels (Shi et al., TPAMI 2022); smaller pictures leave out the first
ones. For 264 parameters, as the male character of ICCV 2019 has (208 continuous ones and 56 choices), it has 13,376,515
weights and takes 3.223 G multiply-adds; published are 13.4 M and 3.22 G. Each parameter more or less changes both by
8,192, so 261 to 272 of them give 13.4 M.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from .weights import load_weights, read_meta

FILTERS = (512, 512, 512, 256, 128, 64, 64)
"""Output channels of the layers before the RGB one, at 512 pixels and full width."""


class Imitator(nn.Module):
    """Parameters x [B, width] -> RGB faces [B, 3, size, size] in [0, 1].

    `size`: 32 to 512, a power of two. `width_factor`: on the filters. `drop`: which end of the published list of
    filters a smaller picture leaves out: "first" (fast) or "last" (the wide layers stay).
    """

    def __init__(self, n_parameters: int, size: int = 512, width_factor: float = 1.0, drop: str = "first") -> None:
        super().__init__()
        n_layers = size.bit_length() - 2  # 4 pixels after the first layer, doubled by each further one
        if size != 1 << (size.bit_length() - 1) or not 4 <= n_layers <= 8:
            raise ValueError(f"an imitator draws 32, 64, 128, 256 or 512 pixels, not {size}")
        if drop not in ("first", "last"):
            raise ValueError(f"drop is 'first' or 'last', not {drop!r}")
        kept = FILTERS[len(FILTERS) - (n_layers - 1) :] if drop == "first" else FILTERS[: n_layers - 1]
        channels = [n_parameters, *(max(4, round(n * width_factor)) for n in kept)]
        layers: list[nn.Module] = []
        for i, (n_in, n_out) in enumerate(pairwise(channels)):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            # no bias: the normalisation that follows would take it out again
            layers += [
                nn.ConvTranspose2d(n_in, n_out, 4, stride, padding, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
            ]
        layers += [nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1), nn.Sigmoid()]
        self.size = size
        self.layers = nn.Sequential(*layers)
        for module in self.layers:
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @classmethod
    def load(cls, folder: Path) -> Imitator:
        """The trained imitator of a folder (`models.weights`), in eval mode."""
        meta = read_meta(folder)
        return load_weights(folder, cls(*(meta[name] for name in ("n_parameters", "size", "width", "drop"))))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, n_parameters], continuous values in [0, 1] and one-hot or softmax groups."""
        return self.layers((2 * x - 1)[:, :, None, None])
