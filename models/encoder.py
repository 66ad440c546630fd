"""Encoder: what a recogniser sees of a face to character parameters.

FC 512, three residual attention blocks (FC 512-1024-512 with a squeeze-excite gate 16 wide), one head for the sliders
and one softmax head for each discrete group: 3.47 M parameters (Shi et al., TPAMI 2022). Beyond the papers: features of
the recogniser's last convolution map beside the embedding (`features.py`), and a linear path beside the blocks that can
start from the least-squares solution. Legend: B batch, F features, S sliders, G groups; width = S + all choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .appearance import Appearance
from .attributes import Attributes
from .choices import OLDEST, YOUNGEST, ChoiceReader
from .faceres import SexAndAgeHead
from .features import FaceFeatures, read_maps
from .identity import IdentityModel
from .parsing import FaceParser
from .prior import FacialPrior
from .weights import load_weights, read_meta


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build an encoder again; the defaults are the published ones."""

    n_sliders: int
    group_sizes: Sequence[int]
    dim: int = 128
    """Length of the identity embedding."""
    map_shape: Sequence[int] = (0, 0, 0)
    """(channels, height, width) of the recogniser's last convolution map."""
    map_channels: int = 64
    """Principal channels of the map that are kept."""
    map_features: int = 0
    """Numbers that the map is reduced to; 0: the embedding alone is read, as published."""
    hidden: int = 512
    blocks: int = 3
    gate: int = 16
    attention: bool = True
    """Whether the blocks have their squeeze-excite gate; without it they are a plain residual MLP."""
    dropout: float = 0.0
    linear: bool = False
    """A linear path beside the blocks."""
    mirror: bool = False
    """Read a face as the mean of itself and its mirror image: what light, pose and expression do to one side only
    falls out, and with it what little is seen of the face's own asymmetry.
    """
    prior: int = 0
    """Coefficients of the facial prior that the slider head gives; 0: it gives the sliders themselves, by a sigmoid."""

    parser: Mapping[str, Any] | None = None
    """Arguments of the `FaceParser` that measures colours; None: choices are read by the blocks, as published, and not
    by what knows each of them (`appearance.py`, `choices.py`).
    """
    sex_and_age_of_maps: bool = False
    """The recogniser says sex and age (`FaceRes`), and no other networks do."""
    level_shapes: Sequence[Sequence[int]] = ()
    """Of the recogniser's maps that choices are read from."""
    level_features: Sequence[int] = (192, 150)
    """Principal channels that are kept of each level, and numbers that it is reduced to."""
    choice_families: Sequence[Sequence[int]] = ()
    scales: Sequence[bool] = ()
    """Of the groups; see `ChoiceReader`."""
    sex: int | None = None
    """Number of the slider that is 0 for women and 1 for men, where there is one: it says what is seen."""
    age: int | None = None
    """The same of the slider that is 0 at 25 and 1 at 90 years."""

    def document(self) -> dict[str, Any]:
        """For meta.json; `Architecture(**document)` gives it back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


class _Block(nn.Module):
    """relu(x + gate(h) * h), with h = FC(ReLU(FC(x)))."""

    def __init__(self, width: int, hidden: int, gate: int, attention: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        if attention:
            self.squeeze, self.excite = nn.Linear(width, gate), nn.Linear(gate, width)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(torch.relu(self.up(x)))
        if self.attention:
            h = torch.sigmoid(self.excite(torch.relu(self.squeeze(h)))) * h
        return torch.relu(x + h)


class Encoder(nn.Module):
    """Features [B, F] -> parameters x [B, width]: sliders in [0, 1], then a softmax for each group.

    `neutral`: parameters of the average face [width]; an untrained encoder without a prior starts there, one with a
    prior at the samples' mean.
    """

    def __init__(self, architecture: Architecture, neutral: Tensor | None = None) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.n_sliders, self.group_sizes = a.n_sliders, tuple(a.group_sizes)
        self.features = FaceFeatures(a.dim, a.map_shape, a.map_channels, a.map_features)
        self.prior = FacialPrior(a.n_sliders, a.prior) if a.prior else None
        n_head = a.prior or a.n_sliders
        self.appearance, self.choices = None, None
        if a.parser is not None:
            shapes = a.level_shapes
            attributes = SexAndAgeHead() if a.sex_and_age_of_maps else Attributes()
            self.appearance = Appearance(FaceParser(**a.parser), attributes, shapes, *a.level_features)
            width = self.features.width + self.appearance.width
            self.choices = ChoiceReader(width, self.group_sizes, a.choice_families, a.scales)
        self.enter = nn.Linear(self.features.width, a.hidden)
        self.blocks = nn.Sequential(*(_Block(a.hidden, 2 * a.hidden, a.gate, a.attention) for _ in range(a.blocks)))
        self.dropout = nn.Dropout(a.dropout)
        self.sliders = nn.Linear(a.hidden, n_head)
        by_blocks = () if self.choices else self.group_sizes
        self.groups = nn.ModuleList(nn.Linear(a.hidden, size) for size in by_blocks)
        self.linear = nn.Linear(self.features.width, n_head + sum(by_blocks)) if a.linear else None
        self._start(neutral)

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        """The trained encoder of a folder (`models.weights`), in eval mode."""
        return load_weights(folder, cls(Architecture(**read_meta(folder)["architecture"])))

    @property
    def width(self) -> int:
        """Length of a parameter vector."""
        return self.n_sliders + sum(self.group_sizes)

    def heads(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features [B, F] -> sliders [B, S] in [0, 1] and each group's logits [B, choices]."""
        of_identity = features[:, : self.features.width]
        h = self.dropout(self.blocks(torch.relu(self.enter(of_identity))))
        head, *groups = self.sliders(h), *(group(h) for group in self.groups)
        if self.linear is not None:
            straight = torch.split(self.linear(of_identity), [part.shape[1] for part in (head, *groups)], dim=1)
            head, *groups = (part + line for part, line in zip((head, *groups), straight, strict=True))
        sliders = torch.sigmoid(head) if self.prior is None else self.prior.to_sliders(head)
        if self.choices is None:
            return sliders, list(groups)
        male, age = self.attributes(features).unbind(1)
        return self._with_sex_and_age(sliders, male, age), self.choices(features, male, age)

    @property
    def families(self) -> dict[str, range]:
        """Where in the features [B, F] each family lies that choices can be read from."""
        begin, parts = self.features.width, self.appearance.parts if self.appearance else {}
        found = {"identity": range(self.features.dim)}
        return found | {name: range(begin + part.start, begin + part.stop) for name, part in parts.items()}

    def attributes(self, features: Tensor) -> Tensor:
        """Features [B, F] -> log-odds of male and age in years [B, 2], of an encoder with an appearance."""
        assert self.appearance is not None
        return features[:, self.features.width :][:, self.appearance.parts["attributes"]]

    def _with_sex_and_age(self, sliders: Tensor, male: Tensor, age: Tensor) -> Tensor:
        seen = {
            self.architecture.sex: torch.sigmoid(male),
            self.architecture.age: (age - YOUNGEST) / (OLDEST - YOUNGEST),
        }
        columns = list(sliders.unbind(1))
        for number, value in seen.items():
            if number is not None:
                columns[number] = value.clamp(0, 1)
        return torch.stack(columns, 1)

    def forward(self, features: Tensor, temperature: float = 1.0) -> Tensor:
        """Features [B, F] -> parameters [B, width]. A temperature below 1 makes the choices firmer."""
        sliders, groups = self.heads(features)
        return torch.cat([sliders, *(torch.softmax(group / temperature, 1) for group in groups)], 1)

    def look(self, identity: IdentityModel, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Faces [B, 3, H, H] in the reference frame, RGB in [0, 1] -> embeddings [B, D] and features [B, F], mirrored
        if the architecture says so. Features of several photos of one person may be averaged.
        """
        if not self.architecture.mirror:
            return self.of(identity, faces)
        # in one go, because the embedding layer's weights are most of what is read from memory
        embeddings, levels = read_maps(identity, torch.cat([faces, faces.flip(-1)]))
        seen, mirrored = self.features(embeddings, levels[-1]).chunk(2)
        levels = [torch.stack(level.chunk(2)).mean(0) for level in levels]
        return embeddings[: len(faces)], self._joined((seen + mirrored) / 2, levels, faces)

    def of(self, identity: IdentityModel, faces: Tensor) -> tuple[Tensor, Tensor]:
        """As `look`, never mirrored; differentiable."""
        embeddings, levels = read_maps(identity, faces)
        return embeddings, self._joined(self.features(embeddings, levels[-1]), levels, faces)

    def _joined(self, features: Tensor, levels: Sequence[Tensor], faces: Tensor) -> Tensor:
        return features if self.appearance is None else torch.cat([features, self.appearance(levels, faces)], 1)

    def read(self, identity: IdentityModel, faces: Tensor) -> Tensor:
        """Faces [B, 3, H, H] in the reference frame, RGB in [0, 1] -> parameters [B, width]."""
        return self(self.look(identity, faces)[1])

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Let the linear path give weight [K, F] @ features + bias [K] as the slider head's answer, and the blocks add
        nothing to it yet. Raises ValueError without a linear path.
        """
        if self.linear is None:
            raise ValueError("a linear start needs an encoder with a linear path")
        n = self.sliders.out_features
        self.linear.weight[:n].copy_(weight)
        self.linear.bias[:n].copy_(bias)
        self.sliders.weight.zero_()
        self.sliders.bias.zero_()

    @torch.no_grad()
    def _start(self, neutral: Tensor | None) -> None:
        if self.linear is not None:
            self.linear.weight.zero_()
            self.linear.bias.zero_()
        if neutral is None:
            return
        sliders, *groups = split(neutral[None].float(), self.n_sliders, self.group_sizes)
        self.sliders.weight.mul_(0.1)
        self.sliders.bias.copy_(torch.logit(sliders[0].clamp(0.02, 0.98)) if self.prior is None else torch.zeros(1))
        for layer, probabilities in zip(self.groups, groups, strict=self.choices is None):
            assert isinstance(layer, nn.Linear)
            layer.weight.mul_(0.1)
            layer.bias.copy_(torch.log(probabilities[0].clamp(min=0.1)))


def split(x: Tensor, n_sliders: int, group_sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """[B, width] -> sliders [B, S], then one [B, choices] for each group."""
    return torch.split(x, [n_sliders, *group_sizes], dim=1)


def harden(x: Tensor, n_sliders: int, group_sizes: Sequence[int]) -> Tensor:
    """x with each group's probabilities replaced by the one-hot of the likeliest choice, as an engine needs it."""
    sliders, *groups = split(x, n_sliders, group_sizes)
    hard = [nn.functional.one_hot(group.argmax(1), group.shape[1]).to(x) for group in groups]
    return torch.cat([sliders, *hard], 1)


def choices(x: Tensor, n_sliders: int, group_sizes: Sequence[int]) -> Tensor:
    """Index of each group's likeliest choice, [B, G] int64."""
    groups = split(x, n_sliders, group_sizes)[1:]
    if not groups:
        return torch.zeros(len(x), 0, dtype=torch.long, device=x.device)
    return torch.stack([group.argmax(1) for group in groups], 1)
