"""The encoder's composite loss, one module a term.

Terms 1 to 4 are those of patent CN110717977A and of Shi et al., TPAMI 2022 (doi 10.1109/TPAMI.2020.3024009); the
supervised term is EasyCraft's (CVPR 2025). Legend: B batch, D embedding, S sliders, C feature channels, K classes, h, w
feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from .encoder import Encoder, split
from .identity import IdentityModel
from .imitator import Imitator
from .parsing import CLASSES, FaceParser


@dataclass(frozen=True)
class Weights:
    """The factor of each term in the sum; 0 leaves a term out. Defaults: the papers' lambdas, without supervision."""

    identity: float = 0.01
    content: float = 1.0
    loop: float = 1.0
    decay: float = 0.0
    supervised: float = 0.0

    def __post_init__(self) -> None:
        negative = [f.name for f in fields(self) if getattr(self, f.name) < 0]
        if negative:
            raise ValueError(f"loss weights cannot be negative: {', '.join(negative)}")


CLASS_WEIGHTS: dict[str, float] = {
    "background": 0.0,
    "face": 0.5,
    "hair": 0.25,
    **dict.fromkeys(
        ("left_brow", "right_brow", "left_eye", "right_eye", "nose", "upper_lip", "teeth", "lower_lip"), 1.0
    ),
}
"""How much a pixel of each class counts in the content term."""


class IdentityLoss(nn.Module):
    """L_idt = 1 - cos(e, e'): is it the same person?"""

    def forward(self, photo: Tensor, drawn: Tensor) -> Tensor:
        """Embeddings [B, D] of photo and drawing -> mean over the batch."""
        return (1 - functional.cosine_similarity(photo, drawn, dim=1)).mean()


class ContentLoss(nn.Module):
    """L_ctt = ||w (f - f')||_1, w from the class probabilities of the photo: are the outlines the same?"""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.tensor([CLASS_WEIGHTS[name] for name in CLASSES])
        self.register_buffer("weights", weights.view(1, -1, 1, 1), persistent=False)
        self.weights: Tensor

    def forward(self, photo: Tensor, drawn: Tensor, probabilities: Tensor) -> Tensor:
        """Features [B, C, h, w] of both, the photo's class probabilities [B, K, h, w] -> weighted mean; 0 for an empty
        batch.
        """
        if len(photo) == 0:
            return drawn.sum()
        pixel = (probabilities * self.weights).sum(1, keepdim=True)
        return (pixel * (photo - drawn).abs()).sum() / (pixel.sum() * photo.shape[1]).clamp(min=1e-6)


class LoopLoss(nn.Module):
    """L_rec = ||x - x'||_1: does the encoder read its own drawing back? (mean over the vector)"""

    def forward(self, x: Tensor, again: Tensor) -> Tensor:
        """Parameters [B, width] of the photo and of the drawing."""
        return (x - again).abs().mean()


class DecayLoss(nn.Module):
    """L_decay = ||x - m||_1: stay near the average face m. Sliders only: a choice has no distance from the average."""

    def forward(self, sliders: Tensor, neutral: Tensor) -> Tensor:
        """Sliders [B, S] and the average face's [S]."""
        return (sliders - neutral).abs().mean()


class SupervisedLoss(nn.Module):
    """L_sup = ||E(F(render)) - x|| for sliders, plus cross entropy, mean over the groups."""

    def __init__(
        self, n_sliders: int, group_sizes: Sequence[int], norm: str = "l2", group_weight: float = 0.05
    ) -> None:
        super().__init__()
        if norm not in ("l1", "l2"):
            raise ValueError(f"norm is 'l1' or 'l2', not {norm!r}")
        self.n_sliders, self.group_sizes, self.norm, self.group_weight = (
            n_sliders,
            tuple(group_sizes),
            norm,
            group_weight,
        )

    def forward(self, logits: Tensor, x: Tensor) -> Tensor:
        """Encoder's logits [B, width] and the true parameters [B, width]."""
        sliders, *groups = split(logits, self.n_sliders, self.group_sizes)
        true_sliders, *true_groups = split(x, self.n_sliders, self.group_sizes)
        distance = functional.l1_loss if self.norm == "l1" else functional.mse_loss
        loss = distance(torch.sigmoid(sliders), true_sliders)
        if groups:
            entropies = [functional.cross_entropy(g, t) for g, t in zip(groups, true_groups, strict=True)]
            loss = loss + self.group_weight * torch.stack(entropies).mean()
        return loss


