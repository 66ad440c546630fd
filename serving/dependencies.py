"""What the service's routes work with, put together from its settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from engine.schema import Schema
from serving.character_store import CharacterStore
from serving.configuration import ServiceSettings
from serving.keys import Keys
from serving.metrics import Metrics
from serving.releases import Release, ReleaseSource
from serving.rendering.service import RenderService
from serving.workers.model_manager import ModelManager
from serving.workers.pool import Pool
from serving.workers.process import WorkerConfig
from serving.workers.refiner import RefinerConfig

THREADS = 1
"""Of a worker: there are as many workers as processors, and one thread each gets most out of them."""


@dataclass(frozen=True)
class Paths:
    """Where the service finds what it serves, and keeps what it made."""

    character: Path
    """The character's folder."""
    embedded: Path
    """The embedded engine's assets."""
    home: Path
    """For characters that were made, and for pictures that can be drawn again."""
    engine: str
    """What opens the engine for a search: see RefinerConfig."""


@dataclass(frozen=True)
class AppState:
    """What requests work with."""

    service: ServiceSettings
    schema: Schema
    schema_md5: str
    """By which new documents name it."""
    schema_md5s: frozenset[str]
    """By which documents may name it."""
    models: ModelManager
    rendering: RenderService
    characters: CharacterStore
    keys: Keys | None
    """Who may ask; None: everybody who can reach the service."""
    metrics: Metrics


def build_state(service: ServiceSettings, source: ReleaseSource, paths: Paths, keys: Keys | None) -> AppState:
    """All of it, not yet started. Raises SchemaError."""
    metrics, max_pixels = Metrics(), round(service.photo_megapixels * 1e6)
    refine = RefinerConfig(
        engine=paths.engine, character=paths.character, embedded=paths.embedded, seconds=service.refine_seconds
    )
    paths.home.mkdir(parents=True, exist_ok=True)

    def make_pool(release: Release, folder: Path) -> Pool:
        config = WorkerConfig(
            folder=folder,
            threads=THREADS,
            device=service.device,
            max_pixels=max_pixels,
            refine=refine,
            log=paths.home / "workers.log",
        )
        return Pool(release, config, service.workers, service.batch, metrics)

    models = ModelManager(source, make_pool, service.queue, service.follow, metrics)
    metrics.watch(lambda: len(models.queue))
    return AppState(
        service=service,
        schema=Schema.load(paths.character),
        schema_md5=Schema.md5(paths.character),
        schema_md5s=Schema.md5s(paths.character),
        models=models,
        rendering=RenderService(paths.character, paths.embedded, paths.home / "drawn"),
        characters=CharacterStore(service.store or paths.home / "characters", timedelta(days=service.keep_days)),
        keys=keys,
        metrics=metrics,
    )


async def _state_of(request: Request) -> AppState:
    return request.app.state.serving


State = Annotated[AppState, Depends(_state_of)]
"""A route's parameter of this type gets them."""
