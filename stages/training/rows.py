"""Which rows make a batch, and which random numbers augment them: functions of the batch's number and the seed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray


def rows_for(step: int, batch: int, n: int, seed: int) -> NDArray:
    """Row numbers of one batch: endless shuffled passes over n rows, each pass a permutation of its own; batches cross
    its end.
    """
    if n < 1:
        raise ValueError("there are no rows to train on")
    places = np.arange(step * batch, (step + 1) * batch)
    return np.array([_order(seed, place // n, n)[place % n] for place in places.tolist()])


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, n: int) -> NDArray:
    """One pass over n rows. Kept, because the batches of a pass ask for it one after the other."""
    return np.random.default_rng([seed, epoch]).permutation(n)


def generator_for(step: int, seed: int) -> torch.Generator:
    """Random numbers of one step, such as its augmentation."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 77, step]).generate_state(1)[0]))
