import pytest
import torch

from models.encoder import Architecture, Encoder, choices, harden, split
from models.face_parts import CLASSES, MIRRORED
from models.imitator import Imitator
from models.parsing import FaceParser


@pytest.mark.parametrize("size", [64, 128, 256, 512])
@pytest.mark.parametrize("drop", ["first", "last"])
def test_imitators_draw_rgb_in_unit_range(size: int, drop: str) -> None:
    drawn = Imitator(20, size, 0.125, drop)(torch.rand(2, 20))
    assert drawn.shape == (2, 3, size, size) and drawn.min() >= 0 and drawn.max() <= 1


@pytest.mark.parametrize("size", [100, 16, 1024])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="512"):
        Imitator(20, size)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("dilate", [True, False])
def test_the_parser_works_at_stride_8(depth, dilate: bool) -> None:
    parser = FaceParser(depth, 0.25, dilate).eval()
    faces = torch.rand(1, 3, 128, 96)
    assert parser(faces).shape == (1, 11, 16, 12)
    features = parser.features(faces)
    assert features.shape == (1, parser.n_features, 16, 12)
    assert torch.allclose(parser.classifier(features), parser(faces)), "features are what the class layer sees"
    assert parser.parse(faces).shape == (1, 128, 96)


@pytest.mark.parametrize("depth", [18, 50])
def test_through_a_frozen_parser_the_gradient_reaches_the_pixels_alone(depth) -> None:
    parser = FaceParser(depth, 0.25).eval().requires_grad_(False)
    pixels = torch.rand(1, 3, 64, 64, requires_grad=True)
    parser.features(pixels).square().mean().backward()
    assert pixels.grad is not None and bool((pixels.grad != 0).float().mean() > 0.9)
    assert all(parameter.grad is None for parameter in parser.parameters())


def test_through_a_frozen_imitator_the_gradient_reaches_the_parameters_alone() -> None:
    imitator = Imitator(20, 64, 0.125).eval().requires_grad_(False)
    x = torch.rand(1, 20, requires_grad=True)
    imitator(x).square().mean().backward()
    assert x.grad is not None and bool((x.grad != 0).all())
    assert all(parameter.grad is None for parameter in imitator.parameters())


def test_mirrored_classes_swap_sides_only() -> None:
    for name, partner in zip(CLASSES, MIRRORED, strict=True):
        expected = name.replace("left", "*").replace("right", "left").replace("*", "right")
        assert CLASSES[partner] == expected


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    neutral = torch.tensor([0.5, 0.2, 0.9, 1.0, 0.0, 0.0, 0.0, 1.0])
    return Encoder(Architecture(3, (3, 2), dim=8, hidden=16), neutral)


def test_an_untrained_encoder_starts_near_the_average_face(encoder: Encoder) -> None:
    x = encoder(torch.nn.functional.normalize(torch.randn(50, 8), dim=1))
    sliders, first, second = split(x, 3, (3, 2))
    assert torch.allclose(sliders.mean(0), torch.tensor([0.5, 0.2, 0.9]), atol=0.1)
    assert (first.argmax(1) == 0).all() and (second.argmax(1) == 1).all()


def test_outputs_are_sliders_in_range_and_probabilities(encoder: Encoder) -> None:
    x = encoder(torch.randn(5, 8) * 10)
    sliders, *groups = split(x, 3, (3, 2))
    assert x.shape == (5, encoder.width) and sliders.min() >= 0 and sliders.max() <= 1
    assert all(torch.allclose(group.sum(1), torch.ones(5)) for group in groups)


def test_the_hard_choice_is_one_hot_and_keeps_sliders(encoder: Encoder) -> None:
    x = encoder(torch.randn(5, 8))
    hard = harden(x, 3, (3, 2))
    assert torch.equal(hard[:, :3], x[:, :3]) and set(hard[:, 3:].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(choices(hard, 3, (3, 2)), choices(x, 3, (3, 2)))
