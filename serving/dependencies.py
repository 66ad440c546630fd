"""What the service's routes work with, put together from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from engine.schema import Schema
from serving.candidate import Canary, Shadow
from serving.character_store import CharacterStore
from serving.comparisons import ComparisonLog
from serving.configuration import CANARY_WORKERS, ServiceSettings
from serving.corrections import CorrectionStore
from serving.idempotency import IdempotencyKeys
from serving.job_store import JobStore
from serving.jobs import Jobs
from serving.keys import Keys
from serving.metrics import CanaryMetrics, Metrics, ModelMetrics, PhotoMetrics, ShadowMetrics
from serving.photo_counts import folder_of
from serving.player_limits import PlayerLimits
from serving.player_tokens import PlayerTokens
from serving.presets import Preset, presets_of
from serving.releases import Release, ReleaseSource
from serving.rendering.service import RenderService
from serving.short_codes import ShortCodes
from serving.statistics import ServedStatistics
from serving.token_bucket import TokenBuckets
from serving.usage import Usage
from serving.webhooks import Webhooks
from serving.workers.model_manager import ModelManager
from serving.workers.pool import Pool
from serving.workers.process import WorkerConfig
from serving.workers.refiner import RefinerConfig

THREADS = 1
"""Of a worker: there are as many workers as processors, and one thread each gets most out of them."""
USAGE = ".usage"
"""The folder, beside the characters, of what keys were used for."""
IN_SHADOW, SOME_PLAYERS = "reads in the shadow", "answers some of the players"
STANDS_BACK, SHARE = 19, 60
"""How nice a shadow's worker is: beside one that is not, it gets a sixtieth of a processor."""


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
    presets: Mapping[str, Preset]
    models: ModelManager
    rendering: RenderService
    characters: CharacterStore
    idempotency_keys: IdempotencyKeys
    corrections: CorrectionStore
    """Also where none are kept any more: what was kept can still be taken back."""
    keys: Keys | None
    """Who may ask; None: everybody who can reach the service."""
    tokens: PlayerTokens
    player_limits: PlayerLimits
    codes: ShortCodes
    wrong_codes: TokenBuckets
    """Who asked for codes that there are not."""
    jobs: Jobs
    usage: Usage
    metrics: Metrics
    statistics: ServedStatistics
    shadow: Shadow | None
    canary: Canary | None


def build_state(
    service: ServiceSettings,
    source: ReleaseSource,
    paths: Paths,
    keys: Keys | None,
    candidate: ReleaseSource | None = None,
) -> AppState:
    """All of it, not yet started. `candidate`: where the version for `shadow` and `canary` comes from.

    Raises SchemaError, PresetError.
    """
    schema = Schema.load(paths.character)
    metrics = Metrics()
    paths.home.mkdir(parents=True, exist_ok=True)
    models = _models(service, source, paths, metrics, service.workers)
    counted_in = folder_of(service, paths.character.name, paths.home) if service.statistics else None
    folder = service.store or paths.home / "characters"
    characters = CharacterStore(folder, timedelta(days=service.keep_days))
    return AppState(
        service=service,
        schema=schema,
        schema_md5=Schema.md5(paths.character),
        schema_md5s=Schema.md5s(paths.character),
        presets=presets_of(schema, service.presets),
        models=models,
        rendering=RenderService(
            paths.character, paths.embedded, paths.home / "drawn", idle_seconds=lambda: models.idle_seconds
        ),
        characters=characters,
        idempotency_keys=IdempotencyKeys(folder / ".requests"),
        corrections=CorrectionStore.of(service, paths.character.name, paths.home),
        keys=keys,
        tokens=PlayerTokens(folder / ".tokens"),
        player_limits=PlayerLimits(service.player_per_minute, service.player_photos_per_day),
        codes=ShortCodes(folder / ".codes"),
        wrong_codes=TokenBuckets(),
        jobs=Jobs(
            JobStore(folder / ".jobs", characters.keep.total_seconds(), service.job_spool, characters.is_erased),
            service.jobs,
            Webhooks(service.webhooks, service.webhook_secret.get_secret_value()),
        ),
        usage=Usage(folder / USAGE),
        metrics=metrics,
        statistics=ServedStatistics(PhotoMetrics(metrics.registry), counted_in, service.statistics_days),
        shadow=_shadow(service, candidate, paths, metrics, models) if candidate and service.shadow else None,
        canary=_canary(service, candidate, paths, metrics, models) if candidate and service.canary else None,
    )


def _shadow(
    service: ServiceSettings, source: ReleaseSource, paths: Paths, metrics: Metrics, production: ModelManager
) -> Shadow:
    """On the processor, one photo at a time, and only while nobody else wants to run: production is not to notice."""
    own, behind = ShadowMetrics(metrics.registry), {"device": "cpu", "batch": 1, "queue": service.shadow_queue}
    models = _models(service.model_copy(update=behind), source, paths, own, 1, STANDS_BACK, IN_SHADOW, production)
    return Shadow(models, ComparisonLog.of(service, paths.character.name, paths.home), service.shadow_seconds, own)


def _canary(
    service: ServiceSettings, source: ReleaseSource, paths: Paths, metrics: Metrics, production: ModelManager
) -> Canary:
    own = CanaryMetrics(metrics.registry)
    models = _models(service, source, paths, own, CANARY_WORKERS, does=SOME_PLAYERS, after=production)
    return Canary(models, service.canary, service.timeout / 2, Schema.md5s(paths.character), own)


def _models(
    service: ServiceSettings,
    source: ReleaseSource,
    paths: Paths,
    metrics: ModelMetrics,
    workers: int,
    nice: int = 0,
    does: str = "answers",
    after: ModelManager | None = None,
) -> ModelManager:
    """The workers of what a source names."""
    refine = RefinerConfig(
        engine=paths.engine, character=paths.character, embedded=paths.embedded, seconds=service.refine_seconds
    )
    # Long after whoever asked was told that it takes too long: only what hangs takes longer.
    answers_within = (2 * service.timeout + service.refine_seconds) * (SHARE if nice else 1)

    def make_pool(release: Release, folder: Path) -> Pool:
        config = WorkerConfig(
            folder=folder,
            threads=THREADS,
            device=service.device,
            precision=service.precision,
            max_pixels=round(service.photo_megapixels * 1e6),
            refine=refine,
            log=paths.home / "workers.log",
            nice=nice,
        )
        return Pool(release, config, workers, service.batch, metrics, answers_within)

    models = ModelManager(source, make_pool, service.queue, service.follow, metrics, does, after)
    metrics.watch(lambda: len(models.queue))
    return models


async def _state_of(request: Request) -> AppState:
    return request.app.state.serving


State = Annotated[AppState, Depends(_state_of)]
"""A route's parameter of this type gets them."""
