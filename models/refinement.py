"""An encoder's answer made more like a photo, as the recogniser sees photo and render.

The identity imitator knows what the recogniser would see in the engine's render, so its gradient finds better sliders
in hundredths of a second, and nothing is drawn. Where it errs can be measured: `by_engine` embeds real renders of its
answers and corrects the imitator's word by the difference, round by round (Gauss-Newton with a surrogate's Jacobian).
A few renders do what a search without gradients needs a thousand for.

Choices, sex and age stay as the encoder read them: they are what people see first, and other networks know more of them
than a recogniser's similarity does. Legend: B batch, D embedding, K the prior's coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .encoder import Encoder, harden
from .frozen import Frozen
from .identity_imitator import IdentityImitator
from .prior import FacialPrior

RENDER_SIZE = 128
"""Pixels of the renders that a refinement looks at: a recogniser reads about 112 of a face."""
Look = Callable[[Tensor], Tensor]
"""Parameters [B, width], every group one-hot -> embeddings [B, D] of the engine's renders of them."""


@dataclass(frozen=True)
class RefinementSettings:
    """How far and how long. Minimised is -cos(e, e') + pull |z - z0|^2 / K, over the coefficients z."""

    emphasis: float = 1.3
    """z0 is the encoder's answer, its distance from the mean face taken so many times: whoever is not sure answers too
    near the mean."""
    pull: float = 0.8
    steps: int = 60
    """Of Adam, by the imitator alone."""
    rate: float = 0.08
    """Of Adam, in the prior's standard deviations; it falls by `rate_decay` from round to round."""
    rate_decay: float = 0.7
    rounds: int = 6
    """Renders of each face after the first, with `round_steps` of Adam before each."""
    round_steps: int = 30
    gain: float = 1e-3
    patience: int = 2
    """The search ends when no face gained so much in so many rounds, one after the other."""

    def __post_init__(self) -> None:
        if min(self.steps, self.rounds, self.round_steps) < 0 or self.rate <= 0 or self.pull < 0:
            raise ValueError("a refinement needs steps, rounds and pull >= 0, and a rate above 0")


class Refined(NamedTuple):
    """What a refinement found."""

    x: Tensor
    """[B, width]: sliders in [0, 1], groups as they were given."""
    similarity: Tensor
    """[rounds + 1, B]: of photo and render, the start's first; by the imitator where nothing was drawn."""


class Refinement(Frozen):
    """Refines answers of one encoder. No weight of its networks changes, and nothing is random.

    Every face of a batch is refined as if it were alone.
    """

    imitator: IdentityImitator
    prior: FacialPrior

    def __init__(self, imitator: IdentityImitator, encoder: Encoder) -> None:
        prior = encoder.prior or FacialPrior.independent(encoder.n_sliders)
        super().__init__(imitator=imitator, prior=prior)
        self.n_sliders, self.group_sizes = encoder.n_sliders, encoder.group_sizes
        self.kept = [number for number in (encoder.architecture.sex, encoder.architecture.age) if number is not None]

    def by_gradient(self, embeddings: Tensor, x: Tensor, settings: RefinementSettings | None = None) -> Refined:
        """By the imitator alone: photos' embeddings [B, D], the encoder's answers [B, width]."""
        settings = settings or RefinementSettings()
        search = self._begin(embeddings, x, settings)
        before = search.expected(search.start)
        z = search.descend(search.emphasised, settings.steps, settings.rate)
        after = search.expected(z)
        return Refined(self._with_groups(search.parameters(z), x), torch.stack([before, after]))

    def by_engine(
        self,
        embeddings: Tensor,
        x: Tensor,
        look: Look,
        settings: RefinementSettings | None = None,
        report: Callable[[int, int], bool | None] = lambda round, rounds: None,
    ) -> Refined:
        """With the engine's renders, which `look` embeds: never worse than the encoder's answer, by what was drawn.

        `report` hears of each round before it; where it says False, the search ends with its best so far.
        """
        settings = settings or RefinementSettings()
        search = self._begin(embeddings, x, settings)
        best = _Best(search, search.cosine(look(search.answer)))
        similarity = [best.similarity]
        z, idle = search.descend(search.emphasised, settings.steps, settings.rate), 0
        for number in range(settings.rounds + 1):
            if report(number, settings.rounds + 1) is False:
                break
            seen = look(search.parameters(z))
            gained = best.offer(z, seen)
            similarity.append(best.similarity)
            idle = 0 if bool((gained >= settings.gain).any()) else idle + 1
            if number == settings.rounds or idle == settings.patience:
                break
            # On from the best so far, whose error is known, with a smaller step.
            search.correct(best.z, best.seen)
            z = search.descend(best.z, settings.round_steps, settings.rate * settings.rate_decay ** (number + 1))
        report(settings.rounds + 1, settings.rounds + 1)
        return Refined(self._with_groups(best.x, x), torch.stack(similarity))

    def _begin(self, embeddings: Tensor, x: Tensor, settings: RefinementSettings) -> _Search:
        x = harden(x.detach(), self.n_sliders, self.group_sizes)
        return _Search(self, x, functional.normalize(embeddings, dim=1), settings)

    def _with_groups(self, refined: Tensor, given: Tensor) -> Tensor:
        """Refined sliders, and the groups' probabilities as the encoder gave them."""
        return torch.cat([refined[:, : self.n_sliders], given[:, self.n_sliders :]], 1)


