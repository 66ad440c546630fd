"""Features of the embedding and of the map before it: two linear steps that are fitted once."""

import pytest
import torch

from models.features import FaceFeatures, principal, read_maps
from models.identity import IdentityModel


def _maps(n: int = 60) -> torch.Tensor:
    """Maps [N, 6, 2, 2] that vary in three directions, strongest first."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(24, 3, generator=generator))[0].T
    weights = torch.randn(n, 3, generator=generator) * torch.tensor([9.0, 3.0, 1.0])
    return (weights @ directions + 5.0).view(n, 6, 2, 2)


def test_features_are_whitened_and_in_order_of_their_spread() -> None:
    maps, embeddings = _maps(), torch.randn(60, 4)
    features = FaceFeatures(4, (6, 2, 2), channels=6, n_map=3)
    features.directions.fit_channels(maps)
    features.fit(embeddings, features.directions.squeeze(maps))
    found = features(embeddings, maps)
    assert found.shape == (60, features.width) == (60, 7)
    covariance = torch.cov(found[:, 4:].T)
    assert torch.allclose(covariance, torch.eye(3), atol=0.02)
    assert torch.allclose(found.mean(0), torch.zeros(7), atol=1e-4)


def test_joined_halves_are_the_whole() -> None:
    maps, embeddings = _maps(), torch.randn(60, 4)
    features = FaceFeatures(4, (6, 2, 2), channels=4, n_map=2)
    features.directions.fit_channels(maps)
    squeezed = features.directions.squeeze(maps)
    features.fit(embeddings, squeezed)
    assert torch.equal(features.concat(embeddings, squeezed), features(embeddings, maps))


def test_without_map_features_the_embedding_alone_is_read() -> None:
    features = FaceFeatures(4)
    features.fit(torch.randn(50, 4) * 3 + 1, None)
    found = features(torch.randn(5, 4), torch.zeros(5, 6, 2, 2))
    assert found.shape == (5, 4) and features.width == 4


def test_directions_that_nothing_spans_are_empty_not_noise() -> None:
    rows = torch.randn(4, 10, dtype=torch.double)
    _, directions, spread = principal(rows, 8)
    assert (directions[:, 4:] == 0).all() and torch.isfinite(directions / spread).all()


def test_few_long_rows_give_what_their_covariance_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 30, dtype=torch.double, generator=generator) * torch.linspace(5, 1, 30)
    short, long = principal(rows, 6), principal(torch.cat([rows, rows * 0], 1), 6)
    assert torch.allclose(short[2], long[2]) and torch.allclose(short[1], long[1][:30], atol=1e-8)


def test_rows_that_are_read_part_by_part_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = (torch.randn(50, 6, generator=generator) * torch.linspace(5, 1, 6) + 3).half()
    whole = principal(rows.double(), 4)
    monkeypatch.setattr("models.features.ROWS", 7)
    for one, other in zip(whole, principal(rows, 4), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_more_features_than_the_map_has_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="24"):
        FaceFeatures(4, (6, 2, 2), channels=6, n_map=25)


@pytest.mark.slow
def test_a_gradient_reaches_the_pixels_through_embedding_and_map() -> None:
    torch.manual_seed(0)
    identity = IdentityModel().eval().requires_grad_(False)
    faces = torch.rand(2, 3, 64, 64, requires_grad=True)
    embeddings, (*_, maps) = read_maps(identity, faces)
    assert torch.allclose(embeddings, identity(faces), atol=1e-5)
    features = FaceFeatures(1024, tuple(maps.shape[1:]), channels=8, n_map=4)
    with torch.no_grad():
        seen = read_maps(identity, torch.rand(24, 3, 64, 64))[1][-1]
        features.directions.fit_channels(seen)
        features.fit(torch.randn(24, 1024), features.directions.squeeze(seen))
    for part in features(embeddings, maps).split([1024, 4], dim=1):
        (gradient,) = torch.autograd.grad(part.square().sum(), faces, retain_graph=True)
        assert gradient.abs().sum() > 0
