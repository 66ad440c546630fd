"""Which choice of each group a face shows: one linear reading a group, of what knows it, and the odds of sex and age.

A network that is trained on drawn portraits until it reads them best reads photos of people worse: it learns how hair
is drawn. A regularised linear reading of features that were not made for portraits carries over. Legend: B batch,
A readings, G groups, n choices of a group, N all choices together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

YOUNGEST, OLDEST = 25.0, 90.0
"""Years at 0 and at 1 of a slider `age`."""
CELLS = (42.0, 60.0)
"""Ages that part the young, the middle-aged and the old; women and men each have their three cells."""
AGE_ERROR = 6.0
"""Years by which the network that says the age is wrong, one standard deviation."""
PULL = 2.0
"""So many people of the whole crowd are added to each cell, so that a cell that few fell into says little."""
FIRM = 0.02
"""Temperature among the choices of a family, once the family is decided."""
STEP = 0.35
"""Width of an answer on a scale, in steps."""


class ChoiceReader(nn.Module):
    """Readings [B, A], log-odds of male [B] and age in years [B] -> each group's logits [B, n].

    `families`: for each choice of each group a number that it shares with those which are much like it. `scales`:
    whether a group's choices are steps of a scale. Buffers only: it is fitted, not trained.
    """

    weight: Tensor
    bias: Tensor
    odds: Tensor

    def __init__(
        self, width: int, group_sizes: Sequence[int], families: Sequence[Sequence[int]], scales: Sequence[bool]
    ) -> None:
        super().__init__()
        self.group_sizes, self.families, self.scales = tuple(group_sizes), tuple(map(tuple, families)), tuple(scales)
        self.register_buffer("weight", torch.zeros(sum(group_sizes), width))
        self.register_buffer("bias", torch.zeros(sum(group_sizes)))
        self.register_buffer("odds", torch.zeros(2 * (len(CELLS) + 1), sum(group_sizes)))

    def forward(self, readings: Tensor, male: Tensor, age: Tensor) -> list[Tensor]:
        """See the class."""
        logits = functional.linear(readings, self.weight, self.bias)
        found = []
        odds = cells(male, age) @ self.odds.exp()
        groups = zip(
            *(torch.split(x, list(self.group_sizes), 1) for x in (logits, odds)),
            self.families,
            self.scales,
            strict=True,
        )
        for read, likely, family, scale in groups:
            # Bayes' rule: how much likelier a choice is among people of this sex and age than among all.
            answer = torch.log_softmax(read, 1) + likely.log()
            found.append(_on_scale(answer) if scale else _family_first(answer, family))
        return found

    def fit(
        self,
        readings: NDArray,
        chosen: NDArray,
        columns: Sequence[NDArray],
        decays: Sequence[float],
        sex: NDArray,
        age: NDArray,
    ) -> None:
        """From people whose choices are known: readings [P, A], chosen [P, G], sex [P] in [0, 1] and age [P] in years.
        Fitted in double precision.

        `columns`: the readings that each group is read from. `decays`: of each group's weights, beside the mean cross
        entropy.
        """
        from sklearn.linear_model import LogisticRegression

        begin = 0
        crowd = _cells_of(sex, age)
        for group, size in enumerate(self.group_sizes):
            column, at = chosen[:, group], columns[group]
            rows = slice(begin, begin + size)
            shares = (np.bincount(column, minlength=size) + 1) / (len(column) + size)
            self.bias[rows] = torch.from_numpy(np.log(shares)).float()
            if len(np.unique(column)) > 1:
                model = LogisticRegression(C=1 / (2 * decays[group] * len(column)), max_iter=300)
                model.fit(readings[:, at].astype(np.float64), column)
                weight, bias = np.asarray(model.coef_), np.asarray(model.intercept_)
                if len(weight) == 1:  # of two classes, sklearn reads the second one alone
                    weight, bias = (np.concatenate([0 * value, value]) for value in (weight, bias))
                seen = begin + model.classes_
                self.weight[np.ix_(seen, at)] = torch.from_numpy(weight).float()
                self.bias[rows] = float(bias.min()) - 5.0  # of what nobody in the crowd has
                self.bias[seen] = torch.from_numpy(bias).float()
            counts = np.stack([np.bincount(column, weights=weight, minlength=size) for weight in crowd.T])
            known = (counts + PULL * shares) / (counts.sum(1, keepdims=True) + PULL)
            self.odds[:, rows] = torch.from_numpy(np.log(known / shares)).float()
            begin += size

    def add_odds(self, group: int, choice: int, odds: float) -> None:
        """Make a choice of a group likelier by these log-odds, beside all others of the group."""
        self.bias[sum(self.group_sizes[:group]) + choice] += odds


def cells(male: Tensor, age: Tensor) -> Tensor:
    """Log-odds of male [B] and age in years [B] -> probability of each cell [B, 6]: women young to old, then men."""
    below = [torch.special.ndtr((edge - age) / AGE_ERROR) for edge in CELLS]
    ages = torch.stack([below[0], below[1] - below[0], 1 - below[1]], 1)
    of_men = torch.sigmoid(male)[:, None]
    return torch.cat([(1 - of_men) * ages, of_men * ages], 1)


def _cells_of(sex: NDArray, age: NDArray) -> NDArray:
    """Which cell each person is in [P, 6]; people between the sexes count in neither."""
    ages = np.digitize(age, CELLS)[:, None] == np.arange(len(CELLS) + 1)
    return np.concatenate([ages & (sex < 0.35)[:, None], ages & (sex > 0.65)[:, None]], 1).astype(np.float64)


def _family_first(answer: Tensor, families: Sequence[int]) -> Tensor:
    """Let the likeliest choice of a family have what all of it have together: whether there is a beard is asked before
    which one, and whether hair is long before how it falls.
    """
    number = torch.tensor(families, device=answer.device)
    outside = (number[:, None] != number)[None]

    def together(logits: Tensor) -> Tensor:
        return logits[:, None].masked_fill(outside, -torch.inf).logsumexp(2)

    firm = answer / FIRM
    return together(torch.log_softmax(answer, 1)) + firm - together(firm)


def _on_scale(answer: Tensor) -> Tensor:
    """The step nearest to the mean: of neighbouring steps that are all likely, the middle one is least wrong."""
    steps = torch.arange(answer.shape[1], device=answer.device, dtype=answer.dtype)
    mean = torch.softmax(answer, 1) @ steps
    return -0.5 * ((steps - mean[:, None]) / STEP) ** 2
