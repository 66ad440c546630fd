import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from models.identity import CROP, TEMPLATE, IdentityModel, sface_state_from_onnx
from tests.models.support import PHOTOS, SFACE, aligned_photos


@pytest.fixture(scope="module")
def model() -> IdentityModel:
    return IdentityModel.from_onnx(SFACE)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.from_numpy(aligned_photos()).permute(0, 3, 1, 2).float() / 255


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


def test_swapped_colours_or_a_wrong_range_would_be_noticed(model: IdentityModel, faces: torch.Tensor) -> None:
    with torch.no_grad():
        right, swapped, bytes_range = model(faces), model(faces.flip(1)), model(faces * 255)
    assert (right * swapped).sum(1).max() < 0.97
    assert (right * bytes_range).sum(1).max() < 0.9


@pytest.mark.parametrize("size", [128, 256, 512])
def test_the_crop_puts_the_reference_points_on_the_template(model: IdentityModel, size: int) -> None:
    from models.alignment import REFERENCE, apply, fit_similarity, five_points

    expected = apply(fit_similarity(five_points(REFERENCE), TEMPLATE), five_points(REFERENCE))
    rows, columns = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    crop_rows, crop_columns = torch.meshgrid(torch.arange(CROP) + 0.5, torch.arange(CROP) + 0.5, indexing="ij")
    for (x, y), (u, v) in zip(five_points(REFERENCE) * size, expected, strict=True):
        blob = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (size * 0.02) ** 2))
        crop = model.crop(blob[None, None])[0, 0]
        found = (crop_columns * crop).sum() / crop.sum(), (crop_rows * crop).sum() / crop.sum()
        assert float(found[0]) == pytest.approx(u, abs=0.3) and float(found[1]) == pytest.approx(v, abs=0.3)


def test_embeddings_hardly_depend_on_the_pictures_size(model: IdentityModel, faces: torch.Tensor) -> None:
    smaller = torch.nn.functional.interpolate(faces, (160, 160), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert (model(faces) * model(smaller)).sum(1).min() > 0.95


def test_the_gradient_reaches_the_pixels(model: IdentityModel, faces: torch.Tensor) -> None:
    pixels = faces[:1].clone().requires_grad_()
    model(pixels)[0, 0].backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def test_another_network_is_refused(tmp_path) -> None:
    stored = onnx.load(str(SFACE))
    del stored.graph.node[-1]
    path = tmp_path / "other.onnx"
    onnx.save(stored, str(path))
    with pytest.raises(ValueError, match="SFace"):
        sface_state_from_onnx(path)
