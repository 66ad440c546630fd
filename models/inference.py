"""An identity model that is only read from: the same embeddings and maps up to rounding, in less time on a CPU.

In eval mode a batch normalisation is one factor and one shift for each channel, so it goes into the convolution before
it. oneDNN's own layout of the weights is made once: torch would make it at each call, and with one thread it leaves
1x1 convolutions to a slower kernel. Faces go through the convolutions one by one, because the maps of several do not
stay in a core's cache.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .identity import IdentityModel


def optimize_for_inference(model: IdentityModel) -> IdentityModel:
    """A copy for inference, on the model's device and in eval mode; weights that stay as they are are shared.

    What is changed in the model afterwards need not reach the copy.
    """
    weights = (*model.parameters(), *model.buffers())
    ready = copy.deepcopy(model, {id(weight): weight for weight in weights}).eval()
    for parent in list(ready.modules()):
        _fold(parent)
    if model.device.type == "cpu" and torch.backends.mkldnn.is_available():
        for parent in list(ready.modules()):
            _pack(parent)
        levels, features = ready.backbone.levels, ready.backbone.features
        ready.backbone.levels = lambda crops: [
            torch.cat(level) for level in zip(*(levels(crop) for crop in crops.split(1)), strict=True)
        ]
        ready.backbone.features = lambda crops: torch.cat([features(crop) for crop in crops.split(1)])
    return ready


def _fold(parent: nn.Module) -> None:
    """Put each batch normalisation of a sequence into the convolution before it."""
    if not isinstance(parent, nn.Sequential):
        return
    for (name, layer), (after, following) in pairwise(list(parent.named_children())):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            setattr(parent, name, fuse_conv_bn_eval(layer, following))
            setattr(parent, after, nn.Identity())


def _pack(parent: nn.Module) -> None:
    """Put a packed convolution in the place of each plain one, and of the ReLU6 that follows it in a sequence."""
    children = list(parent.named_children())
    followers = [*children[1:], ("", None)] if isinstance(parent, nn.Sequential) else [("", None)] * len(children)
    for (name, layer), (after, following) in zip(children, followers, strict=True):
        if isinstance(layer, nn.Conv2d):
            capped = isinstance(following, nn.ReLU6)
            setattr(parent, name, _PackedConvolution(layer, capped))
            if capped:
                setattr(parent, after, nn.Identity())


class _PackedConvolution(nn.Module):
    """A zero-padded convolution on a CPU whose weights are in oneDNN's layout; `capped`: and ReLU6, in one pass.

    The operators are those that torch.compile emits; a registered model names the version of torch that has them.
    """

    def __init__(self, layer: nn.Conv2d, capped: bool = False) -> None:
        super().__init__()
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise ValueError(f"only a convolution with zeros around it can be packed, not {layer}")
        self.bias = None if layer.bias is None else layer.bias.detach()
        self.how = (list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
        self.plain = layer.weight.detach().contiguous(memory_format=torch.channels_last)
        self.packed, self.packed_for = self.plain, ()
        self.activation: tuple[str, list[float]] = ("hardtanh", [0.0, 6.0]) if capped else ("none", [])

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, h, w] -> [B, C', h', w']."""
        # oneDNN's choice of a layout depends on both; weights in another are brought into it at each call.
        here = (x.shape, torch.get_num_threads())
        if here != self.packed_for:
            self.packed = torch.ops.mkldnn._reorder_convolution_weight(self.plain, *self.how, list(x.shape))
            self.packed_for = here
        return torch.ops.mkldnn._convolution_pointwise(x, self.packed, self.bias, *self.how, *self.activation, "")
