"""FaceRes: the network of its authors' file, in torch's layers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.faceres import FaceRes, _weights, faceres_state
from models.identity import IdentityModel
from tests.models.support import FACERES, PHOTOS, aligned_photos, recogniser

WOMEN = {"ardern", "collins"}


@pytest.fixture(scope="module")
def model() -> IdentityModel:
    return recogniser().requires_grad_(False)


@pytest.fixture(scope="module")
def faces() -> Tensor:
    return torch.from_numpy(aligned_photos()).permute(0, 3, 1, 2).float() / 255


def by_the_graph(pictures: Tensor, wanted: str) -> Tensor:
    """What a node of the stored graph gives for pictures [B, 3, 224, 224] as it reads them: node by node."""
    known = {name: torch.from_numpy(value) for name, value in _weights(FACERES).items()} | {"input_1": pictures}
    nodes = json.loads(FACERES.read_text())["modelTopology"]["node"]
    for node in (node for node in nodes if node["op"] not in ("Const", "Placeholder")):
        first, *others = (known[name] for name in node["input"] if name in known)
        known[node["name"]] = OPERATIONS[node["op"]](first, *others, node["attr"])
        if node["name"] == wanted:
            break
    return known[wanted]


def _convolution(x: Tensor, kernel: Tensor, attributes: dict) -> Tensor:
    stride = int(attributes["strides"]["list"]["i"][1])
    side, size = x.shape[-1], kernel.shape[0]
    around = max((-(-side // stride) - 1) * stride + size - side, 0)  # TensorFlow's SAME
    before, after = around // 2, around - around // 2
    x = functional.pad(x, (before, after, before, after))
    if kernel.shape[2] == x.shape[1] and kernel.shape[3] != 1:
        return functional.conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride)
    return functional.conv2d(x, kernel.permute(2, 3, 0, 1), stride=stride, groups=x.shape[1])


def _of_channels(operation: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, dict], Tensor]:
    return lambda x, value, _: operation(x, value.view(1, -1, 1, 1))


def _linear(x: Tensor, kernel: Tensor, bias: Tensor, attributes: dict) -> Tensor:
    answer = x @ kernel + bias
    return torch.relu(answer) if len(attributes["fused_ops"]["list"]["s"]) == 2 else answer


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "Add": _of_channels(torch.add),
    "Mul": _of_channels(torch.mul),
    "Minimum": _of_channels(torch.minimum),
    "Maximum": _of_channels(torch.maximum),
    "Relu": lambda x, _: torch.relu(x),
    "Mean": lambda x, _, __: x.mean((2, 3)),
    "_FusedMatMul": _linear,
    "Sigmoid": lambda x, _: torch.sigmoid(x),
    "Softmax": lambda x, _: torch.softmax(x, 1),
}


@pytest.mark.slow
def test_the_rebuilt_network_equals_the_stored_graph(model: IdentityModel, faces: Tensor) -> None:
    crops = model.crop(faces)
    read = (crops * 255).flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    backbone = model.backbone
    assert isinstance(backbone, FaceRes)
    assert torch.allclose(backbone(crops), by_the_graph(read, "global_pooling/Mean"), atol=1e-4)
    male, age = backbone.attributes(backbone.features(crops)).unbind(1)
    theirs = by_the_graph(read, "age_pred/Softmax") @ torch.arange(1.0, 101.0)
    assert torch.allclose(male, by_the_graph(read, "gender_pred/BiasAdd")[:, 0].clamp(-6, 6), atol=1e-3)
    assert torch.allclose(age, theirs, atol=1e-2)


def test_it_says_sex_and_age_of_real_portraits(model: IdentityModel, faces: Tensor) -> None:
    backbone = model.backbone
    assert isinstance(backbone, FaceRes)
    male, age = backbone.attributes(backbone.levels(model.crop(faces))[-1]).unbind(1)
    for path, odds in zip(PHOTOS, male.tolist(), strict=True):
        assert (odds < 0) == (path.parent.name in WOMEN), path
    assert ((age > 20) & (age < 75)).all()


def test_the_mean_of_the_faces_it_is_centred_on_becomes_nothing(faces: Tensor) -> None:
    model = recogniser()
    backbone = model.backbone
    with torch.no_grad():
        assert isinstance(backbone, FaceRes)
        seen = backbone.features(model.crop(faces))
        torch.nn.init.normal_(backbone.get_parameter("fc.weight"), std=0.1)  # as after a training
        for _ in range(2):
            backbone.centre(seen)
            assert torch.allclose(backbone.head(seen).mean(0), torch.zeros(model.dim), atol=1e-4)


def test_two_photos_of_one_person_are_closer_than_any_of_two(model: IdentityModel, faces: Tensor) -> None:
    cosines = model(faces) @ model(faces).T
    people = np.array([path.parent.name for path in PHOTOS])
    same = people[:, None] == people
    own = cosines[torch.from_numpy(np.triu(same, 1))]
    assert len(own) == 2 and own.min() > cosines[torch.from_numpy(~same)].max() + 0.05


@pytest.mark.slow
def test_swapped_colours_or_a_wrong_range_would_be_noticed(model: IdentityModel, faces: Tensor) -> None:
    right, swapped, bytes_range = model(faces), model(faces.flip(1)), model(faces * 255)
    assert (right * swapped).sum(1).max() < 0.97
    assert (right * bytes_range).sum(1).max() < 0.9


def test_another_network_is_refused(tmp_path: Path) -> None:
    document = json.loads(FACERES.read_text())
    shutil.copy(FACERES.with_suffix(".bin"), tmp_path)
    for weight in document["weightsManifest"][0]["weights"]:
        if weight["name"] == "feats/kernel":
            weight["shape"] = weight["shape"][::-1]
    (tmp_path / "turned.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"turned\.json is not the FaceRes.*sex_and_age\.features\.weight"):
        faceres_state(tmp_path / "turned.json")
    document["weightsManifest"][0]["weights"] = document["weightsManifest"][0]["weights"][:20]
    (tmp_path / "short.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"short\.json is not the FaceRes"):
        faceres_state(tmp_path / "short.json")
