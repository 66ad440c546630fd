"""Search through tiny frozen networks. The photo is a drawing of known parameters: there is something to find."""

import copy

import pytest
import torch
from torch import nn

from models.encoder import harden
from models.imitator import Imitator
from models.parsing import FaceParser
from models.prior import FacialPrior
from models.search import ICCV_2019, ParameterSearch, SearchResult, SearchSettings

pytestmark = pytest.mark.slow

SLIDERS, GROUPS = 4, (3, 2)


class Embedding(nn.Module):
    """A recogniser small enough for a test: what it sees at 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(3 * 64, 16), nn.BatchNorm1d(16))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.layers(faces)


FAST = SearchSettings(steps=6, rate=0.05, group_rate=0.5)


@pytest.fixture(scope="module")
def search() -> ParameterSearch:
    torch.manual_seed(0)
    prior = FacialPrior.fit(torch.rand(20, SLIDERS), ["a", "a", "b", "b"])
    imitator, parser = Imitator(9, 32, 0.25), FaceParser(18, 0.125, stages=2)
    return ParameterSearch(imitator, Embedding(), parser, SLIDERS, GROUPS, prior, content_size=64)


def _parameters(n: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    groups = [torch.softmax(torch.randn(n, size, generator=random), 1) for size in GROUPS]
    return torch.cat([torch.rand(n, SLIDERS, generator=random), *groups], 1)


def _faces(search: ParameterSearch, n: int = 2) -> torch.Tensor:
    with torch.no_grad():
        return search.imitator(harden(_parameters(n, 1), SLIDERS, GROUPS))


@pytest.fixture(scope="module")
def result(search: ParameterSearch) -> SearchResult:
    return search(_faces(search), _parameters(2, 2), FAST)


def test_the_loss_falls_and_the_result_is_no_worse_than_the_start(result: SearchResult) -> None:
    assert result.losses.shape == (7, 2)
    assert (result.losses[-1] < 0.9 * result.losses[0]).all()
    assert (result.after < result.before).all()


def test_sliders_stay_in_range_and_groups_are_chosen(search: ParameterSearch) -> None:
    found = search(_faces(search), _parameters(2, 2), SearchSettings(steps=4, rate=2.0, group_rate=2.0)).x
    sliders, first, second = found.split([SLIDERS, *GROUPS], 1)
    assert sliders.min() >= 0 and sliders.max() <= 1
    for group in (first, second):
        assert set(group.unique().tolist()) == {0.0, 1.0} and torch.equal(group.sum(1), torch.ones(2))


def test_a_search_that_only_gets_worse_gives_back_the_start(search: ParameterSearch) -> None:
    known = harden(_parameters(2, 1), SLIDERS, GROUPS)
    found = search(_faces(search), known, SearchSettings(steps=3, optimiser="sgd", rate=1e4, group_rate=1e4))
    assert torch.allclose(found.x, known) and torch.equal(found.after, found.before)


def test_no_steps_still_try_the_choices(search: ParameterSearch) -> None:
    known = harden(_parameters(1, 1), SLIDERS, GROUPS)
    start = known.clone()
    start[:, SLIDERS : SLIDERS + 3] = torch.softmax(known[:, SLIDERS : SLIDERS + 3].roll(1, 1), 1)
    found = search(_faces(search, 1), start, SearchSettings(steps=0, candidates=3))
    assert torch.equal(found.x, known), "all but one choice was right, and every choice was tried"


def test_a_batch_finds_what_each_face_finds_alone(search: ParameterSearch, result: SearchResult) -> None:
    for row in range(2):
        alone = search(_faces(search)[row : row + 1], _parameters(2, 2)[row : row + 1], FAST)
        assert torch.allclose(alone.x[0], result.x[row], atol=2e-3)
        assert torch.allclose(alone.losses[:, 0], result.losses[:, row], atol=2e-3)


def test_the_same_search_twice_gives_the_same_bytes(search: ParameterSearch, result: SearchResult) -> None:
    again = search(_faces(search), _parameters(2, 2), FAST)
    assert torch.equal(again.x, result.x) and torch.equal(again.losses, result.losses)


def test_the_models_stay_as_they_are_even_when_gradients_are_off_outside(search: ParameterSearch) -> None:
    before = copy.deepcopy(search.state_dict())
    search.train()
    with torch.no_grad():
        search(_faces(search), _parameters(2, 3), SearchSettings(steps=2))
    assert all(torch.equal(before[name], value) for name, value in search.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in search.parameters())
    assert not any(module.training for module in search.modules())


def test_the_published_baseline_starts_from_the_average_face(search: ParameterSearch) -> None:
    faces, average = _faces(search), harden(_parameters(1, 4), SLIDERS, GROUPS)[0]
    found = search.iterative(faces, average)
    assert len(found.losses) == ICCV_2019.steps + 1 == 51
    assert (found.after <= found.before).all()


def test_the_prior_pulls_towards_faces_that_exist(search: ParameterSearch) -> None:
    def penalty(weight: float) -> float:
        settings = SearchSettings(steps=6, rate=0.05, prior=weight)
        sliders = search(_faces(search), _parameters(2, 2), settings).x[:, :SLIDERS]
        return float(search.prior.penalty(search.prior.to_coefficients(sliders)).mean())

    assert penalty(10.0) < penalty(0.0)


def test_progress_is_told_and_bad_settings_are_refused(search: ParameterSearch) -> None:
    heard: list[tuple[int, int]] = []
    search(_faces(search), _parameters(2, 2), SearchSettings(steps=2), lambda step, steps: heard.append((step, steps)))
    assert heard == [(0, 2), (1, 2), (2, 2)]
    with pytest.raises(ValueError, match="steps >= 0"):
        SearchSettings(steps=-1)
    with pytest.raises(ValueError, match="temperature"):
        SearchSettings(temperature_end=0.0)
    with pytest.raises(ValueError, match="both 0"):
        SearchSettings(identity=0.0, content=0.0)
    bare = ParameterSearch(search.imitator, search.identity, search.parser, SLIDERS, GROUPS, content_size=64)
    with pytest.raises(ValueError, match="no facial prior"):
        bare(_faces(search), _parameters(2, 2), SearchSettings(steps=1, prior=1.0))
