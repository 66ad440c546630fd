"""Content model: a ResNet that names the part of the face at each place, at 1/8 of the picture's size.

Layer names are those of torchvision's ResNets, so that their pretrained weights load. At full size it is ResNet-50:
23,508,032 parameters before the class layer, that is torchvision's 25,557,032 without its classifier of 2,049,000.
Legend: B batch, C feature channels, K classes, h = H / 8, w = W / 8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .face_parts import CLASSES
from .pretrained import matched, read_state
from .weights import load_weights, read_meta

STRIDE = 8


class _Basic(nn.Module):
    """Two 3x3 convolutions (ResNet-18)."""

    expansion = 1

    def __init__(self, n_in: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(n_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class _Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions (ResNet-50)."""

    expansion = 4

    def __init__(self, n_in: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        n_out = width * self.expansion
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(n_in, n_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(n_in: int, n_out: int, stride: int) -> nn.Sequential | None:
    if n_in == n_out and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))


class FaceParser(nn.Module):
    """ResNet at output stride 8 with a 1x1 convolution to the 11 classes.

    `depth`: 18 or 50; `width`: factor on every layer's channels; `stages`: how many of the four residual stages are
    kept (the last one is two thirds of the work); `dilate`: the last two stages, which keep their
    resolution here, dilate instead, so that they see as far as they did with strides (dilated convolutions train
    several times slower on a CPU).
    """

    def __init__(self, depth: Literal[18, 50] = 50, width: float = 1.0, dilate: bool = True, stages: int = 4) -> None:
        super().__init__()
        self.depth, self.width, self.stages = depth, width, stages
        self.arguments = {"depth": depth, "width": width, "dilate": dilate, "stages": stages}
        block = {18: _Basic, 50: _Bottleneck}[depth]
        counts = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
        channels = [max(8, round(c * width)) for c in (64, 128, 256, 512)]
        self.conv1 = nn.Conv2d(3, channels[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        n_in, dilation = channels[0], 1
        plan = zip(channels, counts, (1, 2, 1, 1), (1, 1, 2, 2) if dilate else (1, 1, 1, 1), strict=True)
        for i, (width_i, count, stride, wider) in enumerate(list(plan)[:stages], start=1):
            layers: list[nn.Module] = []
            for j in range(count):
                # as in torchvision, a stage's first block still has the dilation of the stage before
                layers.append(block(n_in, width_i, stride if j == 0 else 1, dilation if j == 0 else dilation * wider))
                n_in = width_i * block.expansion
            dilation *= wider
            setattr(self, f"layer{i}", nn.Sequential(*layers))
        self.n_features = n_in
        self.classifier = nn.Conv2d(n_in, len(CLASSES), 1)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @classmethod
    def load(cls, folder: Path) -> FaceParser:
        """The trained parser of a folder (`models.weights`), in eval mode."""
        meta = read_meta(folder)
        return load_weights(folder, cls(**{name: meta[name] for name in ("depth", "width", "dilate", "stages")}))

    def load_pretrained(self, path: Path | str) -> None:
        """Take ImageNet weights from a file of torchvision's ResNet of the same depth (.pth or .safetensors).

        Its classifier `fc` and the residual stages that are left out here are passed over; every other layer must match
        by name and shape, ours to the 11 classes excepted. Raises FileNotFoundError, or ValueError that names what does
        not match.
        """
        own = {name: value for name, value in self.state_dict().items() if not name.startswith("classifier.")}
        beyond = [f"layer{i}." for i in range(self.stages + 1, 5)]
        what = f"this ResNet-{self.depth} of width factor {self.width:g} ({path})"
        self.load_state_dict(matched(read_state(path), own, what, dropped=["fc.", *beyond]), strict=False)

    def features(self, faces: Tensor) -> Tensor:
        """Faces [B, 3, H, W], RGB in [0, 1] -> [B, C, h, w], what goes into the class layer."""
        y = self.maxpool(self.relu(self.bn1(self.conv1((faces - self.mean) / self.std))))
        for i in range(1, self.stages + 1):
            y = getattr(self, f"layer{i}")(y)
        return y

    def forward(self, faces: Tensor) -> Tensor:
        """Faces [B, 3, H, W], RGB in [0, 1] -> logits [B, K, h, w]."""
        return self.classifier(self.features(faces))

    def parse(self, faces: Tensor) -> Tensor:
        """Faces [B, 3, H, W] -> class ids [B, H, W] at full size (logits interpolated, then the largest taken)."""
        logits = functional.interpolate(self(faces), faces.shape[-2:], mode="bilinear", align_corners=False)
        return logits.argmax(1)
