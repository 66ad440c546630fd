"""A version beside the one in production: in its shadow, where it reads the same photos and answers nobody, or as a
canary, which answers some of the players.

Both have workers of their own. Whatever happens to these, production answers as it did without them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Collection

from serving.child_process import ChildDied
from serving.comparisons import Comparison, ComparisonLog, Outcome, Served
from serving.metrics import CanaryMetrics, ShadowMetrics
from serving.releases import Release
from serving.workers.model_manager import ModelManager, NoModel, ServedPrediction
from serving.workers.process import READ, PredictRequest
from serving.workers.queue import QueueFull

log = logging.getLogger("likeness.serving")


class Shadow:
    """A context manager: has the candidate read what production has answered, and keeps how the two differ.

    `seconds`: how long a photo may take after its answer.
    """

    def __init__(
        self, models: ModelManager, comparisons: ComparisonLog, seconds: float, metrics: ShadowMetrics
    ) -> None:
        self.models, self.comparisons, self.seconds, self.metrics = models, comparisons, seconds, metrics
        self._comparing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Shadow:
        await self.models.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._comparing:
            task.cancel()
        await asyncio.gather(*self._comparing, return_exceptions=True)
        if self.models.pool is not None:
            await self.models.pool.stop()  # nobody waits for what it reads, and it may take its time
        await self.models.__aexit__()

    def offer(self, request: PredictRequest, answered: ServedPrediction) -> None:
        """A photo that production read, and what it answered; back at once.

        Answers that were searched for are passed over: they say little of what the encoder reads.
        """
        pool = self.models.pool
        if request.refine or pool is None or pool.release == answered.release:
            return
        task = asyncio.create_task(self._compare(PredictRequest(request.photo, beside=answered.result.named), answered))
        self._comparing.add(task)
        task.add_done_callback(self._comparing.discard)

    async def _compare(self, request: PredictRequest, answered: ServedPrediction) -> None:
        assert self.models.pool is not None
        release, outcome, found = self.models.pool.release, "failed", None
        try:
            found = await self.models.predict(request, self.seconds)
            release, outcome = found.release, "compared" if found.result.kind == READ else "unread"
        except (QueueFull, NoModel):
            self.metrics.photos.labels("dropped").inc()
            return
        except TimeoutError:
            outcome = "late"
        except ChildDied:
            pass
        comparison = _comparison(release, outcome, answered, found)
        try:
            await asyncio.to_thread(self.comparisons.add, comparison)
        except OSError as error:
            log.error("a comparison cannot be kept: %s", error)
        self._count(comparison)  # after it is kept: what /metrics tells is not lost when the service stops

    def _count(self, comparison: Comparison) -> None:
        self.metrics.photos.labels(comparison.outcome).inc()
        choices = comparison.choices
        share = sum(choices.values()) / len(choices) if choices else None
        for histogram, value in (
            (self.metrics.parameters, comparison.parameters),
            (self.metrics.choices, share),
            (self.metrics.similarity, comparison.similarity),
            (self.metrics.cpu.labels("candidate"), comparison.seconds),
            (self.metrics.cpu.labels("production"), comparison.production_seconds),
        ):
            if value is not None:
                histogram.observe(value)


class Canary:
    """A context manager: the candidate, for so many players in a hundred.

    `seconds`: how long it may take; then production answers. `schema_md5s`: of what can be drawn here.
    """

    def __init__(
        self, models: ModelManager, percent: float, seconds: float, schema_md5s: Collection[str], metrics: CanaryMetrics
    ) -> None:
        self.models, self.percent, self.seconds = models, percent, seconds
        self.schema_md5s, self.metrics = schema_md5s, metrics

    async def __aenter__(self) -> Canary:
        await self.models.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.models.__aexit__()

    async def predict(
        self, request: PredictRequest, player: str, production: Release | None
    ) -> ServedPrediction | None:
        """What the candidate says of a photo. None: production answers, because the player is not among the canary's,
        or because the candidate could not read it, or not in time.
        """
        pool = self.models.pool
        if pool is None or pool.release == production or place_of(player, pool.release) >= self.percent:
            return None
        found = None
        if pool.schema_md5 in self.schema_md5s:
            try:
                found = await self.models.predict(request, self.seconds)
            except (QueueFull, NoModel, TimeoutError, ChildDied) as error:
                log.warning("production answers for %s: %s", pool.release, str(error) or type(error).__name__)
        is_read = found is not None and found.result.kind == READ
        self.metrics.photos.labels("answered" if is_read else "by_production").inc()
        return found if is_read else None


def place_of(player: str, release: Release) -> float:
    """Where a player stands among all, in [0, 100): always there for one release, and elsewhere for the next, so that
    it is not the same players who try every candidate."""
    digest = hashlib.sha256(f"{release.model}/{release.version}/{player}".encode()).digest()
    return 100 * int.from_bytes(digest[:8], "big") / 2**64


def _comparison(
    release: Release, outcome: Outcome, answered: ServedPrediction, found: ServedPrediction | None
) -> Comparison:
    numbers = {} if found is None else {"seconds": found.result.seconds, **found.result.comparison}
    return Comparison(
        production=Served.of(answered.release),
        candidate=Served.of(release),
        outcome=outcome,
        production_seconds=answered.result.seconds,
        **numbers,
    )
