"""Batches in order, made ahead in the background, and the time that a training waits for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

Batch = Mapping[str, Tensor]


class Prefetcher:
    """Gives `batch_at(k)` for the numbers k of a range; the next `ahead` of them are made by a background thread.

    One thread is enough: decoding and tensor operations release the interpreter's lock, and each uses more cores by
    itself. An error in `batch_at` is raised when its batch is asked for, not before. Use it in a `with` block, so that
    the thread ends.

    With `ahead` > 0 the content of a batch must be a function of k: torch's global random numbers belong to the
    training, and a second thread would draw from them at no fixed time. Raises ValueError when the first batch does.
    """

    def __init__(self, batch_at: Callable[[int], Batch], numbers: range, ahead: int, pin: bool = False) -> None:
        self._batch_at, self._ahead, self._pin = batch_at, ahead, pin
        self._numbers = iter(numbers)
        self._waiting: deque[Future[Batch]] = deque()
        self._pool = ThreadPoolExecutor(1, "batches") if ahead else None
        self._begun = False

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self) -> Batch:
        """The next batch, on the CPU. Raises StopIteration after the last, or what `batch_at` raised."""
        batch = self._waiting.popleft().result() if self._waiting else self._make_here()
        while self._pool and len(self._waiting) < self._ahead and (k := next(self._numbers, None)) is not None:
            self._waiting.append(self._pool.submit(self._make, k))
        return batch

    def _make(self, k: int) -> Batch:
        batch = self._batch_at(k)
        # Only from page-locked memory does a copy to the GPU run beside its computing.
        return {key: value.pin_memory() for key, value in batch.items()} if self._pin else batch

    def _make_here(self) -> Batch:
        before = torch.get_rng_state()
        batch = self._make(next(self._numbers))
        if self._pool and not torch.equal(before, torch.get_rng_state()):
            raise ValueError(
                "batch_at drew from torch's global random numbers, so its batches cannot be made ahead: "
                "use generator_for(k, seed), or set prefetch to 0"
            )
        return batch


@dataclass
class Pace:
    """How fast a stretch of steps went; evaluations and checkpoints are not counted."""

    steps: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    """Seconds of these in which the device had no batch: until it was made and copied to the device."""

    def add(self, seconds: float, waiting: float) -> None:
        """Count one step."""
        self.steps, self.seconds, self.waiting = self.steps + 1, self.seconds + seconds, self.waiting + waiting

    def values(self, samples: int) -> dict[str, float]:
        """Steps and samples a second, and the share of the time spent on waiting; `samples`: rows of one step, all
        devices together.
        """
        steps_per_second = self.steps / max(self.seconds, 1e-9)
        return {
            "samples_per_second": steps_per_second * samples,
            "steps_per_second": steps_per_second,
            "data_share": self.waiting / max(self.seconds, 1e-9),
        }
