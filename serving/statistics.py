"""What served photos are like, counted in bins day by day: neither a photo nor an embedding nor one photo's values.

Training's photos are counted in the same bins, so that the two can be held against each other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from engine.files import write_whole
from serving.comparisons import Served
from serving.metrics import PhotoMetrics
from serving.photo_counts import DayCounts, PhotoCounts, training_file, values_of
from serving.workers.model_manager import ServedPrediction

FLUSHES_EVERY = 60.0
FEWEST = 200
"""Photos of a day, from which on they are held against training's."""
log = logging.getLogger("likeness.serving")


class ServedStatistics:
    """A context manager: counts what was read, for Prometheus, and where `folder` is given in a file for each day.

    Every process writes files of its own, so that several on one shared folder never meet. `days`: how long they stay.
    """

    _version: Served | None = None
    """The one that read the last photo."""

    def __init__(self, metrics: PhotoMetrics, folder: Path | None, days: float) -> None:
        self.metrics, self.folder, self.days = metrics, folder, days
        self._counts: dict[tuple[date, Served], DayCounts] = {}
        self._changed: set[tuple[date, Served]] = set()
        self._token = secrets.token_hex(4)

    async def __aenter__(self) -> ServedStatistics:
        self._flushing = asyncio.create_task(self._flush_now_and_then())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flushing.cancel()
        await asyncio.gather(self._flushing, return_exceptions=True)
        await self.flush()

    def observe(self, prediction: ServedPrediction) -> None:
        """Count a photo that was read."""
        values = values_of(prediction.result)
        self.metrics.observe(*values)
        if self.folder is None:
            return
        key = day, version = datetime.now(UTC).date(), Served.of(prediction.release)
        if key not in self._counts:
            self._counts[key] = DayCounts(day=day, version=version)
        self._counts[key].add(*values)
        self._changed.add(key)
        self._version = version

    async def flush(self) -> None:
        """Write what changed since the last time, and hold today's photos against training's; a day that is over is
        not kept in memory."""
        today = datetime.now(UTC).date()
        changed, self._changed = self._changed, set()
        files = {
            f"{day}-{version.version}-{version.run[:12]}-{self._token}.json": self._counts[day, version]
            for day, version in changed
        }
        self._counts = {key: counts for key, counts in self._counts.items() if key[0] == today}
        contents = {name: counts.model_dump_json().encode() for name, counts in files.items()}
        try:
            await asyncio.to_thread(self._write, contents, today)
        except OSError as error:
            log.error("the day's statistics cannot be kept: %s", error)
        await self._compare(today)

    async def _compare(self, today: date) -> None:
        if self.folder is None or self._version is None:
            return
        served, training = self._counts.get((today, self._version)), training_file(self.folder, self._version)
        if served is not None and served.photos >= FEWEST and await asyncio.to_thread(training.is_file):
            counted = await asyncio.to_thread(training.read_bytes)
            self.metrics.compare(PhotoCounts.model_validate_json(counted), served)

    async def _flush_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(FLUSHES_EVERY)
            await self.flush()

    def _write(self, contents: Mapping[str, bytes], today: date) -> None:
        if self.folder is None:
            return
        for name, content in contents.items():
            write_whole(self.folder / name, content)
        first = str(today - timedelta(days=self.days))
        for path in self.folder.glob("*.json"):
            if path.name < first:
                path.unlink(missing_ok=True)
