import pytest
import torch

from models.prior import FacialPrior, bound

PARTS = ("nose", "nose", "nose", "mouth", "mouth", "ears")


def _samples(n: int = 400) -> torch.Tensor:
    """Correlated inside a part, independent between parts; the ears never vary."""
    random = torch.Generator().manual_seed(0)
    nose = torch.randn(n, 2, generator=random) @ torch.tensor([[0.1, 0.08, 0.0], [0.0, 0.02, 0.05]])
    mouth = torch.randn(n, 1, generator=random) * torch.tensor([[0.1, -0.05]])
    mouth = mouth + 0.01 * torch.randn(n, 2, generator=random)
    return torch.cat([nose, mouth, torch.zeros(n, 1)], 1) + 0.5


def test_sliders_come_back_from_their_coefficients() -> None:
    samples = _samples()
    prior = FacialPrior.fit(samples, PARTS)
    assert torch.allclose(prior.to_sliders(prior.to_coefficients(samples)), samples, atol=1e-5)
    assert prior.dimension == 4, "two directions of the nose, two of the mouth, none of ears that never vary"


def test_coefficients_of_the_samples_are_white_inside_each_part() -> None:
    prior = FacialPrior.fit(_samples(), PARTS)
    z = prior.to_coefficients(_samples())
    assert torch.allclose(z.mean(0), torch.zeros(4), atol=1e-4)
    covariance = torch.cov(z.T)
    assert torch.allclose(covariance[:2, :2], torch.eye(2), atol=1e-3)
    assert torch.allclose(covariance[2:, 2:], torch.eye(2), atol=1e-3)
    assert float(prior.penalty(z).mean()) == pytest.approx(1.0, abs=0.01)
    assert torch.equal(prior.penalty(torch.zeros(3, 4)), torch.zeros(3))


def test_a_coefficient_moves_the_sliders_of_one_part_only() -> None:
    prior = FacialPrior.fit(_samples(), PARTS)
    moved = (prior.to_sliders(torch.eye(4)) - prior.to_sliders(torch.zeros(4, 4))).abs() > 1e-6
    assert not moved[:2, 3:].any() and not moved[2:, :3].any() and moved.any(1).all()


def test_less_energy_keeps_fewer_directions_and_that_share_of_the_variance() -> None:
    samples = _samples()
    prior = FacialPrior.fit(samples, PARTS, energy=0.9)
    assert prior.dimension == 3
    left = samples - prior.to_sliders(prior.to_coefficients(samples))
    assert float(left.var(0).sum() / samples.var(0).sum()) < 0.1


def test_fewer_samples_than_sliders_are_enough() -> None:
    samples = torch.rand(3, 40, generator=torch.Generator().manual_seed(1))
    prior = FacialPrior.fit(samples, ["face"] * 40)
    assert prior.dimension == 2
    assert torch.allclose(prior.to_sliders(prior.to_coefficients(samples)), samples, atol=1e-5)


def test_the_border_stops_outward_gradients_and_no_others() -> None:
    x = torch.tensor([-0.2, -0.2, 0.5, 1.3, 1.3, 0.0, 1.0], requires_grad=True)
    bounded = bound(x)
    assert bounded.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0, 0.0, 1.0]
    bounded.backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0, -1.0]))
    assert x.grad is not None and x.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0, -1.0, 0.0]


def test_a_slider_outside_its_range_comes_back_by_gradient() -> None:
    prior = FacialPrior.fit(_samples(), PARTS)
    z = torch.full((1, 4), 30.0, requires_grad=True)
    optimiser = torch.optim.Adam([z], 1.0)
    for _ in range(200):
        optimiser.zero_grad()
        (prior.to_sliders(z) - 0.5).square().sum().backward()
        optimiser.step()
    assert torch.allclose(prior.to_sliders(z), torch.full((1, 6), 0.5), atol=0.02)


def test_it_travels_in_the_state_dict_and_is_the_same_each_time() -> None:
    prior = FacialPrior.fit(_samples(), PARTS)
    again = FacialPrior(6, prior.dimension)
    again.load_state_dict(prior.state_dict())
    z = torch.randn(5, 4)
    assert torch.equal(again.to_sliders(z), prior.to_sliders(z)) and not list(prior.parameters())
    shuffled = FacialPrior.fit(_samples().flip(0), PARTS)
    assert torch.allclose(shuffled.basis, prior.basis, atol=1e-5), "the sign of a direction is fixed"


def test_samples_that_teach_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no slider varies"):
        FacialPrior.fit(torch.full((9, 2), 0.5), ["nose", "nose"])
    with pytest.raises(ValueError, match="two samples"):
        FacialPrior.fit(torch.rand(1, 2), ["nose", "nose"])
    with pytest.raises(ValueError, match="as many parts"):
        FacialPrior.fit(torch.rand(3, 2), ["nose"])
