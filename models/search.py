"""Parameters of a face found by gradient descent through the frozen imitator.

Shi et al., ICCV 2019 ("Face-to-Parameter Translation for Game Character Auto-Creation") minimise
L_S = alpha (1 - cos(e, e')) + ||w (f - f')||_1 over x, starting from the average face: `ICCV_2019`. An
encoder's answer is refined by `refinement.py`. Discrete groups are relaxed to a softmax whose temperature
falls, and chosen at the end by trying them. Legend: B batch, D embedding, C features, K classes, S sliders, width = S +
all groups' choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .encoder import harden, split
from .frozen import Frozen
from .imitator import Imitator
from .losses import ContentLoss, sized
from .parsing import FaceParser
from .prior import FacialPrior

LARGEST_PARSED = 256
"""Pixels; the side at which faces are parsed at the most."""
RAREST = 0.01
"""A choice is given at least this probability at the start: a softmax at 0 has no gradient to rise by."""


@dataclass(frozen=True)
class SearchSettings:
    """How the search goes. The defaults are for a start near the answer."""

    steps: int = 20
    optimiser: Literal["adam", "sgd"] = "adam"
    rate: float = 0.01
    """Learning rate of the sliders."""
    group_rate: float = 0.1
    """Learning rate of the groups' logits."""
    decay: float = 0.8
    """Factor on both rates after every `decay_every` steps."""
    decay_every: int = 5
    identity: float = 1.0
    content: float = 0.2
    prior: float = 0.0
    """Weight of the facial prior's penalty; needs a prior."""
    temperature_end: float = 0.2
    """Temperature of the softmax at the last step; it falls from 1."""
    candidates: int = 2
    """How many of each group's likeliest choices are tried at the end."""

    def __post_init__(self) -> None:
        if self.steps < 0 or self.decay_every < 1 or self.candidates < 1:
            raise ValueError("a search needs steps >= 0, decay_every >= 1 and candidates >= 1")
        if not 0 < self.temperature_end <= 1:
            raise ValueError(f"the temperature falls from 1, so `temperature_end` cannot be {self.temperature_end}")
        if min(self.identity, self.content, self.prior) < 0 or not (self.identity or self.content):
            raise ValueError("weights of a search cannot be negative, nor those of identity and content both 0")


ICCV_2019 = SearchSettings(
    steps=50, optimiser="sgd", rate=10.0, group_rate=10.0, decay=0.8, decay_every=5, identity=0.01, content=1.0,
    temperature_end=1.0, candidates=1,
)  # fmt: skip
"""The published settings: 50 steps, learning rate 10, less 20 % every 5 steps, alpha 0.01. The paper does not say how
its one-hot groups are kept valid: here they are a softmax, of which the likeliest choice is taken.
"""


class SearchTarget(NamedTuple):
    """What a photo is compared by."""

    embedding: Tensor
    """[B, D]"""
    features: Tensor
    """[B, C, h, w] of the parser"""
    probabilities: Tensor
    """[B, K, h, w] of the classes"""


class SearchResult(NamedTuple):
    """The parameters found, and the way there."""

    x: Tensor
    """[B, width]: sliders in [0, 1], groups one-hot"""
    losses: Tensor
    """[steps + 1, B]: what was minimised, with relaxed groups, at the start and after each step"""
    before: Tensor
    """[B]: weighted identity + content of the start's drawing, its likeliest choices taken"""
    after: Tensor
    """[B]: the same of `x`; never above `before`"""


