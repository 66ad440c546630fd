"""The composite loss, and the mistakes that public code for this method makes."""

import copy

import pytest
import torch
from torch import Tensor

from models.encoder import Architecture, Encoder
from models.face_parts import CLASSES
from models.identity import IdentityModel
from models.identity_imitator import IdentityImitator
from models.imitator import Imitator
from models.losses import (
    CompositeLoss,
    ContentLoss,
    DecayLoss,
    DomainStatistics,
    IdentityLoss,
    LoopLoss,
    LossWeights,
    Photos,
    Schedule,
    SupervisedLoss,
)
from models.parsing import FaceParser

SLIDERS, GROUPS = 4, (3, 2)
NONE = {"identity": 0.0, "content": 0.0, "loop": 0.0, "decay": 0.0, "supervised": 0.0, "recognised": 0.0}


def _composite(**weights: float) -> tuple[CompositeLoss, Encoder]:
    torch.manual_seed(0)
    imitator, parser = Imitator(9, 32, 0.125), FaceParser(18, 0.125)
    loss = CompositeLoss(
        imitator, IdentityModel(), IdentityImitator(9, 1024, 16), parser, torch.full((9,), 0.5),
        LossWeights(**{**NONE, **weights}), 64, SupervisedLoss(SLIDERS, GROUPS),
    )  # fmt: skip
    return loss, Encoder(Architecture(SLIDERS, GROUPS, dim=1024, hidden=16))


def _photos(loss: CompositeLoss, faces: Tensor, frontal: Tensor | None = None) -> Photos:
    embeddings = torch.nn.functional.normalize(torch.randn(len(faces), 1024), dim=1)
    return Photos(embeddings, embeddings, *loss.content_of(faces), frontal)


def _known(n: int = 2) -> tuple[Tensor, Tensor]:
    x = torch.cat([torch.rand(n, SLIDERS), *(torch.eye(g)[torch.randint(g, (n,))] for g in GROUPS)], 1)
    return torch.randn(n, 1024), x


def _batch(loss: CompositeLoss, n: int = 2) -> tuple[Photos, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    photos = _photos(loss, torch.rand(n, 3, 64, 64))
    return photos, _known(n), (photos.features, photos.embeddings)


@pytest.mark.parametrize("term", list(NONE))
def test_each_terms_gradient_reaches_the_encoder_and_only_the_encoder(term: str) -> None:
    loss, encoder = _composite(**{term: 1.0})
    before = copy.deepcopy(loss.state_dict())
    total, terms = loss(encoder, *_batch(loss))
    total.backward()
    assert terms[term] > 0 and torch.isclose(total, terms[term])
    assert encoder.enter.weight.grad is not None and encoder.enter.weight.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items()), "batch statistics too"


def test_frozen_models_stay_in_eval_mode_when_asked_to_train() -> None:
    loss, encoder = _composite(identity=1.0)
    torch.nn.ModuleList([encoder, loss]).train()
    assert encoder.training
    assert not any(module.training for module in loss.modules())


def test_the_total_is_the_weighted_sum_of_the_raw_terms() -> None:
    weights = {"identity": 0.01, "content": 1.0, "loop": 0.7, "decay": 0.2, "supervised": 2.0, "recognised": 3.0}
    loss, encoder = _composite(**weights)
    total, terms = loss(encoder, *_batch(loss))
    assert set(terms) == set(weights)
    assert torch.isclose(total, torch.stack([weights[k] * v for k, v in terms.items()]).sum())


def test_side_views_get_no_content_term() -> None:
    loss, encoder = _composite(content=1.0, identity=1.0)
    photos, _, _ = _batch(loss)
    _, all_sides = loss(encoder, photos._replace(frontal=torch.zeros(2, dtype=torch.bool)))
    assert "content" not in all_sides and "identity" in all_sides
    _, unknown = loss(encoder, photos._replace(content=None))
    assert "content" not in unknown
    _, mixed = loss(encoder, photos._replace(frontal=torch.tensor([True, False])))
    _, alone = loss(encoder, Photos(*(value[:1] for value in photos if value is not None)))
    assert torch.isclose(mixed["content"], alone["content"], rtol=1e-4)


def test_a_photo_of_the_drawing_itself_has_no_content_or_identity_loss() -> None:
    loss, encoder = _composite(content=1.0, identity=1.0)
    photos, _, _ = _batch(loss)
    with torch.no_grad():
        drawn = loss.imitator(encoder(photos.features))
    content, probabilities = loss.content_of(drawn)
    embeddings = loss.identity(drawn).detach()
    _, terms = loss(encoder, photos._replace(content=content, probabilities=probabilities, embeddings=embeddings))
    assert terms["content"] < 1e-6 and terms["identity"].abs() < 1e-6


