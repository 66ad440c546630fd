"""What sections of the scorecard hand on besides their scores: pictures for the page, and main scores as sums over
people, from which any group's score follows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.data.pictures import write_picture
from stages.evaluation.metrics import sums_by

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Tile:
    """Pictures that are seen side by side [H, W, 3], and what is said under them."""

    pictures: tuple[Picture, ...]
    caption: str


@dataclass(frozen=True)
class Exhibit:
    """One group of tiles on the page."""

    key: str
    title: str
    note: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Statistic:
    """A main score of held-out people as a function of sums over people."""

    name: str
    people: NDArray  # [P] names, sorted
    totals: NDArray[np.float64]  # [P, ...]
    value: Callable[[NDArray], NDArray]  # sums [K, ...] → [K]


def mean_of_sums(totals: NDArray) -> NDArray:
    """Sums and counts [K, 2] to means [K]; NaN where nothing was counted."""
    return np.divide(totals[..., 0], totals[..., 1], out=np.full(totals.shape[:-1], np.nan), where=totals[..., 1] > 0)


@dataclass
class Report:
    """Where a scorecard is written, and what its page and its groups are made from."""

    out: Path
    character: str = ""
    statistics: list[Statistic] = field(default_factory=list)
    photo_statistics: list[Statistic] = field(default_factory=list)
    """The same of real photos."""
    exhibits: list[Exhibit] = field(default_factory=list)

    def picture(self, name: str, image: Picture) -> None:
        """Write a picture [H, W, 3] beside the scorecard's other files."""
        write_picture(self.out / f"{name}.png", image)

    def show(self, key: str, title: str, note: str, tiles: Sequence[Tile]) -> None:
        """Put tiles on the page."""
        self.exhibits.append(Exhibit(key, title, note, tuple(tiles)))

    def by_mean(self, name: str, values: NDArray, people: ArrayLike, photos: bool = False) -> None:
        """A main score that is the mean of values [N] of portraits, or real photos, of these people [N]."""
        columns = np.stack([values.astype(np.float64), np.ones(len(values))], axis=1)
        self.by_sums(name, columns, people, mean_of_sums, photos)

    def by_sums(
        self, name: str, values: NDArray, people: ArrayLike, value: Callable[[NDArray], NDArray], photos: bool = False
    ) -> None:
        """A main score that is a function of sums of values [N, ...]."""
        found = Statistic(name, np.unique(np.asarray(people)), sums_by(people, values), value)
        (self.photo_statistics if photos else self.statistics).append(found)
