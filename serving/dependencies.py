"""What the service is made of: put together here, used by its routes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from engine.schema import Schema
from serving.character_store import Characters
from serving.configuration import Service
from serving.keys import Keys
from serving.metrics import Metrics
from serving.releases import Release, Source
from serving.rendering import Drawing
from serving.workers.model_manager import Models
from serving.workers.pool import Pool
from serving.workers.process import Duty

THREADS = 1
"""Of a worker: there are as many workers as processors, and one thread each gets most out of them."""


@dataclass(frozen=True)
class Place:
    """Where the service finds what it serves, and keeps what it made."""

    character: Path
    """The character's folder."""
    embedded: Path
    """The embedded engine's assets."""
    home: Path
    """For characters that were made, and for pictures that can be drawn again."""


@dataclass(frozen=True)
class Parts:
    """What requests work with."""

    service: Service
    schema: Schema
    schema_md5s: frozenset[str]
    """By which documents name it."""
    models: Models
    drawing: Drawing
    characters: Characters
    keys: Keys | None
    """Who may ask; None: everybody who can reach the service."""
    metrics: Metrics


def assemble(service: Service, source: Source, place: Place, keys: Keys | None) -> Parts:
    """All parts, not yet started. Raises SchemaError."""
    metrics, max_pixels = Metrics(), round(service.photo_megapixels * 1e6)
    place.home.mkdir(parents=True, exist_ok=True)

    def make_pool(release: Release, folder: Path) -> Pool:
        duty = Duty(folder, THREADS, service.device, max_pixels, place.home / "workers.log")
        return Pool(release, duty, service.workers, service.batch, metrics)

    models = Models(source, make_pool, service.queue, service.follow, metrics)
    metrics.watch(lambda: len(models.line))
    return Parts(
        service=service,
        schema=Schema.load(place.character),
        schema_md5s=Schema.md5s(place.character),
        models=models,
        drawing=Drawing(place.character, place.embedded, place.home / "drawn"),
        characters=Characters(service.store or place.home / "characters", timedelta(days=service.keep_days)),
        keys=keys,
        metrics=metrics,
    )


async def _parts_of(request: Request) -> Parts:
    return request.app.state.parts


AllParts = Annotated[Parts, Depends(_parts_of)]
"""A route's parameter of this type gets them."""
