"""Light CNN-29 v2 against its published size, its authors' layer names and their checkpoint's layout."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from models.identity import IdentityModel, build
from models.light_cnn import LightCNN29v2
from models.reference import apply


@pytest.fixture(scope="module")
def model() -> LightCNN29v2:
    torch.manual_seed(0)
    return LightCNN29v2().eval()


def expected_layers() -> dict[str, tuple[int, ...]]:
    """Names and shapes by the rule of the authors' code, identity layer left out."""
    convolutions = {"conv1": (1, 48, 5)}
    stages = ((1, 48, 96), (2, 96, 192), (3, 192, 128), (4, 128, 128))
    for i, (blocks, n_in, n_out) in enumerate(stages, start=1):
        for j in range(blocks):
            convolutions |= {f"block{i}.{j}.conv1": (n_in, n_in, 3), f"block{i}.{j}.conv2": (n_in, n_in, 3)}
        convolutions |= {f"group{i}.conv_a": (n_in, n_in, 1), f"group{i}.conv": (n_in, n_out, 3)}
    layers: dict[str, tuple[int, ...]] = {"fc.weight": (256, 8 * 8 * 128), "fc.bias": (256,)}
    for name, (n_in, n_out, kernel) in convolutions.items():
        layers[f"{name}.filter.weight"] = (2 * n_out, n_in, kernel, kernel)
        layers[f"{name}.filter.bias"] = (2 * n_out,)
    return layers


def checkpoint(model: LightCNN29v2) -> dict[str, object]:
    """As the authors' training script saves it, of a model in DataParallel with its 80,013 classes."""
    layers = {f"module.{name}": value for name, value in model.state_dict().items()}
    classes = torch.zeros(1, 256).expand(80_013, 256)  # one row in the file
    return {"epoch": 81, "arch": "LightCNN", "state_dict": layers | {"module.fc2.weight": classes}, "prec1": 98.2}


def test_published_size(model: LightCNN29v2) -> None:
    assert sum(p.numel() for p in model.parameters()) == 10_475_872
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert model(torch.rand(1, 1, 128, 128)).shape == (1, 256)
    assert counter.get_total_flops() / 2 == pytest.approx(3.62e9, rel=0.002), "multiply-adds of all 29 layers"


def test_layers_have_the_authors_names_and_shapes(model: LightCNN29v2) -> None:
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == expected_layers()


def _max_feature_map(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.filter.weight"]
    both = functional.conv2d(x, weight, state[f"{name}.filter.bias"], padding=weight.shape[-1] // 2)
    n = len(weight) // 2
    return torch.max(both[:, :n], both[:, n:])


@pytest.mark.slow
def test_the_network_computes_what_the_paper_says(model: LightCNN29v2) -> None:
    state, crops = model.state_dict(), torch.rand(2, 1, 128, 128)
    with torch.no_grad():
        x = _max_feature_map(state, "conv1", crops)
        for i, blocks in enumerate((1, 2, 3, 4), start=1):
            if i < 4:  # no pooling between the third group and the fourth blocks
                x = functional.max_pool2d(x, 2) + functional.avg_pool2d(x, 2)
            for j in range(blocks):
                y = _max_feature_map(state, f"block{i}.{j}.conv1", x)
                x = _max_feature_map(state, f"block{i}.{j}.conv2", y) + x
            x = _max_feature_map(state, f"group{i}.conv_a", x)
            x = _max_feature_map(state, f"group{i}.conv", x)
        x = functional.max_pool2d(x, 2) + functional.avg_pool2d(x, 2)
        expected = x.reshape(2, -1) @ state["fc.weight"].T + state["fc.bias"]
        assert torch.allclose(model(crops), expected, atol=1e-5)
        as_used = build("lightcnn29v2").eval()
        as_used.backbone.load_state_dict(state)
        assert torch.allclose(as_used.raw_of_crops(crops), expected, atol=1e-5), "in another memory layout too"


@pytest.mark.parametrize("zipped", [True, False], ids=["new file format", "that of 2018"])
def test_the_authors_checkpoint_loads(model: LightCNN29v2, tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "LightCNN_29Layers_V2_checkpoint.pth.tar"
    torch.save(checkpoint(model), path, _use_new_zipfile_serialization=zipped)
    loaded = IdentityModel.from_file("lightcnn29v2", path)
    assert not loaded.training
    for name, value in loaded.backbone.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"module.group3.conv_a.filter.bias": None}, "missing: group3.conv_a.filter.bias"),
        ({"module.block5.0.conv1.filter.bias": torch.zeros(2)}, "unknown: block5.0.conv1.filter.bias"),
        ({"module.fc.weight": torch.zeros(512, 8192)}, r"fc.weight \[512, 8192\] instead of \[256, 8192\]"),
    ],
)
def test_other_layers_are_refused_by_name(
    model: LightCNN29v2, tmp_path: Path, change: Mapping[str, Tensor | None], complaint: str
) -> None:
    content = checkpoint(model)
    layers = content["state_dict"]
    assert isinstance(layers, dict)
    content["state_dict"] = {k: v for k, v in {**layers, **change}.items() if v is not None}
    torch.save(content, tmp_path / "other.pth.tar")
    with pytest.raises(ValueError, match=complaint):
        LightCNN29v2.read(tmp_path / "other.pth.tar")


