"""What anybody sees of a face at a glance: sex, age, colours, hair and beard, each read by what knows it.

An identity embedding was trained to forget all this. Convolution maps on the way to it still know: early ones colours,
later ones textures and outlines. A parser that was trained on drawn portraits finds hair and skin on photos of people
as well, so that their colours and the hair's outline can be measured; networks that learned from photos of people say
sex and age: the recogniser's own head, where it has one. Legend: B batch, H side of a face in the reference frame, K
classes of the parser, h x w its grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, combinations_with_replacement

import torch
from torch import Tensor
from torch.nn import functional

from .attributes import Attributes
from .face_parts import CLASSES
from .faceres import SexAndAgeHead
from .features import MapDirections
from .frozen import Frozen
from .parsing import FaceParser

PARSED = 256
"""Pixels at which a face is parsed."""
SURE = 4.0
"""A place counts by this power of its probability, so that the middle of the hair counts and its edge does not."""
MEASURED = 18
"""Numbers that are measured of the colours; `_colours` lists them."""
SPREAD = 0.05
"""The least spread by which a number is divided: cells where hardly anybody has hair say little."""
CELLS = 8
"""A side of the grid on which the hair's outline is read."""
PRODUCTS = (0, 1, 2, 6, 7, 8, 12, 13, 14)
"""Those whose products are read too: is it blond or grey depends on lightness and chroma together."""
N_COLOURS = MEASURED + len(PRODUCTS) * (len(PRODUCTS) + 1) // 2


class Appearance(Frozen):
    """Maps of a recogniser and faces -> readings [B, A]: for each level of the maps its directions, then the colours,
    the hair's outline, and log-odds of male and age in years. Trained by others, so that it stays as it is;
    differentiable.

    `shapes`: of the levels; `channels`, `n`: of `MapDirections`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        parser: FaceParser,
        attributes: Attributes | SexAndAgeHead,
        shapes: Sequence[Sequence[int]],
        channels: int,
        n: int,
    ) -> None:
        levels = torch.nn.ModuleList(MapDirections(shape, channels, n) for shape in shapes)
        super().__init__(parser=parser, attributes=attributes, levels=levels)
        self.parser: FaceParser
        self.attributes: Attributes | SexAndAgeHead
        self.levels: torch.nn.ModuleList
        self.n = n
        self.register_buffer("mean", torch.zeros(MEASURED + CELLS**2))
        self.register_buffer("std", torch.ones(MEASURED + CELLS**2))

    @property
    def parts(self) -> dict[str, slice]:
        """Where each family of readings lies in [0, A)."""
        levels = ["low", "middle", "high"][-len(self.levels) :]
        sizes = dict.fromkeys(levels, self.n) | {"colours": N_COLOURS, "outline": CELLS**2, "attributes": 2}
        ends = accumulate(sizes.values())
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @property
    def width(self) -> int:
        """Number of readings A."""
        return self.parts["attributes"].stop

    def forward(self, levels: Sequence[Tensor], faces: Tensor) -> Tensor:
        """`levels`: maps of `Backbone.levels`; faces [B, 3, H, H], RGB in [0, 1]."""
        read = [directions(maps) for directions, maps in zip(self.levels, levels, strict=True)]
        shown = levels[-1] if isinstance(self.attributes, SexAndAgeHead) else faces
        return torch.cat([*read, self._standardised(self.measured(faces)), self.attributes(shown)], 1)

    def measured(self, faces: Tensor) -> Tensor:
        """Faces -> [B, 18 + 64]: colours (`_colours`), then how much of each cell of a grid is hair, row by row."""
        sized = faces
        if faces.shape[-1] != PARSED:
            sized = functional.interpolate(
                faces, (PARSED, PARSED), mode="bilinear", align_corners=False, antialias=True
            )
        sized = sized.contiguous(memory_format=torch.channels_last)
        probabilities = torch.softmax(self.parser(sized), 1)
        hair, skin = (probabilities[:, CLASSES.index(name)] for name in ("hair", "face"))
        outline = functional.adaptive_avg_pool2d(hair, CELLS).flatten(1)
        lab = to_lab(functional.adaptive_avg_pool2d(sized, probabilities.shape[-1]))
        return torch.cat([_colours(lab, hair**SURE, skin**SURE), outline], 1)

    def _standardised(self, measured: Tensor) -> Tensor:
        """[B, 18 + 64] -> [B, N_COLOURS + 64]: in units of their own spread, with products of two colours."""
        standard = ((measured - self.mean) / self.std).clamp(-4.0, 4.0)
        some = standard[:, PRODUCTS]
        rows, columns = map(list, zip(*combinations_with_replacement(range(len(PRODUCTS)), 2), strict=True))
        products = some[:, rows] * some[:, columns] / 2
        return torch.cat([standard[:, :MEASURED], products, standard[:, MEASURED:]], 1)

    @torch.no_grad()
    def fit_channels(self, levels: Sequence[Tensor]) -> None:
        """From the maps [N, C, h, w], in half precision or more, of some faces; the first of two fits."""
        for directions, maps in zip(self.levels, levels, strict=True):
            directions.fit_channels(maps)  # pyright: ignore[reportCallIssue]

    def squeeze(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps [B, C, h, w] of each level -> their principal channels, flat [B, h * w * c]."""
        return [directions.squeeze(maps) for directions, maps in zip(self.levels, levels, strict=True)]  # pyright: ignore[reportCallIssue]

    @torch.no_grad()
    def fit(self, squeezed: Sequence[Tensor], measured: Tensor) -> None:
        """From what `squeeze` gave of some faces, and what is `measured` [N, 18 + 64] of them; the second."""
        for directions, places in zip(self.levels, squeezed, strict=True):
            directions.fit(places)  # pyright: ignore[reportCallIssue]
        self.mean.copy_(measured.mean(0))
        self.std.copy_(measured.std(0).clamp(min=SPREAD))


def _colours(lab: Tensor, of_hair: Tensor, of_skin: Tensor) -> Tensor:
    """Colours [B, 3, h, w] and weights [B, h, w] -> [B, 18]: mean and spread of the hair's CIELAB colour (3 + 3), the
    same of the skin, their difference (3), the quotient of their lightness, and the logarithms of their areas.
    """
    hair, skin = _statistics(lab, of_hair), _statistics(lab, of_skin)
    quotient = hair[0][:, :1] / skin[0][:, :1].clamp(min=5.0)
    return torch.cat([*hair[:2], *skin[:2], hair[0] - skin[0], quotient, hair[2], skin[2]], 1)


def _statistics(lab: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and spread [B, 3] of colours [B, 3, h, w] by weights [B, h, w], and the weights' sum, logarithmic [B, 1]."""
    total = weight.sum((1, 2))[:, None] + 1e-3
    mean = (weight[:, None] * lab).sum((2, 3)) / total
    variance = (weight[:, None] * (lab - mean[:, :, None, None]) ** 2).sum((2, 3)) / total
    return mean, (variance + 1e-6).sqrt(), total.log()


def to_lab(rgb: Tensor) -> Tensor:
    """sRGB [B, 3, h, w] in [0, 1] -> CIELAB of the white point D65; differentiable."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
    matrix = rgb.new_tensor(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    )
    white = rgb.new_tensor([0.950456, 1.0, 1.088754])
    xyz = torch.einsum("ij,bjhw->bihw", matrix / white[:, None], linear)
    f = torch.where(xyz > 0.008856, xyz.clamp(min=0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