class Frozen(nn.Module):
    """Holds trained models that a gradient passes through and never changes: no parameter gradients, always in eval
    mode.
    """

    def __init__(self, **models: nn.Module) -> None:
        super().__init__()
        for name, model in models.items():
            self.add_module(name, model.requires_grad_(False).eval())

    def train(self, mode: bool = True) -> Frozen:
        """Stays in eval mode whatever is asked: batch statistics would make the imitator draw other faces."""
        return super().train(False)


class CompositeLoss(Frozen):
    """L = sum of weight * term over the terms above, through frozen imitator, identity model and parser.

    `neutral`: the average face's parameters [width]. `content_size`: pixels at which photo and drawing are parsed.
    """

    imitator: Imitator
    identity: IdentityModel
    parser: FaceParser
    neutral: Tensor

    def __init__(
        self,
        imitator: Imitator,
        identity: IdentityModel,
        parser: FaceParser,
        neutral: Tensor,
        weights: Weights,
        content_size: int = 256,
        supervised: SupervisedLoss | None = None,
    ) -> None:
        super().__init__(imitator=imitator, identity=identity, parser=parser)
        self.register_buffer("neutral", neutral.float())
        self.weights, self.content_size = weights, content_size
        self.identity_loss, self.content_loss = IdentityLoss(), ContentLoss()
        self.loop_loss, self.decay_loss, self.supervised_loss = LoopLoss(), DecayLoss(), supervised

    def forward(
        self,
        encoder: Encoder,
        photos: Tensor | None = None,
        embeddings: Tensor | None = None,
        frontal: Tensor | None = None,
        known_embeddings: Tensor | None = None,
        known_x: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum and each term's raw value (detached).

        `photos` [B, 3, H, H] with their `embeddings` [B, D] give the patent's four terms; `frontal` [B] bool: photos
        that get the content term (default: all). `known_embeddings` [N, D] with `known_x` [N, width] give the
        supervised term. Either part may be missing.
        """
        terms: dict[str, Tensor] = {}
        if photos is not None and embeddings is not None:
            terms |= self._photo_terms(encoder, photos, embeddings, frontal)
        if known_embeddings is not None and known_x is not None and self.supervised_loss is not None:
            terms["supervised"] = self.supervised_loss(encoder.logits(known_embeddings), known_x)
        if not terms:
            raise ValueError("a composite loss needs photos or known parameters")
        total = torch.stack([getattr(self.weights, name) * value for name, value in terms.items()]).sum()
        return total, {name: value.detach() for name, value in terms.items()}

    def _photo_terms(
        self, encoder: Encoder, photos: Tensor, embeddings: Tensor, frontal: Tensor | None
    ) -> dict[str, Tensor]:
        x = encoder(embeddings)
        terms = {"decay": self.decay_loss(x[:, : encoder.n_sliders], self.neutral[: encoder.n_sliders])}
        weights = self.weights
        if not (weights.identity or weights.content or weights.loop):
            return terms
        drawn = self.imitator(x).contiguous()  # its channels-last layout would make the parser several times slower
        if weights.identity or weights.loop:
            drawn_embeddings = self.identity(drawn)
            terms["identity"] = self.identity_loss(embeddings, drawn_embeddings)
            terms["loop"] = self.loop_loss(x, encoder(drawn_embeddings))
        if weights.content:
            mask = torch.ones(len(x), dtype=torch.bool, device=x.device) if frontal is None else frontal
            if mask.any():  # a batch of side views alone has no content term at all
                terms["content"] = self._content(photos[mask], drawn[mask])
        return terms

    def _content(self, photos: Tensor, drawn: Tensor) -> Tensor:
        with torch.no_grad():
            photo_features = self.parser.features(self._sized(photos))
            probabilities = torch.softmax(self.parser.classifier(photo_features), 1)
        return self.content_loss(photo_features, self.parser.features(self._sized(drawn)), probabilities)

    def _sized(self, faces: Tensor) -> Tensor:
        size = self.content_size
        if faces.shape[-1] == size:
            return faces
        smaller = size < faces.shape[-1]
        return functional.interpolate(faces, (size, size), mode="bilinear", align_corners=False, antialias=smaller)
