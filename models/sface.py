"""SFace (Zhong et al., TIP 2021) as plain torch layers: the identity backbone that comes with pretrained weights.

Legend: B batch, D = 128 embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .backbone import Backbone
from .reference import fit_similarity

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where eyes, nose tip and mouth corners lie in the crop (ArcFace's template), pixels."""

STAGES = (
    ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2))
    + ((512, 512, 1),) * 5
    + ((512, 1024, 2), (1024, 1024, 1))
)
"""(in, out, stride) of the depthwise-separable stages that follow the first convolution: MobileNet v1's."""


LEVELS = (15, 23)
"""After how many convolutions other readers look in: where colours are still there, and where textures are."""


class _Unit(nn.Sequential):
    """Convolution, batch normalisation, PReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(n_out, eps=1e-3),
            nn.PReLU(n_out),
        )


class SFace(Backbone):
    """MobileFaceNet-like backbone, 27 convolutions, then one fully connected layer: 9.62 M parameters."""

    kind, dim, side, channels = "sface", 128, 112, 3
    map_shape = (1024, 7, 7)

    def __init__(self) -> None:
        super().__init__()
        units = [_Unit(3, 32, 3)]
        for n_in, n_out, stride in STAGES:
            units += [_Unit(n_in, n_in, 3, stride, groups=n_in), _Unit(n_in, n_out, 1)]
        self.convolutions = nn.Sequential(*units)
        self.norm = nn.BatchNorm2d(1024, eps=2e-5)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(1024 * 7 * 7, self.dim)
        self.out_norm = nn.BatchNorm1d(self.dim, eps=2e-5)

    @staticmethod
    def placement(points: NDArray) -> NDArray:
        """The five points as close as can be to ArcFace's template. See Backbone."""
        return fit_similarity(points, TEMPLATE)

    @staticmethod
    def read(path: Path | str) -> dict[str, Tensor]:
        """State dict from OpenCV Zoo's ONNX file. See Backbone."""
        return sface_state_from_onnx(path)

    @property
    def last_layers(self) -> Sequence[nn.Module]:
        """What is trained when the convolutions stay as they are."""
        return (self.fc, self.out_norm)

    def features(self, crops: Tensor) -> Tensor:
        """Crops [B, 3, 112, 112], RGB in [0, 1] -> [B, 1024, 7, 7], all that comes before the fully connected part."""
        return self.convolutions(crops * (255 / 128) - 127.5 / 128)

    @property
    def level_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """See Backbone."""
        return (512, 7, 7), (512, 7, 7), self.map_shape

    def levels(self, crops: Tensor) -> list[Tensor]:
        """See Backbone."""
        x, found, begin = crops * (255 / 128) - 127.5 / 128, [], 0
        for end in LEVELS:
            x = self.convolutions[begin:end](x)
            found.append(functional.avg_pool2d(x, x.shape[-1] // self.map_shape[-1]))
            begin = end
        return [*found, self.convolutions[begin:](x)]

    def head(self, features: Tensor) -> Tensor:
        """Features [B, 1024, 7, 7] -> embeddings [B, D], not normalised."""
        return self.out_norm(self.fc(self.dropout(self.norm(features)).flatten(1)))


def sface_state_from_onnx(path: Path | str) -> dict[str, Tensor]:
    """State dict of SFace from its ONNX file; weights stored as blocks of 8-bit integers are multiplied out.

    The graph is a chain, so its nodes meet the layers in order. Raises ValueError where a node does not fit its layer.
    """
    import onnx  # needed once; later the weights come from safetensors

    graph = onnx.load(str(path)).graph
    values = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    convolutions, norms, slopes, linear = [], [], [], []
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            values[node.output[0]] = _dequantised(node, values)
        elif node.op_type == "Reshape":
            values[node.output[0]] = values[node.input[0]].reshape(values[node.input[1]])
        elif node.op_type == "Conv":
            convolutions.append(values[node.input[1]])
        elif node.op_type == "BatchNormalization":
            norms.append([values[name] for name in node.input[1:5]])
        elif node.op_type == "PRelu":
            slopes.append(values[node.input[1]].reshape(-1))
        elif node.op_type == "Gemm":
            linear.append((values[node.input[1]], values[node.input[2]]))
    model = SFace()
    state = dict(_pairs(model, convolutions, norms, slopes, linear))
    expected = model.state_dict()
    wrong = [name for name, value in state.items() if expected[name].shape != value.shape]
    if wrong or state.keys() != expected.keys() or not np.allclose(_input_scaling(values), (127.5, 1 / 128)):
        raise ValueError(f"{path} is not the SFace network that this project rebuilds ({wrong or 'other layers'})")
    return state


def _dequantised(node: Any, values: Mapping[str, NDArray]) -> NDArray:
    """ONNX's blocked DequantizeLinear: (q - zero point) * scale, one scale for each block along the axis."""
    integers, scale, zero = (values[name] for name in node.input)
    options = {attribute.name: attribute.i for attribute in node.attribute}
    axis, block = options.get("axis", 1), options["block_size"]
    spread = [np.repeat(v, block, axis).take(range(integers.shape[axis]), axis) for v in (scale, zero)]
    return ((integers.astype(np.float32) - spread[1].astype(np.float32)) * spread[0]).astype(np.float32)


def _input_scaling(values: Mapping[str, NDArray]) -> tuple[float, float]:
    return float(values["scalar_op1"].item()), float(values["scalar_op2"].item())


def _pairs(
    model: SFace,
    convolutions: Sequence[NDArray],
    norms: Sequence[Sequence[NDArray]],
    slopes: Sequence[NDArray],
    linear: Sequence[tuple[NDArray, NDArray]],
) -> Iterator[tuple[str, Tensor]]:
    """Names of the torch layers beside the values that belong there."""
    if (len(convolutions), len(norms), len(slopes), len(linear)) != (27, 29, 27, 1):
        raise ValueError("the file does not hold SFace's 27 convolutions and one fully connected layer")
    for i in range(27):
        yield f"convolutions.{i}.0.weight", _tensor(convolutions[i])
        yield f"convolutions.{i}.2.weight", _tensor(slopes[i])
    prefixes = [*(f"convolutions.{i}.1" for i in range(27)), "norm", "out_norm"]
    for prefix, (gamma, beta, mean, variance) in zip(prefixes, norms, strict=True):
        yield f"{prefix}.weight", _tensor(gamma)
        yield f"{prefix}.bias", _tensor(beta)
        yield f"{prefix}.running_mean", _tensor(mean)
        yield f"{prefix}.running_var", _tensor(variance)
        yield f"{prefix}.num_batches_tracked", torch.zeros((), dtype=torch.long)
    yield "fc.weight", _tensor(linear[0][0])
    yield "fc.bias", _tensor(linear[0][1])


def _tensor(value: NDArray) -> Tensor:
    return torch.from_numpy(np.array(value, np.float32))
