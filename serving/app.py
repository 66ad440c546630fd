"""The service as an ASGI application: who may ask what, and in which words it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.formparsers import MultiPartParser

from serving import problems, static
from serving.api import router
from serving.character_store import Characters
from serving.configuration import Service
from serving.dependencies import Parts, Place, assemble
from serving.keys import Keys
from serving.middleware import Edge, Head, Limits
from serving.openapi import describe, operation_id
from serving.releases import Source
from serving.rendering import routes

SWEEPS_EVERY = 3600.0
FORM = 65_536
"""Bytes of a form beside its photos."""
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
TITLE = "likeness"
DESCRIPTION = """A player's photo in, the parameters of the game's own character creator out.

    curl -F photo=@me.jpg http://127.0.0.1:8000/v1/characters

Every error is a problem document (RFC 9457, `application/problem+json`) whose `type` ends in a word that programs can
tell problems apart by. No photo is kept unless `keep_photo` says so; characters expire."""
log = logging.getLogger("likeness.serving")


def build(service: Service, source: Source, place: Place, keys: Keys | None = None) -> FastAPI:
    """The application; nothing runs before it is started.

    Args:
        keys: who may ask; None: everybody who can reach it.
    """
    parts = assemble(service, source, place, keys)
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        responses=problems.responses(500),
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    app.state.parts = parts
    problems.install(app)
    app.include_router(router)
    app.include_router(routes(parts.drawing))
    _add_operations(app, parts)
    static.add_to(app)
    describe(app, needs_key=keys is not None)
    _limit(app, parts)
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Workers, drawing and the sweep of expired characters, from the start of the application to its end."""
    parts: Parts = app.state.parts
    async with AsyncExitStack() as running:
        await running.enter_async_context(parts.drawing)
        await running.enter_async_context(parts.models)
        sweeping = asyncio.create_task(_sweep(parts.characters))
        running.callback(sweeping.cancel)
        yield


async def _sweep(characters: Characters) -> None:
    while True:
        with suppress(OSError):
            if erased := await asyncio.to_thread(characters.sweep):
                log.info("%d characters expired", erased)
        await asyncio.sleep(SWEEPS_EVERY)


def _add_operations(app: FastAPI, parts: Parts) -> None:
    """What whoever runs the service asks: alive, ready, how it goes."""

    @app.get("/healthz", tags=["operations"], response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process is alive."""
        return "ok"

    @app.get("/readyz", tags=["operations"], responses=problems.responses(503))
    async def readyz() -> dict[str, Any]:
        """A model is loaded and photos may come. 503 before, and while as many wait as may."""
        pool, line = parts.models.pool, parts.models.line
        if pool is None:
            raise problems.no_model(parts.models.why_none)
        if len(line) >= line.room:
            raise problems.busy(f"{len(line)} photos wait, as many as may", line.seconds)
        return {"model": pool.release.model, "version": pool.release.version, "waiting": len(line)}

    @app.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(parts.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _limit(app: FastAPI, parts: Parts) -> None:
    service = parts.service
    one, several = (round(size * 1e6) + FORM for size in (service.photo_megabytes, service.batch_megabytes))
    # Larger files of a form would be spooled to the disk: no photo gets there.
    MultiPartParser.spool_max_size = max(one, several)
    if service.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    bodies = {"/v1/characters": one, "/v1/characters:batch": several}
    limits = Limits(bodies, service.origins, () if parts.keys else THIS_MACHINE)
    app.add_middleware(Edge, metrics=parts.metrics, limits=limits)
    app.add_middleware(Head)