class _Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_a_file_that_is_no_checkpoint_is_refused_and_its_code_not_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="download"):
        LightCNN29v2.read(tmp_path / "absent.pth.tar")
    (tmp_path / "page.pth.tar").write_text("<html>quota exceeded</html>")
    with pytest.raises(ValueError, match="cannot be read"):
        LightCNN29v2.read(tmp_path / "page.pth.tar")
    torch.save({"state_dict": _Hostile(tmp_path / "ran")}, tmp_path / "hostile.pth.tar")
    with pytest.raises(ValueError, match="cannot be read"):
        LightCNN29v2.read(tmp_path / "hostile.pth.tar")
    assert not (tmp_path / "ran").exists()
    torch.save({"epoch": 3}, tmp_path / "empty.pth.tar")
    with pytest.raises(ValueError, match="no state dict"):
        LightCNN29v2.read(tmp_path / "empty.pth.tar")


def test_a_tilted_face_is_placed_as_the_authors_place_it() -> None:
    turn = np.deg2rad(25)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    upright = np.array([[30, 40], [72, 40], [53, 62], [35, 85], [69, 91.0]])
    placed = apply(LightCNN29v2.placement(upright @ rotation.T + (7, 300)), upright @ rotation.T + (7, 300))
    assert placed[0, 1] == pytest.approx(placed[1, 1]), "eyes level"
    assert placed[:2].mean(0) == pytest.approx([64, 40])
    assert placed[3:].mean(0)[1] == pytest.approx(88)
    assert placed[1, 0] > placed[0, 0], "not mirrored"


def test_half_of_the_embedding_is_dropped_in_training_only(model: LightCNN29v2) -> None:
    features = torch.rand(4, 128, 8, 8)
    with torch.no_grad():
        whole = model.head(features)
        assert torch.equal(model.head(features), whole) and bool((whole != 0).all())
        dropped = LightCNN29v2().train().head(features)
    assert 0.4 < float((dropped == 0).float().mean()) < 0.6


def test_grey_is_weighed_as_opencv_does(model: LightCNN29v2) -> None:
    import cv2

    faces = (torch.rand(1, 3, 189, 189) * 255).round()
    identity = build("lightcnn29v2")
    grey = cv2.cvtColor(faces[0].permute(1, 2, 0).byte().numpy(), cv2.COLOR_RGB2GRAY)
    expected = identity.crop(torch.from_numpy(grey).float()[None, None])
    assert float((identity.crop(faces) - expected).abs().max()) < 1.0
