"""HSE-FaceRes (Savchenko, "Efficient facial representations for age, gender and identity recognition in organizing
photo albums using multi-output ConvNet", PeerJ Computer Science 2019) as plain torch layers: MobileNet v1, whose last
map, its places averaged, tells people apart. A small head reads sex and age from the same average.

Legend: B batch, D = 1024 embedding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .backbone import Backbone
from .reference import REFERENCE, fit_similarity, five_points
from .sface import STAGES

WINDOW = (0.1, 0.14, 0.8)
"""left, top and side of what it reads of the reference frame: a detector's box of the face and some margin."""
MEANS = (123.68, 116.779, 103.939)
"""Of R, G and B on [0, 255], which it takes off before it reads them as B, G, R: those of Keras' "caffe" mode."""
LEVELS = (7, 11)
"""After how many stages other readers look in: where colours are still there, and where textures are."""
SURE = 6.0
"""Log-odds are cut off here: what is beyond is no surer."""


class _Convolution(nn.Sequential):
    """Convolution and ReLU6, padded as TensorFlow pads: where it halves an even side, below and right alone."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        layers: list[nn.Module] = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(*layers, nn.Conv2d(n_in, n_out, kernel, stride, padding, groups=groups), nn.ReLU6())


class SexAndAgeHead(nn.Module):
    """The last map [B, 1024, 7, 7] -> [B, 2]: log-odds of male, and age in years. Frozen, as its authors trained it.

    Of a map with more channels it reads the first 1024.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(1024, 256)
        self.male, self.age = nn.Linear(256, 1), nn.Linear(256, 100)

    def forward(self, maps: Tensor) -> Tensor:
        """See the class; differentiable."""
        seen = torch.relu(self.features(maps[:, : self.features.in_features].mean((2, 3))))
        years = torch.arange(1, 1 + self.age.out_features, device=maps.device, dtype=maps.dtype)
        age = torch.softmax(self.age(seen), 1) @ years
        return torch.stack([self.male(seen)[:, 0].clamp(-SURE, SURE), age], 1)


