"""Imitator, parser and encoder at the published sizes: parameters, multiply-adds and the shape of what they give
(Shi et al., TPAMI 2022, and torchvision for ResNet-50). Light CNN-29 v2 has a file of its own.
"""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.encoder import Architecture, Encoder
from models.imitator import Imitator
from models.parsing import FaceParser

pytestmark = pytest.mark.slow

N_PARAMETERS = 264
"""Length of the parameter vector: 208 continuous ones and 56 choices (ICCV 2019's male character)."""


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def multiply_adds(module: nn.Module, x: Tensor) -> float:
    """Of all convolutions and fully connected layers."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(x)
    return counter.get_total_flops() / 2


def test_the_imitator_has_the_published_size() -> None:
    imitator = Imitator(N_PARAMETERS)
    assert parameters(imitator) == 13_376_515 == pytest.approx(13.4e6, rel=0.01)
    assert multiply_adds(imitator, torch.rand(1, N_PARAMETERS)) == pytest.approx(3.22e9, rel=0.01)
    with torch.device("meta"):
        rounded = [n for n in range(255, 280) if round(parameters(Imitator(n)), -5) == 13_400_000]
    assert rounded == list(range(261, 273)), "as the docstring says"


def test_each_of_the_imitators_layers_doubles_the_side() -> None:
    imitator, shapes = Imitator(N_PARAMETERS).eval(), []
    for layer in imitator.layers:
        if isinstance(layer, nn.ConvTranspose2d):
            assert layer.kernel_size == (4, 4)
            layer.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    with torch.no_grad():
        imitator(torch.rand(1, N_PARAMETERS))
    filters = (512, 512, 512, 256, 128, 64, 64, 3)
    assert shapes == [(1, n, 4 << i, 4 << i) for i, n in enumerate(filters)] and shapes[-1][-1] == 512


def resnet50_layers() -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's resnet50, by its rule, with the classifier."""
    layers: dict[str, tuple[int, ...]] = {"fc.weight": (1000, 2048), "fc.bias": (1000,)}

    def add(convolution: str, norm: str, n_in: int, n_out: int, kernel: int) -> None:
        layers[f"{convolution}.weight"] = (n_out, n_in, kernel, kernel)
        layers.update({f"{norm}.{part}": (n_out,) for part in ("weight", "bias", "running_mean", "running_var")})
        layers[f"{norm}.num_batches_tracked"] = ()

    add("conv1", "bn1", 3, 64, 7)
    n_in = 64
    for i, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), start=1):
        for j in range(blocks):
            at = f"layer{i}.{j}"
            sizes = ((n_in, width, 1), (width, width, 3), (width, 4 * width, 1))
            for k, size in enumerate(sizes, start=1):
                add(f"{at}.conv{k}", f"{at}.bn{k}", *size)
            if j == 0:
                add(f"{at}.downsample.0", f"{at}.downsample.1", n_in, 4 * width, 1)
            n_in = 4 * width
    return layers


def test_the_parser_is_torchvisions_resnet50_without_its_classifier() -> None:
    parser = FaceParser(50)
    own = {name: tuple(value.shape) for name, value in parser.state_dict().items() if "classifier" not in name}
    theirs = {name: shape for name, shape in resnet50_layers().items() if not name.startswith("fc.")}
    assert own == theirs and len(own) == 318
    backbone = parameters(parser) - parameters(parser.classifier)
    assert backbone == 25_557_032 - 2_049_000 == 23_508_032
    assert parameters(parser.classifier) == 11 * (2048 + 1)


def test_the_parsers_output_is_an_eighth_of_its_input() -> None:
    parser = FaceParser(50).eval()
    with torch.no_grad():
        features = parser.features(torch.rand(1, 3, 256, 256))
        assert features.shape == (1, 2048, 32, 32)
        assert parser.classifier(features).shape == (1, 11, 32, 32)


def imagenet(suffix: str, folder: Path, counters: bool = True) -> Path:
    """A file in the layout of torchvision's; old ones have no batch counters."""
    torch.manual_seed(0)
    state = {
        name: torch.full(shape, 3.0) if name.startswith("fc.") else torch.rand(shape)
        for name, shape in resnet50_layers().items()
        if counters or not name.endswith("num_batches_tracked")
    }
    path = folder / f"resnet50{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize(("suffix", "counters"), [(".pth", True), (".pth", False), (".safetensors", True)])
@pytest.mark.parametrize("stages", [3, 4])
def test_imagenet_weights_load(suffix: str, counters: bool, stages: int, tmp_path: Path) -> None:
    parser = FaceParser(50, stages=stages)
    classifier = parser.classifier.weight.detach().clone()
    path = imagenet(suffix, tmp_path, counters)
    parser.load_pretrained(path)
    torch.manual_seed(0)
    state = parser.state_dict()
    for name, shape in resnet50_layers().items():
        if name.startswith("fc.") or (not counters and name.endswith("num_batches_tracked")):
            continue
        value = torch.rand(shape)
        assert name not in state or torch.equal(state[name], value.to(state[name].dtype)), name
    assert torch.equal(parser.classifier.weight, classifier)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ResNet-50 of width factor 0\.5.*conv1\.weight \[64, 3, 7, 7\] instead of"):
        FaceParser(50, 0.5).load_pretrained(imagenet(".pth", tmp_path))
    torch.save(dict(FaceParser(18).state_dict()), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"missing: .*layer1\.0\.conv3\.weight.*unknown: classifier\.weight"):
        FaceParser(50).load_pretrained(tmp_path / "other.pth")


@pytest.mark.parametrize("groups", [(208, (8,) * 7), (N_PARAMETERS, ())], ids=["208 and 7 groups of 8", "264"])
def test_the_encoder_has_the_published_size(groups: tuple[int, tuple[int, ...]]) -> None:
    """All layers with both kinds of head, for 256 numbers of Light CNN and 264 parameters: how these are split into
    continuous ones and choices makes no difference.
    """
    encoder = Encoder(Architecture(*groups, dim=256))
    assert parameters(encoder) == 3_468_088 == pytest.approx(3.47e6, rel=0.002)
    with torch.no_grad():
        assert encoder.eval()(torch.rand(1, 256)).shape == (1, N_PARAMETERS)


def test_the_encoders_trunk_has_the_layers_of_the_paper() -> None:
    encoder = Encoder(Architecture(1, (), dim=256))
    blocks = 3 * (512 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 16 + 16 + 16 * 512 + 512)
    assert parameters(encoder) == 256 * 512 + 512 + blocks + 512 + 1
