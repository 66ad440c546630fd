"""Refinement with an engine of numbers: a network embeds its renders, and the imitator knows that roughly."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.encoder import Architecture, Encoder, harden
from models.identity_imitator import IdentityImitator
from models.prior import FacialPrior
from models.refinement import Refinement, RefinementSettings

SLIDERS, GROUPS = 6, (3, 2)
WIDTH = SLIDERS + sum(GROUPS)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder(Architecture(SLIDERS, GROUPS, dim=8, hidden=8, prior=SLIDERS, sex=0))
    encoder.prior = FacialPrior.fit(0.5 + 0.15 * torch.randn(50, SLIDERS), ["a"] * SLIDERS)
    return encoder


@pytest.fixture(scope="module")
def engine() -> IdentityImitator:
    """The truth, in the place of the engine and the recogniser."""
    torch.manual_seed(1)
    truth = IdentityImitator(WIDTH, 8, 16).eval()
    with torch.no_grad():
        for name, values in truth.named_parameters():  # so that faces differ
            values.mul_(3 if name.endswith("weight") else 0)
    return truth


@pytest.fixture(scope="module")
def refinement(encoder: Encoder, engine: IdentityImitator) -> Refinement:
    imitator = copy.deepcopy(engine)
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in imitator.parameters():
            weight += 0.02 * torch.randn_like(weight)
    return Refinement(imitator, encoder)


def _x(n: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    groups = [torch.softmax(torch.randn(n, size, generator=random), 1) for size in GROUPS]
    return torch.cat([(0.5 + 0.15 * torch.randn(n, SLIDERS, generator=random)).clamp(0, 1), *groups], 1)


@pytest.fixture(scope="module")
def photos(engine: IdentityImitator) -> Tensor:
    with torch.no_grad():
        return engine(harden(_x(4, 3), SLIDERS, GROUPS))


FREE = RefinementSettings(emphasis=1.0, pull=0.02)


def _similarity(engine: IdentityImitator, x: Tensor, photos: Tensor) -> Tensor:
    with torch.no_grad():
        return functional.cosine_similarity(engine(x), photos)


def test_the_gradient_makes_answers_more_like_the_photos(
    refinement: Refinement, engine: IdentityImitator, photos: Tensor
) -> None:
    start = harden(_x(4, 4), SLIDERS, GROUPS)
    found = refinement.by_gradient(photos, start, FREE)
    assert (found.similarity[-1] > found.similarity[0]).all()
    assert _similarity(engine, found.x, photos).mean() > _similarity(engine, start, photos).mean() + 0.1


def test_renders_correct_what_the_imitator_gets_wrong(
    refinement: Refinement, engine: IdentityImitator, photos: Tensor
) -> None:
    start, heard = _x(4, 4), []
    alone = refinement.by_gradient(photos, start, FREE)
    found = refinement.by_engine(photos, start, engine, FREE, lambda done, of: heard.append((done, of)))
    seen = _similarity(engine, harden(found.x, SLIDERS, GROUPS), photos)
    assert torch.allclose(seen, found.similarity[-1], atol=1e-5), "what it says is what was drawn"
    assert seen.mean() > _similarity(engine, harden(alone.x, SLIDERS, GROUPS), photos).mean()
    assert (found.similarity.diff(dim=0) >= -1e-6).all() or (seen >= found.similarity[0]).all()
    assert heard[0] == (0, FREE.rounds + 1) and heard[-1] == (FREE.rounds + 1, FREE.rounds + 1)


def test_whoever_hears_of_the_rounds_can_end_the_search(
    refinement: Refinement, engine: IdentityImitator, photos: Tensor
) -> None:
    found = refinement.by_engine(photos, _x(4, 4), engine, FREE, lambda done, of: done < 2)
    whole = refinement.by_engine(photos, _x(4, 4), engine, FREE)
    assert torch.equal(found.similarity, whole.similarity[:3]), "the answer's and two rounds'"
    start = refinement.by_engine(photos, _x(4, 4), engine, FREE, lambda done, of: False)
    assert torch.equal(start.x, _x(4, 4)), "the answer itself"


def test_sex_and_choices_stay_as_they_were_read(
    refinement: Refinement, engine: IdentityImitator, photos: Tensor
) -> None:
    start = _x(4, 4)
    for x in (refinement.by_gradient(photos, start).x, refinement.by_engine(photos, start, engine).x):
        assert torch.equal(x[:, SLIDERS:], start[:, SLIDERS:]) and torch.equal(x[:, 0], start[:, 0])
        assert x[:, :SLIDERS].min() >= 0 and x[:, :SLIDERS].max() <= 1 and not torch.equal(x, start)


def test_an_engine_that_always_draws_less_alike_leaves_the_answer(refinement: Refinement, photos: Tensor) -> None:
    start, calls = harden(_x(4, 4), SLIDERS, GROUPS), []

    def look(x: Tensor) -> Tensor:
        calls.append(x)
        return photos if len(calls) == 1 else -photos

    found = refinement.by_engine(photos, start, look)
    assert torch.equal(found.x, start) and len(calls) < 2 + RefinementSettings().rounds, (
        "it stops when nothing is gained"
    )


def test_a_batch_finds_what_each_face_finds_alone_and_nothing_changes(refinement: Refinement, photos: Tensor) -> None:
    before = copy.deepcopy(refinement.state_dict())
    refinement.train()
    with torch.inference_mode(False), torch.no_grad():
        together = refinement.by_gradient(photos, _x(4, 4)).x
    for row in range(4):
        alone = refinement.by_gradient(photos[row : row + 1], _x(4, 4)[row : row + 1]).x
        assert torch.allclose(alone[0], together[row], atol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in refinement.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in refinement.parameters())


def test_an_encoder_without_a_prior_is_refined_slider_by_slider(engine: IdentityImitator, photos: Tensor) -> None:
    plain = Refinement(engine, Encoder(Architecture(SLIDERS, GROUPS, dim=8, hidden=8)))
    found = plain.by_gradient(photos, _x(4, 4), FREE)
    assert (found.similarity[-1] > found.similarity[0]).all()
    with pytest.raises(ValueError, match="rounds"):
        RefinementSettings(rounds=-1)