def test_faces_whose_render_is_recognised_have_no_loss_and_nothing_is_drawn_for_it() -> None:
    loss, encoder = _composite(recognised=1.0)
    loss.imitator = None  # pyright: ignore[reportAttributeAccessIssue]
    features = torch.randn(3, 1024)
    with torch.no_grad():
        embeddings = loss.identity_imitator(encoder(features))
    same, _ = loss(encoder, seen=(features, embeddings))
    other, _ = loss(encoder, seen=(features, embeddings.roll(1, 0)))
    assert same.abs() < 1e-6 < other


def test_strength_weakens_the_photo_terms_alone() -> None:
    loss, encoder = _composite(decay=1.0, supervised=1.0)
    photos, known, _ = _batch(loss)
    full, terms = loss(encoder, photos, known)
    none, _ = loss(encoder, photos, known, warmup=0.0)
    assert torch.isclose(none, terms["supervised"]) and torch.isclose(full - none, terms["decay"])


def test_what_a_whole_domain_has_in_common_is_no_difference_between_people() -> None:
    torch.manual_seed(0)
    people = torch.randn(200, 16)
    photos, drawings = people + 3.0, 0.2 * people - 1.0
    photo, drawing = DomainStatistics(16).fit(photos), DomainStatistics(16).fit(drawings)
    assert IdentityLoss()(photos, drawings) > 0.5
    assert IdentityLoss(photo, drawing)(photos, drawings) < 1e-5


def test_the_schedule_of_the_papers_draws_from_all_photos_every_fourth_time() -> None:
    schedule = Schedule(every=2, first=4, ramp=4, temperature=1.0, temperature_end=0.25)
    assert [schedule.uses_photos(step) for step in range(8)] == [False] * 4 + [True, False, True, False]
    sides = [step for step in range(0, 32, 2) if schedule.includes_side_views(step)]
    assert sides == [6, 14, 22, 30] and not any(schedule.has_content(step) for step in sides)
    assert [schedule.warmup(step) for step in (0, 4, 7, 20)] == [0.0, 0.25, 1.0, 1.0]
    assert [round(schedule.temperature_at(step, 11), 3) for step in (0, 5, 10)] == [1.0, 0.5, 0.25]
    always = Schedule(side_every=0)
    assert all(always.includes_side_views(step) and always.has_content(step) for step in range(8))
    with pytest.raises(ValueError, match="count"):
        Schedule(every=0)
    with pytest.raises(ValueError, match="count"):
        Schedule(ramp=-1)
    with pytest.raises(ValueError, match="falls"):
        Schedule(temperature=0.5, temperature_end=1.0)


def test_content_counts_both_brows_and_eyes_and_no_background() -> None:
    content = ContentLoss()
    photo, drawn = torch.zeros(1, 4, 2, 2), torch.ones(1, 4, 2, 2)
    for number, name in enumerate(CLASSES):
        probabilities = torch.zeros(1, 11, 2, 2)
        probabilities[:, number] = 1.0
        expected = 0.0 if name == "background" else 1.0
        assert float(content(photo, drawn, probabilities)) == pytest.approx(expected), name


def test_terms_have_their_textbook_values() -> None:
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert IdentityLoss()(a, a) == 0 and IdentityLoss()(a, b) == 1 and IdentityLoss()(a, -a) == 2
    assert LoopLoss()(a, b) == 1
    assert DecayLoss()(torch.tensor([[0.2, 0.8]]), torch.tensor([0.5, 0.5])) == pytest.approx(0.3)
    supervised = SupervisedLoss(1, (2,), "l1", group_weight=1.0)
    value = supervised(torch.tensor([[0.5]]), [torch.tensor([[0.0, 0.0]])], torch.tensor([[1.0, 1.0, 0.0]]))
    assert float(value) == pytest.approx(0.5 + 0.6931, abs=1e-3)


def test_the_standardised_norm_of_the_mean_is_one_whatever_a_slider_moves() -> None:
    torch.manual_seed(0)
    truth = torch.rand(1000, 3) * torch.tensor([1.0, 0.01, 0.0]) + 0.4
    loss = SupervisedLoss(3, (), "standardised", spread=truth.std(0))
    value = loss(truth.mean(0).expand(1000, -1), [], truth)
    assert float(value) == pytest.approx(2 / 3, abs=0.01), "the slider that never moves counts nothing"
    with pytest.raises(ValueError, match="spread"):
        SupervisedLoss(3, (), "standardised")


def test_negative_weights_and_empty_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="decay"):
        LossWeights(decay=-1.0)
    loss, encoder = _composite(identity=1.0)
    with pytest.raises(ValueError, match="needs"):
        loss(encoder)


@pytest.mark.slow
def test_the_composite_loss_falls_on_a_tiny_run() -> None:
    loss, encoder = _composite(identity=0.01, content=0.01, loop=1.0, decay=0.1, supervised=1.0)
    optimiser, batch, totals = torch.optim.Adam(encoder.parameters(), 5e-3), _batch(loss), []
    for _ in range(20):
        optimiser.zero_grad()
        total, _ = loss(encoder, *batch)
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.9 * totals[0]