class ParameterSearch(Frozen):
    """Search by frozen models: no parameter of them gets a gradient, and all stay in eval mode.

    `identity`: faces [B, 3, h, h] of any size to embeddings [B, D]. `content_size`: pixels at which photo and drawing
    are parsed; by default the imitator's, so that no drawing is enlarged. Every face of a batch is searched as if it
    were alone.
    """

    imitator: Imitator
    identity: nn.Module
    parser: FaceParser
    prior: FacialPrior

    def __init__(
        self,
        imitator: Imitator,
        identity: nn.Module,
        parser: FaceParser,
        n_sliders: int,
        group_sizes: Sequence[int],
        prior: FacialPrior | None = None,
        content_size: int | None = None,
    ) -> None:
        super().__init__(imitator=imitator, identity=identity, parser=parser, **({"prior": prior} if prior else {}))
        self.n_sliders, self.group_sizes, self.has_prior = n_sliders, tuple(group_sizes), prior is not None
        self.content_size = content_size or min(imitator.size, LARGEST_PARSED)
        self.content_loss = ContentLoss()

    def iterative(self, faces: Tensor, average: Tensor) -> SearchResult:
        """The baseline of ICCV 2019: faces [B, 3, H, H] from the average face's parameters [width]."""
        return self(faces, average.expand(len(faces), -1), ICCV_2019)

    def forward(
        self,
        faces: Tensor,
        start: Tensor,
        settings: SearchSettings | None = None,
        report: Callable[[int, int], None] = lambda step, steps: None,
    ) -> SearchResult:
        """Faces [B, 3, H, H] in the reference frame, RGB in [0, 1], from parameters `start` [B, width].

        `report` hears the number of steps done and of all. Of start, best and last step the one whose drawing has the
        least weighted identity + content, groups chosen, is kept for each face.
        """
        settings = settings or SearchSettings()
        photo = self.describe(faces)
        with torch.enable_grad():
            best, last, losses = self._descend(photo, start, settings, report)
        with torch.no_grad():
            kept = _Least(self._hard(start), before := self._measure(photo, self._hard(start), settings))
            for x in (best, last):
                kept.offer(self._hard(x), self._measure(photo, self._hard(x), settings))
            self._try_choices(photo, last, kept, settings)
        return SearchResult(kept.x, losses, before, kept.value)

    @torch.no_grad()
    def describe(self, faces: Tensor) -> SearchTarget:
        """What faces [B, 3, H, H] are compared by."""
        features = self.parser.features(sized(faces, self.content_size))
        return SearchTarget(self.identity(faces), features, torch.softmax(self.parser.classifier(features), 1))

    def compare(self, photo: SearchTarget, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Identity term 1 - cos(e, e') and content term of drawings or renders [B, 3, h, h], each [B]."""
        identity = 1 - functional.cosine_similarity(photo.embedding, self.identity(drawn), dim=1)
        features = self.parser.features(sized(drawn, self.content_size))
        # face by face: the content term is a mean over its batch, and a batch must not change a face's search
        rows = zip(photo.features.split(1), features.split(1), photo.probabilities.split(1), strict=True)
        return identity, torch.stack([self.content_loss(*row) for row in rows])

    def _descend(
        self, photo: SearchTarget, start: Tensor, settings: SearchSettings, report: Callable[[int, int], None]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best and the last relaxed parameters [B, width], and the losses [steps + 1, B]."""
        given, *groups = split(start.detach().clone(), self.n_sliders, self.group_sizes)
        sliders = given.clamp(0, 1).requires_grad_()
        logits = [group.clamp(min=RAREST).log().requires_grad_() for group in groups]
        optimiser = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[settings.optimiser](
            [{"params": [sliders], "lr": settings.rate}, {"params": logits, "lr": settings.group_rate}]
        )
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, settings.decay_every, settings.decay)
        losses: list[Tensor] = []
        best = None
        for step in range(settings.steps + 1):
            temperature = settings.temperature_end ** (step / max(settings.steps, 1))
            x = torch.cat([sliders, *(torch.softmax(group / temperature, 1) for group in logits)], 1)
            loss = self._measure(photo, x, settings) + self._penalty(sliders, settings)
            losses.append(loss.detach())
            if best is None:
                best = _Least(x.detach(), losses[0])
            best.offer(x.detach(), losses[-1])
            report(step, settings.steps)
            if step < settings.steps:
                optimiser.zero_grad()
                loss.sum().backward()
                optimiser.step()
                schedule.step()
                with torch.no_grad():
                    sliders.clamp_(0, 1)
        assert best is not None
        return best.x, x.detach(), torch.stack(losses)

    def _measure(self, photo: SearchTarget, x: Tensor, settings: SearchSettings) -> Tensor:
        """Weighted identity + content of the drawing of x [B, width], for each face [B]."""
        # the imitator's channels-last layout would make the parser several times slower
        identity, content = self.compare(photo, self.imitator(x).contiguous())
        return settings.identity * identity + settings.content * content

    def _penalty(self, sliders: Tensor, settings: SearchSettings) -> Tensor:
        if not settings.prior:
            return sliders.new_zeros(len(sliders))
        if not self.has_prior:
            raise ValueError("this search has no facial prior: give it one, or the weight `prior` 0")
        return settings.prior * self.prior.penalty(self.prior.to_coefficients(sliders))

    def _try_choices(self, photo: SearchTarget, relaxed: Tensor, kept: _Least, settings: SearchSettings) -> None:
        """Group by group, the likeliest choices of `relaxed` in the place of what is kept."""
        for number, group in enumerate(split(relaxed, self.n_sliders, self.group_sizes)[1:]):
            for choice in group.topk(min(settings.candidates, group.shape[1]), dim=1).indices.unbind(1):
                parts = list(split(kept.x, self.n_sliders, self.group_sizes))
                parts[number + 1] = functional.one_hot(choice, group.shape[1]).to(relaxed)
                x = torch.cat(parts, 1)
                kept.offer(x, self._measure(photo, x, settings))

    def _hard(self, x: Tensor) -> Tensor:
        sliders, *groups = split(harden(x.detach(), self.n_sliders, self.group_sizes), self.n_sliders, self.group_sizes)
        return torch.cat([sliders.clamp(0, 1), *groups], 1)


class _Least:
    """For each face the parameters with the least value so far; a tie keeps what was there."""

    def __init__(self, x: Tensor, value: Tensor) -> None:
        self.x, self.value = x, value

    def offer(self, x: Tensor, value: Tensor) -> None:
        better = value < self.value
        self.x, self.value = torch.where(better[:, None], x, self.x), torch.where(better, value, self.value)
