"""What is seen of a face beside its identity: colours of what the parser calls hair and skin, sex and age."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from models.appearance import CELLS, N_COLOURS, Appearance, to_lab
from models.attributes import Attributes
from models.encoder import Architecture, Encoder
from models.face_parts import CLASSES
from models.faceres import SexAndAgeHead
from models.features import read_maps
from models.identity import IdentityModel
from models.parsing import FaceParser

HAIR, SKIN = (200, 60, 40), (90, 140, 220)  # in RGB, and unlike life: nothing is taken for granted


class Painted(FaceParser):
    """Calls the upper half hair and the lower half skin."""

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.zeros(len(x), len(CLASSES), 32, 32)
        logits[:, CLASSES.index("hair"), :16] = logits[:, CLASSES.index("face"), 16:] = 12.0
        return logits


@pytest.fixture(scope="module")
def parser() -> FaceParser:
    return Painted(18, 0.25, False, 1)


@pytest.fixture(scope="module")
def identity() -> IdentityModel:
    torch.manual_seed(0)
    return IdentityModel().eval().requires_grad_(False)


def faces(size: int = 256) -> Tensor:
    picture = np.zeros((size, size, 3), np.uint8)
    picture[: size // 2], picture[size // 2 :] = HAIR, SKIN
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def test_lab_is_opencvs() -> None:
    rgb = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    theirs = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    ours = to_lab(torch.from_numpy(rgb).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert np.allclose(ours, theirs, atol=0.5)


@pytest.mark.parametrize("size", [256, 128])
def test_the_colours_of_hair_and_skin_are_measured(parser: FaceParser, size: int) -> None:
    colours = Appearance(parser, Attributes(), (), 1, 1).measured(faces(size))[0]
    for colour, begin in ((HAIR, 0), (SKIN, 6)):
        lab = cv2.cvtColor(np.array([[colour]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
        assert np.allclose(colours[begin : begin + 3], lab, atol=1.0)
        assert (colours[begin + 3 : begin + 6] < 6).all(), "only where they meet are they mixed"


def test_the_outline_says_where_hair_is(parser: FaceParser) -> None:
    cells = Appearance(parser, Attributes(), (), 1, 1).measured(faces())[0, -(CELLS**2) :].reshape(CELLS, CELLS)
    assert (cells[: CELLS // 2] > 0.99).all() and (cells[CELLS // 2 :] < 0.01).all()


@pytest.mark.slow
@pytest.mark.parametrize("attributes", [SexAndAgeHead, Attributes])
def test_readings_are_fitted_and_differentiable(
    identity: IdentityModel, attributes: type[SexAndAgeHead | Attributes]
) -> None:
    seen = torch.rand(12, 3, 64, 64)
    levels = [level.detach() for level in read_maps(identity, seen)[1]]
    appearance = Appearance(FaceParser(18, 0.25, False, 1).eval(), attributes(), identity.backbone.level_shapes, 4, 3)
    appearance.fit_channels(levels)
    appearance.fit(appearance.squeeze(levels), appearance.measured(seen))
    pixels = seen.clone().requires_grad_()
    found = appearance(read_maps(identity, pixels)[1], pixels)
    assert found.shape == (12, appearance.width) == (12, 3 * 3 + N_COLOURS + CELLS**2 + 2)
    assert torch.allclose(found[:, :9].mean(0), torch.zeros(9), atol=5e-3)
    for part in appearance.parts.values():
        (gradient,) = torch.autograd.grad(found[:, part].square().sum(), pixels, retain_graph=True)
        assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_an_encoder_says_what_is_seen_of_sex_and_age_and_stays_frozen(identity: IdentityModel) -> None:
    architecture = Architecture(
        4, (3, 2), 1024, hidden=16, sex_and_age_of_maps=True, mirror=True, sex=1, age=3,
        choice_families=((0, 1, 2), (0, 1)), scales=(True, False),
        parser={"depth": 18, "width": 0.25, "dilate": False, "stages": 1},
        level_shapes=identity.backbone.level_shapes, level_features=(4, 3),
    )  # fmt: skip
    encoder = Encoder(Architecture(**architecture.document())).train()
    assert encoder.appearance is not None and encoder.choices is not None
    assert not encoder.appearance.training and not any(p.requires_grad for p in encoder.appearance.parameters())
    _, features = encoder.look(identity, torch.rand(2, 3, 64, 64))
    male, age = encoder.attributes(features).unbind(1)
    x = encoder(features)
    assert torch.allclose(x[:, 1], torch.sigmoid(male)) and torch.allclose(x[:, 3], ((age - 25) / 65).clamp(0, 1))
    assert torch.allclose(x[:, 4:7].sum(1), torch.ones(2)) and torch.allclose(x[:, 7:].sum(1), torch.ones(2))
    (gradient,) = torch.autograd.grad(x[:, 0].sum(), encoder.enter.weight)
    assert gradient.abs().sum() > 0
