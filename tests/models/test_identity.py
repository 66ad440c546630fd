from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from models.identity import BACKBONES, IdentityModel, Kind, build
from models.reference import REFERENCE, apply, five_points
from models.sface import TEMPLATE, sface_state_from_onnx
from tests.models.support import PHOTOS, SFACE, aligned_photos


@pytest.fixture(scope="module")
def model() -> IdentityModel:
    return IdentityModel.from_file("sface", SFACE)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.from_numpy(aligned_photos()).permute(0, 3, 1, 2).float() / 255


@pytest.mark.slow
def test_the_rebuilt_network_equals_onnxruntime_on_real_portraits(model: IdentityModel, faces: torch.Tensor) -> None:
    stored = onnx.load(str(SFACE))
    data = [i for i in stored.graph.input if i.name == "data"]  # the file also lists its weights as inputs
    del stored.graph.input[:]
    stored.graph.input.extend(data)
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(stored.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        crops = model.crop(faces)
        ours = model.embed_crops(crops)
    for crop, embedding in zip(crops, ours, strict=True):
        theirs = np.asarray(session.run(None, {"data": (crop[None] * 255).numpy()})[0])
        cosine = float(embedding @ torch.from_numpy(theirs[0] / np.linalg.norm(theirs[0])))
        assert cosine > 0.9999


def test_size_and_unit_length(model: IdentityModel, faces: torch.Tensor) -> None:
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(9.62e6, rel=0.01)
    with torch.no_grad():
        assert torch.allclose(model(faces).norm(dim=1), torch.ones(len(faces)))


def test_two_photos_of_one_person_are_closer_than_any_of_two(model: IdentityModel, faces: torch.Tensor) -> None:
    with torch.no_grad():
        embeddings = model(faces)
    people = [p.parent.name for p in PHOTOS]
    cosines = embeddings @ embeddings.T
    pairs = [(i, j) for i in range(len(people)) for j in range(i)]
    same = [float(cosines[i, j]) for i, j in pairs if people[i] == people[j]]
    different = [float(cosines[i, j]) for i, j in pairs if people[i] != people[j]]
    assert len(same) == 2 and min(same) > 0.5 > max(different)


@pytest.mark.slow
def test_swapped_colours_or_a_wrong_range_would_be_noticed(model: IdentityModel, faces: torch.Tensor) -> None:
    with torch.no_grad():
        right, swapped, bytes_range = model(faces), model(faces.flip(1)), model(faces * 255)
    assert (right * swapped).sum(1).max() < 0.97
    assert (right * bytes_range).sum(1).max() < 0.9


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("size", [128, 256, 512])
def test_the_crop_puts_the_reference_points_where_the_backbone_wants_them(kind: Kind, size: int) -> None:
    model = build(kind)
    backbone = model.backbone
    expected = apply(backbone.placement(five_points(REFERENCE)), five_points(REFERENCE))
    rows, columns = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    side = torch.arange(backbone.side) + 0.5
    crop_rows, crop_columns = torch.meshgrid(side, side, indexing="ij")
    for (x, y), (u, v) in zip(five_points(REFERENCE) * size, expected, strict=True):
        blob = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (size * 0.02) ** 2))
        crop = model.crop(blob[None, None])[0, 0]
        found = (crop_columns * crop).sum() / crop.sum(), (crop_rows * crop).sum() / crop.sum()
        assert float(found[0]) == pytest.approx(u, abs=0.3) and float(found[1]) == pytest.approx(v, abs=0.3)


def test_sfaces_crop_is_arcfaces() -> None:
    placed = apply(build("sface").backbone.placement(five_points(REFERENCE)), five_points(REFERENCE))
    assert np.abs(placed - TEMPLATE).max() < 6, "one similarity cannot meet all five points, but comes near"


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_margin_shows_more_of_the_same_crop(kind: Kind, faces: torch.Tensor) -> None:
    model = build(kind)
    inner, wide = model.crop(faces[:2]), model.crop(faces[:2], 8)
    assert wide.shape[-1] == inner.shape[-1] + 16
    assert torch.allclose(wide[:, :, 8:-8, 8:-8], inner, atol=1e-4)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_each_kind_gives_embeddings_of_its_length(kind: Kind, faces: torch.Tensor) -> None:
    model = build(kind).eval()
    backbone = model.backbone
    with torch.no_grad():
        crops, raw, embeddings = model.crop(faces[:2]), model.raw(faces[:2]), model(faces[:2])
        features = backbone.features(crops)
        assert torch.allclose(backbone.head(features), raw, atol=1e-4), "the two halves are the whole"
    assert crops.shape == (2, backbone.channels, backbone.side, backbone.side)
    assert features.shape == (2, *backbone.map_shape)
    lengths = {"faceres+sface": 1152, "faceres": 1024, "sface": 128, "lightcnn29v2": 256}
    assert raw.shape == (2, model.dim) and model.dim == lengths[kind]
    assert torch.allclose(embeddings, raw / raw.norm(dim=1, keepdim=True), atol=1e-6)
    assert torch.allclose(model.embed_crops(crops), embeddings, atol=1e-6)


def test_the_kinds_of_configurations_are_those_that_can_be_built() -> None:
    assert set(get_args(Kind)) == set(BACKBONES) and all(build(kind).kind == kind for kind in BACKBONES)
    with pytest.raises(ValueError, match=r"'facenet'.*faceres, sface, lightcnn29v2"):
        build("facenet")


@pytest.mark.slow
def test_embeddings_hardly_depend_on_the_pictures_size(model: IdentityModel, faces: torch.Tensor) -> None:
    smaller = torch.nn.functional.interpolate(faces, (160, 160), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert (model(faces) * model(smaller)).sum(1).min() > 0.95


@pytest.mark.parametrize("kind", get_args(Kind))
def test_through_a_frozen_model_the_gradient_reaches_the_pixels_alone(kind: Kind, faces: torch.Tensor) -> None:
    model = build(kind).eval().requires_grad_(False)
    pixels = faces[:1].clone().requires_grad_()
    # one number of the embedding alone may be cut off by a ReLU
    (model(pixels)[0] * torch.linspace(-1, 1, model.dim)).sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0
    assert bool((pixels.grad != 0).any(dim=1).float().mean() > 0.3), "not only a few of them"
    assert all(parameter.grad is None for parameter in model.parameters())


def test_another_network_is_refused(tmp_path) -> None:
    stored = onnx.load(str(SFACE))
    del stored.graph.node[-1]
    path = tmp_path / "other.onnx"
    onnx.save(stored, str(path))
    with pytest.raises(ValueError, match="SFace"):
        sface_state_from_onnx(path)
