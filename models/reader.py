"""The networks of a predictor, prepared to read photos: the same embeddings and features, in less time on a CPU.

Beside what `optimize_for_inference` does to the recogniser, no map is copied to be padded, the parser is prepared as
well, and matrices that one face is multiplied with are stored as a processor reads them. All this changes an answer by
rounding alone.

In bfloat16 a processor with instructions for it multiplies twice as much at a time. Only 1x1 convolutions and the
parser are computed so, nine tenths of all multiplications: of sums over many channels rounding takes little, and what
lies between them, the embedding layer and the encoder stay in single precision. So do depthwise convolutions, which
have few multiplications, and in FaceRes large weights that cancel each other out: rounding these alone moves answers
five times as much as all that is rounded here. docs/results.md has the figures.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .encoder import Encoder
from .features import MapDirections
from .identity import IdentityModel
from .inference import _fold, _PackedConvolution, optimize_for_inference
from .parsing import FaceParser
from .precision import Precision

Network = TypeVar("Network", bound=nn.Module)


class Reader:
    """Both networks for inference on the identity model's device; weights that stay as they are are shared.

    What is changed in the networks afterwards need not reach it.
    """

    def __init__(self, identity: IdentityModel, encoder: Encoder, precision: Precision = "float32") -> None:
        self.device, self.precision = identity.device, precision
        if self.device.type == "cpu" and torch.backends.mkldnn.is_available():
            half = precision == "bfloat16"
            self.identity, self.encoder = _prepared_identity(identity, half), _prepared_encoder(encoder, half)
        else:
            self.identity, self.encoder = optimize_for_inference(identity), encoder

    def look(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Faces [B, 3, H, H] in the reference frame, RGB in [0, 1] -> embeddings [B, D] and features [B, F]; see
        `Encoder.look`.
        """
        return self.encoder.look(self.identity, faces)


def _prepared_identity(identity: IdentityModel, half: bool) -> IdentityModel:
    ready = _copy(identity)
    for parent in list(ready.modules()):
        _fold(parent)
        _pad_by_weights(parent)
    for parent in list(ready.modules()):
        _pack(parent, lambda layer: half and layer.kernel_size == (1, 1))
    levels = ready.backbone.levels
    # one by one: the maps of several faces do not stay in a core's cache
    ready.backbone.levels = lambda crops: [
        torch.cat(level) for level in zip(*(levels(crop) for crop in crops.split(1)), strict=True)
    ]
    return ready


def _prepared_encoder(encoder: Encoder, half: bool) -> Encoder:
    def prepared(layer: nn.Module) -> nn.Module:
        if isinstance(layer, MapDirections) and layer.n:
            return _Directions(layer)
        return _Parser(layer, half) if isinstance(layer, FaceParser) else layer

    ready = _copy(encoder)
    _replace(ready, prepared)
    return ready


def _copy(network: Network) -> Network:
    weights = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(weight): weight for weight in weights}).eval()


def _replace(parent: nn.Module, change: Callable[[nn.Module], nn.Module]) -> None:
    """Put what `change` gives in the place of each module below, from above downwards."""
    for name, layer in list(parent.named_children()):
        changed = change(layer)
        if changed is layer:
            _replace(layer, change)
        else:
            setattr(parent, name, changed)


def _pad_by_weights(parent: nn.Module) -> None:
    """Where a row and a column of zeros, below and right, come before a depthwise convolution, let it add zeros all
    around by itself, and have weights of 0 for those above and left.
    """
    children = list(parent.named_children()) if isinstance(parent, nn.Sequential) else []
    for (name, pad), (after, layer) in pairwise(children):
        if not isinstance(pad, nn.ZeroPad2d) or tuple(pad.padding) != (0, 1, 0, 1):
            continue
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels and layer.padding == (0, 0):
            wide = copy.deepcopy(layer)
            wide.kernel_size, wide.padding = (layer.kernel_size[0] + 1, layer.kernel_size[1] + 1), (1, 1)
            wide.weight = nn.Parameter(functional.pad(layer.weight.detach(), (1, 0, 1, 0)), requires_grad=False)
            setattr(parent, name, nn.Identity())
            setattr(parent, after, wide)


def _pack(parent: nn.Module, half: Callable[[nn.Conv2d], bool]) -> None:
    """Put a packed convolution in the place of each plain one, and of the ReLU6 that follows it in a sequence."""
    children = list(parent.named_children())
    followers = [*children[1:], ("", None)] if isinstance(parent, nn.Sequential) else [("", None)] * len(children)
    for (name, layer), (after, following) in zip(children, followers, strict=True):
        if isinstance(layer, nn.Conv2d):
            capped = isinstance(following, nn.ReLU6)
            setattr(parent, name, (_HalfConvolution if half(layer) else _PackedConvolution)(layer, capped))
            if capped:
                setattr(parent, after, nn.Identity())


class _HalfConvolution(_PackedConvolution):
    """The same with weights, input and output rounded to bfloat16; what is multiplied is summed in single precision."""

    def __init__(self, layer: nn.Conv2d, capped: bool = False) -> None:
        super().__init__(layer, capped)
        self.plain = self.packed = self.plain.bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, h, w] -> [B, C', h', w'], float32 both."""
        return super().forward(x.bfloat16()).float()


class _Parser(nn.Module):
    """A parser whose batch normalisations are in its convolutions, which are packed."""

    def __init__(self, parser: FaceParser, half: bool) -> None:
        super().__init__()
        for parent in list(parser.modules()):
            _fold(parent)
            for number in (1, 2, 3):
                layer, following = (getattr(parent, f"{kind}{number}", None) for kind in ("conv", "bn"))
                if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                    setattr(parent, f"conv{number}", fuse_conv_bn_eval(layer, following))
                    setattr(parent, f"bn{number}", nn.Identity())
        for parent in list(parser.modules()):
            _pack(parent, lambda layer: half)
        self.parser = parser

    def forward(self, faces: Tensor) -> Tensor:
        """Faces [B, 3, H, W], RGB in [0, 1] -> logits [B, K, h, w]."""
        return torch.cat([self.parser(face) for face in faces.split(1)])


class _Directions(nn.Module):
    """`MapDirections` with the matrices' rows and columns exchanged: three times as fast for a single face."""

    def __init__(self, directions: MapDirections) -> None:
        super().__init__()
        self.channel_mean, self.map_mean = directions.channel_mean, directions.map_mean
        self.channels, self.places = (each.T.contiguous() for each in (directions.channel_basis, directions.map_basis))

    def squeeze(self, maps: Tensor) -> Tensor:
        """See MapDirections."""
        return functional.linear(maps.permute(0, 2, 3, 1) - self.channel_mean, self.channels).flatten(1)

    def project(self, squeezed: Tensor) -> Tensor:
        """See MapDirections."""
        return functional.linear(squeezed - self.map_mean, self.places)

    def forward(self, maps: Tensor) -> Tensor:
        """See MapDirections."""
        return self.project(self.squeeze(maps))