class _Search:
    """Faces on their way from the encoder's answer."""

    def __init__(self, by: Refinement, x: Tensor, wanted: Tensor, settings: RefinementSettings) -> None:
        self.imitator, self.prior, self.wanted, self.settings = by.imitator, by.prior, wanted, settings
        self.answer, self.choices = x, x[:, by.n_sliders :]
        free = torch.ones(by.n_sliders, dtype=torch.bool, device=x.device)
        free[by.kept] = False
        self.free = free
        self.start = self.prior.to_coefficients(x[:, : by.n_sliders])
        self.emphasised = settings.emphasis * self.start
        self.error = torch.zeros_like(wanted)
        """What the engine's renders showed beyond what the imitator said."""

    def parameters(self, z: Tensor) -> Tensor:
        """Coefficients [B, K] -> x [B, width]."""
        sliders = torch.where(self.free, self.prior.to_sliders(z), self.answer[:, : len(self.free)])
        return torch.cat([sliders, self.choices], 1)

    def expected(self, z: Tensor) -> Tensor:
        """The similarity [B] that a render would have."""
        return self.cosine(self.imitator(self.parameters(z)) + self.error)

    def cosine(self, embeddings: Tensor) -> Tensor:
        """Similarity [B] of embeddings [B, D] with the photos'."""
        return functional.cosine_similarity(embeddings, self.wanted)

    def distance(self, z: Tensor) -> Tensor:
        """The pull [B] back to the encoder's answer."""
        return self.settings.pull * (z - self.emphasised).square().mean(1)

    def correct(self, z: Tensor, seen: Tensor) -> None:
        """Take the imitator's error at z, where the render's embeddings are `seen`."""
        with torch.no_grad():
            self.error = seen - self.imitator(self.parameters(z))

    def descend(self, z: Tensor, steps: int, rate: float) -> Tensor:
        """Steps of Adam from z [B, K]."""
        with torch.enable_grad():
            z = z.detach().clone().requires_grad_()
            optimiser = torch.optim.Adam([z], rate)
            for _ in range(steps):
                loss = (self.distance(z) - self.expected(z)).sum()
                (z.grad,) = torch.autograd.grad(loss, z)
                optimiser.step()
        return z.detach()


class _Best:
    """For each face the least loss among the renders so far, and the answer where none is more like the photo."""

    def __init__(self, search: _Search, similarity: Tensor) -> None:
        self.search, self.x, self.similarity = search, search.answer, similarity
        self.z, self.seen = search.emphasised, torch.zeros_like(search.wanted)
        self.loss = torch.full_like(similarity, torch.inf)

    def offer(self, z: Tensor, seen: Tensor) -> Tensor:
        """Coefficients [B, K] and what was seen of their renders [B, D]; gives how much each face gained [B]."""
        similarity = self.search.cosine(seen)
        loss = self.search.distance(z) - similarity
        better = loss < self.loss
        gained = torch.where(better, self.loss - loss, 0.0)
        self.loss = torch.where(better, loss, self.loss)
        self.z, self.seen = (torch.where(better[:, None], new, old) for new, old in ((z, self.z), (seen, self.seen)))
        taken = better & (similarity > self.similarity)
        self.x = torch.where(taken[:, None], self.search.parameters(z), self.x)
        self.similarity = torch.where(taken, similarity, self.similarity)
        return gained
