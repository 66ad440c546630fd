"""The composite loss, and the mistakes that public code for this method makes."""

import copy

import pytest
import torch

from models.encoder import Encoder
from models.identity import IdentityModel
from models.imitator import Imitator
from models.losses import (
    CompositeLoss,
    ContentLoss,
    DecayLoss,
    IdentityLoss,
    LoopLoss,
    SupervisedLoss,
    Weights,
)
from models.parsing import CLASSES, FaceParser

SLIDERS, GROUPS = 4, (3, 2)
NONE = {"identity": 0.0, "content": 0.0, "loop": 0.0, "decay": 0.0, "supervised": 0.0}


def _composite(**weights: float) -> tuple[CompositeLoss, Encoder]:
    torch.manual_seed(0)
    imitator, parser = Imitator(9, 32, 0.125), FaceParser(18, 0.125)
    loss = CompositeLoss(
        imitator, IdentityModel(), parser, torch.full((9,), 0.5), Weights(**{**NONE, **weights}), 64,
        SupervisedLoss(SLIDERS, GROUPS),
    )  # fmt: skip
    return loss, Encoder(SLIDERS, GROUPS, dim=128, hidden=16)


def _batch(n: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    known_x = torch.cat([torch.rand(n, SLIDERS), *(torch.eye(g)[torch.randint(g, (n,))] for g in GROUPS)], 1)
    embeddings = torch.nn.functional.normalize(torch.randn(n, 128), dim=1)
    return {
        "photos": torch.rand(n, 3, 64, 64),
        "embeddings": embeddings,
        "frontal": torch.ones(n, dtype=torch.bool),
        "known_embeddings": embeddings.flip(0),
        "known_x": known_x,
    }


@pytest.mark.parametrize("term", list(NONE))
def test_each_terms_gradient_reaches_the_encoder_and_only_the_encoder(term: str) -> None:
    loss, encoder = _composite(**{term: 1.0})
    before = copy.deepcopy(loss.state_dict())
    total, terms = loss(encoder, **_batch())
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
    weights = {"identity": 0.01, "content": 1.0, "loop": 0.7, "decay": 0.2, "supervised": 2.0}
    loss, encoder = _composite(**weights)
    total, terms = loss(encoder, **_batch())
    assert set(terms) == set(weights)
    assert torch.isclose(total, torch.stack([weights[k] * v for k, v in terms.items()]).sum())


def test_side_views_get_no_content_term() -> None:
    loss, encoder = _composite(content=1.0, identity=1.0)
    batch = _batch()
    _, all_sides = loss(encoder, **{**batch, "frontal": torch.zeros(2, dtype=torch.bool)})
    assert "content" not in all_sides and "identity" in all_sides
    _, mixed = loss(encoder, **{**batch, "frontal": torch.tensor([True, False])})
    first = {k: v[:1] for k, v in batch.items()}
    _, alone = loss(encoder, **first)
    assert torch.isclose(mixed["content"], alone["content"], rtol=1e-4)


def test_a_photo_of_the_drawing_itself_has_no_content_or_identity_loss() -> None:
    loss, encoder = _composite(content=1.0, identity=1.0)
    batch = _batch()
    with torch.no_grad():
        photos = loss.imitator(encoder(batch["embeddings"]))
    _, terms = loss(encoder, **{**batch, "photos": photos})
    assert terms["content"] < 1e-6
    assert IdentityLoss()(loss.identity(photos), loss.identity(photos)).abs() < 1e-6


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
    value = supervised(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    assert float(value) == pytest.approx(0.5 + 0.6931, abs=1e-3)


def test_negative_weights_and_empty_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="decay"):
        Weights(decay=-1.0)
    loss, encoder = _composite(identity=1.0)
    with pytest.raises(ValueError, match="needs"):
        loss(encoder)


def test_the_composite_loss_falls_on_a_tiny_run() -> None:
    loss, encoder = _composite(identity=0.01, content=0.01, loop=1.0, decay=0.1, supervised=1.0)
    optimiser, batch, totals = torch.optim.Adam(encoder.parameters(), 5e-3), _batch(), []
    for _ in range(20):
        optimiser.zero_grad()
        total, _ = loss(encoder, **batch)
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.9 * totals[0]