class FaceRes(Backbone):
    """MobileNet v1 of 27 convolutions, then the mean of all places less that of many faces: 3.2 M parameters.

    `fc` starts as the identity; its bias takes off the mean (`centre`), which all faces have in common, so that a
    cosine compares what is a face's own.
    """

    kind, dim, side, channels = "faceres", 1024, 224, 3
    centring = ("fc.weight", "fc.bias")
    map_shape = (1024, 7, 7)

    def __init__(self) -> None:
        super().__init__()
        stages = [nn.Sequential(_Convolution(3, 32, 3, 2))]
        for n_in, n_out, stride in STAGES:
            stages.append(nn.Sequential(_Convolution(n_in, n_in, 3, stride, groups=n_in), _Convolution(n_in, n_out, 1)))
        self.stages = nn.Sequential(*stages)
        self.sex_and_age = SexAndAgeHead()
        self.fc = nn.Linear(1024, self.dim)
        nn.init.eye_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)
        self.register_buffer("means", torch.tensor(MEANS).view(3, 1, 1), persistent=False)
        self.means: Tensor

    @staticmethod
    def placement(points: NDArray) -> NDArray:
        """Its window of the reference frame. See Backbone."""
        left, top, side = WINDOW
        return fit_similarity(points, (five_points(REFERENCE) - (left, top)) / side * FaceRes.side)

    @staticmethod
    def read(path: Path | str) -> dict[str, Tensor]:
        """State dict from TensorFlow.js' files, of which `path` is the one in JSON. See Backbone."""
        return faceres_state(Path(path))

    @property
    def attributes(self) -> SexAndAgeHead:
        """See Backbone."""
        return self.sex_and_age

    @property
    def trainable_layers(self) -> Sequence[nn.Module]:
        """The embedding layer: `sex_and_age` reads all others. See Backbone."""
        return self.last_layers

    @torch.no_grad()
    def centre(self, features: Tensor) -> None:
        """Let the mean of these faces' features [N, 1024, 7, 7] have the embedding 0."""
        bias = self.get_parameter("fc.bias")
        bias.sub_(self.head(features).mean(0))

    def features(self, crops: Tensor) -> Tensor:
        """Crops [B, 3, 224, 224], RGB in [0, 1] -> [B, 1024, 7, 7]."""
        return self.stages(self._prepared(crops))

    @property
    def level_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """See Backbone."""
        return (512, 7, 7), (512, 7, 7), self.map_shape

    def levels(self, crops: Tensor) -> list[Tensor]:
        """See Backbone."""
        x, found, begin = self._prepared(crops), [], 0
        for end in LEVELS:
            x = self.stages[begin : end + 1](x)
            found.append(functional.avg_pool2d(x, x.shape[-1] // self.map_shape[-1]))
            begin = end + 1
        return [*found, self.stages[begin:](x)]

    def head(self, features: Tensor) -> Tensor:
        """Features [B, 1024, 7, 7] -> embeddings [B, D], not normalised."""
        return self.centred(self.uncentred(features))

    def uncentred(self, features: Tensor) -> Tensor:
        """Features [B, 1024, 7, 7] -> their means [B, 1024]. See Backbone."""
        return features.mean((2, 3))

    def centred(self, uncentred: Tensor) -> Tensor:
        """See Backbone."""
        return self.fc(uncentred)

    def _prepared(self, crops: Tensor) -> Tensor:
        return (crops * 255 - self.means).flip(1)


def faceres_state(path: Path) -> dict[str, Tensor]:
    """State dict of FaceRes from a TensorFlow.js graph model: `path` and the weights that it names, in half precision.

    Raises FileNotFoundError, and ValueError where the files hold another network.
    """
    found = _weights(path)
    own = FaceRes().state_dict()
    try:
        state = dict(_named(found)) | {name: own[name] for name in ("fc.weight", "fc.bias")}
        wrong = [name for name, value in state.items() if own[name].shape != value.shape]
    except KeyError as error:
        raise ValueError(f"{path} is not the FaceRes network that this project rebuilds: no weight {error}") from error
    if wrong or state.keys() != own.keys():
        raise ValueError(f"{path} is not the FaceRes network that this project rebuilds ({wrong or 'other layers'})")
    return state


def _weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Arrays by name. TensorFlow.js writes them one after the other into the files of each group."""
    found: dict[str, NDArray[np.float32]] = {}
    for group in json.loads(path.read_text())["weightsManifest"]:
        data, at = b"".join((path.parent / name).read_bytes() for name in group["paths"]), 0
        for weight in group["weights"]:
            stored = np.dtype(weight.get("quantization", weight)["dtype"])
            count = int(np.prod(weight["shape"]))
            found[weight["name"]] = np.frombuffer(data, stored, count, at).reshape(weight["shape"]).astype(np.float32)
            at += count * stored.itemsize
    return found


def _named(found: Mapping[str, NDArray[np.float32]]) -> Iterator[tuple[str, Tensor]]:
    """Names of the torch layers beside the values that belong there; a batch norm's factor goes into its layer."""
    yield from _layer("stages.0.0.1", found["conv1/convolution/merged_input"], found["conv1_bn/batchnorm_1/sub"])
    for number, (_, _, stride) in enumerate(STAGES, start=1):
        depthwise = found[f"conv_dw_{number}/depthwise_kernel"] * found[f"conv_dw_{number}_bn/batchnorm_1/mul"][:, None]
        place = f"stages.{number}.0.{int(stride == 2)}"
        yield from _layer(place, depthwise.swapaxes(2, 3), found[f"conv_dw_{number}_bn/batchnorm_1/sub"])
        pointwise = found[f"conv_pw_{number}/convolution/merged_input"]
        yield from _layer(f"stages.{number}.1.0", pointwise, found[f"conv_pw_{number}_bn/batchnorm_1/sub"])
    for name, stored in (("features", "feats"), ("male", "gender_pred"), ("age", "age_pred")):
        yield from _layer(f"sex_and_age.{name}", found[f"{stored}/kernel"], found[f"{stored}/bias"])


def _layer(name: str, weight: NDArray, bias: NDArray) -> Iterator[tuple[str, Tensor]]:
    """TensorFlow has a layer's outputs last, torch first."""
    torchs = weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T
    yield f"{name}.weight", torch.from_numpy(np.array(torchs, np.float32))
    yield f"{name}.bias", torch.from_numpy(bias.copy())
