import pytest
import torch

from models.encoder import Encoder, choices, harden
from models.imitator import Imitator
from models.parsing import CLASSES, MIRRORED, FaceParser, count_confusion, f1_scores, mean_f1


def _millions(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_published_sizes() -> None:
    assert _millions(Imitator(264, 512, 1.0)) == pytest.approx(13.4, abs=0.05)
    assert _millions(Encoder(208, [8] * 7, dim=256)) == pytest.approx(3.47, abs=0.005)
    assert _millions(FaceParser(50)) == pytest.approx(23.53, abs=0.01), (
        "ResNet-50 without its classifier, and 11 classes"
    )


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


def test_parser_names_are_torchvisions() -> None:
    names = set(FaceParser(18).state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight"} <= names
    assert "layer3.5.conv3.weight" in FaceParser(50).state_dict()


def test_mirrored_classes_swap_sides_only() -> None:
    for name, partner in zip(CLASSES, MIRRORED, strict=True):
        expected = name.replace("left", "*").replace("right", "left").replace("*", "right")
        assert CLASSES[partner] == expected


def test_f1_of_a_perfect_and_of_a_half_right_answer() -> None:
    truth = torch.tensor([[0, 0, 1, 1]])
    perfect = f1_scores(count_confusion(truth, truth))
    assert perfect["face"] == 1.0 and perfect["hair"] is None and mean_f1(perfect) == 1.0
    half = f1_scores(count_confusion(torch.tensor([[0, 0, 1, 0]]), truth))
    assert half["face"] == pytest.approx(2 / 3)


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    neutral = torch.tensor([0.5, 0.2, 0.9, 1.0, 0.0, 0.0, 0.0, 1.0])
    return Encoder(3, (3, 2), dim=8, hidden=16, neutral=neutral)


def test_an_untrained_encoder_starts_near_the_average_face(encoder: Encoder) -> None:
    sliders, first, second = encoder.split(encoder(torch.nn.functional.normalize(torch.randn(50, 8), dim=1)))
    assert torch.allclose(sliders.mean(0), torch.tensor([0.5, 0.2, 0.9]), atol=0.1)
    assert (first.argmax(1) == 0).all() and (second.argmax(1) == 1).all()


def test_outputs_are_sliders_in_range_and_probabilities(encoder: Encoder) -> None:
    x = encoder(torch.randn(5, 8) * 10)
    sliders, *groups = encoder.split(x)
    assert x.shape == (5, encoder.width) and sliders.min() >= 0 and sliders.max() <= 1
    assert all(torch.allclose(group.sum(1), torch.ones(5)) for group in groups)
    assert torch.allclose(encoder.activate(encoder.logits(torch.ones(1, 8))), encoder(torch.ones(1, 8)))


def test_the_hard_choice_is_one_hot_and_keeps_sliders(encoder: Encoder) -> None:
    x = encoder(torch.randn(5, 8))
    hard = harden(x, 3, (3, 2))
    assert torch.equal(hard[:, :3], x[:, :3]) and set(hard[:, 3:].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(choices(hard, 3, (3, 2)), choices(x, 3, (3, 2)))


def test_standardising_stores_the_embeddings_statistics(encoder: Encoder) -> None:
    embeddings = torch.randn(500, 8) * 3 + 2
    encoder.standardise_by(embeddings)
    assert torch.allclose(encoder.mean, embeddings.mean(0)) and torch.allclose(encoder.std, embeddings.std(0))
    assert {"mean", "std"} <= set(encoder.state_dict()), "they travel with the weights"
