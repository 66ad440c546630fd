"""Searches and refinements on another device than the CPU: nothing that they make on the way is left behind."""

import pytest
import torch

from models.encoder import Architecture, Encoder
from models.identity_imitator import IdentityImitator
from models.imitator import Imitator
from models.inference import optimize_for_inference
from models.parsing import FaceParser
from models.prior import FacialPrior
from models.refinement import Refinement, RefinementSettings
from models.search import ParameterSearch, SearchSettings
from tests.models.support import recogniser
from tests.other_device import DEVICE, other_device

pytestmark = pytest.mark.slow
SLIDERS, GROUPS = 6, (3, 2)
WIDTH = SLIDERS + sum(GROUPS)


@pytest.fixture
def refinement() -> Refinement:
    encoder = Encoder(Architecture(SLIDERS, GROUPS, dim=8, hidden=8, prior=SLIDERS, sex=0))
    encoder.prior = FacialPrior.fit(torch.rand(20, SLIDERS), ["a"] * SLIDERS)
    return Refinement(IdentityImitator(WIDTH, 8, 16), encoder)


def test_a_refinement_by_gradient(refinement: Refinement) -> None:
    with other_device():
        refinement.to(DEVICE)
        found = refinement.by_gradient(torch.rand(2, 8).to(DEVICE), torch.rand(2, WIDTH).to(DEVICE))
        assert {found.x.device.type, found.similarity.device.type} == {DEVICE} and found.x.shape == (2, WIDTH)


def test_a_refinement_by_engine(refinement: Refinement) -> None:
    looks = 0

    def look(x: torch.Tensor) -> torch.Tensor:
        nonlocal looks
        looks += 1
        assert x.device.type == DEVICE
        return torch.rand(len(x), 8).to(DEVICE)

    with other_device():
        refinement.to(DEVICE)
        settings = RefinementSettings(rounds=2, steps=2, round_steps=2)
        found = refinement.by_engine(torch.rand(2, 8).to(DEVICE), torch.rand(2, WIDTH).to(DEVICE), look, settings)
        assert found.x.device.type == DEVICE and looks == 4


def test_a_search_through_the_imitator() -> None:
    prior = FacialPrior.fit(torch.rand(20, SLIDERS), ["a"] * SLIDERS)
    networks = Imitator(WIDTH, 32, 0.125), recogniser(), FaceParser(18, 0.125, stages=2)
    search = ParameterSearch(*networks, SLIDERS, GROUPS, prior, content_size=64)
    with other_device():
        search.to(DEVICE)
        found = search(torch.rand(2, 3, 64, 64).to(DEVICE), torch.rand(2, WIDTH).to(DEVICE), SearchSettings(steps=2))
        assert found.x.device.type == DEVICE


def test_a_recogniser_prepared_for_inference() -> None:
    plain = recogniser()
    with other_device(), torch.no_grad():
        reader = optimize_for_inference(plain.to(DEVICE))
        assert reader(torch.rand(2, 3, 256, 256).to(DEVICE)).device.type == DEVICE
