"""L = sum of weight * term, through frozen imitator, identity model and parser.

Legend: B batch, D embedding, F the encoder's input, S sliders, C feature channels, K classes, h, w feature map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..encoder import Encoder
from ..frozen import Frozen
from ..identity import IdentityModel
from ..identity_imitator import IdentityImitator
from ..imitator import Imitator
from ..parsing import FaceParser
from .content import ContentLoss, sized
from .decay import DecayLoss
from .identity import IdentityLoss
from .loop import LoopLoss
from .schedule import LossWeights
from .supervised import SupervisedLoss


class Photos(NamedTuple):
    """A batch of photos as the loss needs them: nothing here changes in training, so all of it is computed once."""

    embeddings: Tensor
    """[B, D] of length 1."""
    features: Tensor
    """[B, F], the encoder's input."""
    content: Tensor | None = None
    """[B, C, h, w], the parser's features; None: no content term."""
    probabilities: Tensor | None = None
    """[B, K, h, w], the parser's class probabilities."""
    frontal: Tensor | None = None
    """[B] bool: photos that get the content term; None: all."""


class CompositeLoss(Frozen):
    """The weighted sum of the terms. `neutral`: the average face's parameters [width]. `content_size`: pixels at which
    photo and drawing are parsed.
    """

    imitator: Imitator
    identity: IdentityModel
    identity_imitator: IdentityImitator
    parser: FaceParser
    neutral: Tensor

    def __init__(
        self,
        imitator: Imitator,
        identity: IdentityModel,
        identity_imitator: IdentityImitator,
        parser: FaceParser,
        neutral: Tensor,
        weights: LossWeights,
        content_size: int = 256,
        supervised: SupervisedLoss | None = None,
        identity_loss: IdentityLoss | None = None,
    ) -> None:
        super().__init__(imitator=imitator, identity=identity, identity_imitator=identity_imitator, parser=parser)
        self.register_buffer("neutral", neutral.float())
        self.weights, self.content_size = weights, content_size
        self.identity_loss = identity_loss or IdentityLoss()
        self.content_loss, self.loop_loss, self.decay_loss = ContentLoss(), LoopLoss(), DecayLoss()
        self.supervised_loss, self.recognised_loss = supervised, IdentityLoss()

    def forward(
        self,
        encoder: Encoder,
        photos: Photos | None = None,
        known: tuple[Tensor, Tensor] | None = None,
        seen: tuple[Tensor, Tensor] | None = None,
        warmup: float = 1.0,
        temperature: float = 1.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum and each term's raw value (detached).

        `photos` give the patent's four terms, whose weights are multiplied by `warmup`; `known`: the encoder's input
        [N, F] and the true parameters [N, width], which give the supervised term; `seen`: the encoder's input [M, F]
        and the photos' embeddings [M, D], which give the identity term without a drawing. Any may be missing.
        """
        terms: dict[str, Tensor] = {}
        if photos is not None:
            terms |= self._photo_terms(encoder, photos, temperature)
        factors = {name: warmup * getattr(self.weights, name) for name in terms}
        if known is not None and self.supervised_loss is not None:
            features, truth = known
            terms["supervised"] = self.supervised_loss(*encoder.heads(features), truth)
            factors["supervised"] = self.weights.supervised
        if seen is not None:
            features, embeddings = seen
            terms["recognised"] = self.recognised_loss(embeddings, self.identity_imitator(encoder(features)))
            factors["recognised"] = self.weights.recognised
        if not terms:
            raise ValueError("a composite loss needs photos or known parameters")
        total = torch.stack([factors[name] * value for name, value in terms.items()]).sum()
        return total, {name: value.detach() for name, value in terms.items()}

    @torch.no_grad()
    def content_of(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Faces [B, 3, H, H] in [0, 1] -> the parser's features [B, C, h, w] and class probabilities [B, K, h, w]."""
        features = self.parser.features(sized(faces, self.content_size))
        return features, torch.softmax(self.parser.classifier(features), 1)

    def _photo_terms(self, encoder: Encoder, photos: Photos, temperature: float) -> dict[str, Tensor]:
        x = encoder(photos.features, temperature)
        terms = {"decay": self.decay_loss(x[:, : encoder.n_sliders], self.neutral[: encoder.n_sliders])}
        weights = self.weights
        if not (weights.identity or weights.content or weights.loop):
            return terms
        drawn = self.imitator(x).contiguous()  # its channels-last layout would make the parser several times slower
        if weights.identity or weights.loop:
            embeddings, features = encoder.of(self.identity, drawn)
            terms["identity"] = self.identity_loss(photos.embeddings, embeddings)
            terms["loop"] = self.loop_loss(x, encoder(features, temperature))
        if weights.content and photos.content is not None and photos.probabilities is not None:
            mask = photos.frontal
            if mask is None:
                mask = torch.ones(len(x), dtype=torch.bool, device=x.device)
            if mask.any():  # a batch of side views alone has no content term at all
                outlines = self.parser.features(sized(drawn[mask], self.content_size))
                content, probabilities = photos.content[mask], photos.probabilities[mask]
                terms["content"] = self.content_loss(content, outlines, probabilities)
        return terms
