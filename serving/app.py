"""The service as an ASGI application: who may ask what, and in which words it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.formparsers import MultiPartParser

from serving import problems, static
from serving.access import authorize
from serving.access_log import AccessLog
from serving.configuration import ServiceSettings
from serving.dependencies import AppState, Paths, build_state
from serving.keys import Keys
from serving.middleware import HeadMiddleware, Limits, RequestMiddleware
from serving.openapi import describe, operation_id
from serving.releases import ReleaseSource
from serving.rendering.routes import routes
from serving.routers import characters, codes, corrections, files, jobs, operations, players, random, render
from serving.uploads import Uploads

DELETES_EVERY = 3600.0
FORM = 65_536
"""Bytes of a form beside its photos."""
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
TITLE = "likeness"
DESCRIPTION = """A player's photo in, the parameters of the game's own character creator out.

    curl -F photo=@me.jpg http://127.0.0.1:8000/v1/characters

Every error is a problem document (RFC 9457, `application/problem+json`) whose `type` ends in a word that programs can
tell problems apart by. No photo is kept unless `keep_photo` says so; characters expire. What players change is kept
only where the service is configured to and `share_corrections` says that the player agrees."""
log = logging.getLogger("likeness.serving")


def build(
    service: ServiceSettings,
    source: ReleaseSource,
    paths: Paths,
    keys: Keys | None = None,
    candidate: ReleaseSource | None = None,
) -> FastAPI:
    """The application; nothing runs before it is started.

    Args:
        keys: who may ask; None: everybody who can reach it.
        candidate: where the version for `shadow` and `canary` comes from.
    """
    state = build_state(service, source, paths, keys, candidate)
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
    app.state.serving = state
    app.state.access_log = AccessLog(service.access_log) if service.access_log else None
    problems.install(app)
    for resource in (characters, files, corrections, codes, render, random, players, jobs):
        app.include_router(resource.router)
    app.include_router(routes(state.rendering))
    app.include_router(operations.router)
    static.add_to(app)
    describe(app, needs_key=keys is not None)
    _limit(app, state)
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Workers, rendering and the deletion of expired characters, from the start of the application to its end."""
    state: AppState = app.state.serving
    async with AsyncExitStack() as running:
        if app.state.access_log:
            running.callback(app.state.access_log.close)
        for part in (
            state.rendering,
            state.statistics,
            state.usage,
            state.models,
            state.shadow,
            state.canary,
        ):
            if part is not None:
                await running.enter_async_context(part)
        await running.enter_async_context(state.jobs.running(partial(jobs.read_photo, state)))
        deleting = asyncio.create_task(_delete_expired(state))
        try:
            yield
        finally:
            deleting.cancel()


async def _delete_expired(state: AppState) -> None:
    sweeps = {
        "characters": state.characters.delete_expired,
        "idempotency keys": state.idempotency_keys.delete_expired,
        "jobs": state.jobs.store.delete_expired,
        "tokens": state.tokens.delete_expired,
        "codes": state.codes.delete_expired,
        "corrections": partial(state.corrections.delete_unchanged, state.characters.keep),
    }
    while True:
        for what, delete in sweeps.items():
            try:
                if deleted := await asyncio.to_thread(delete):
                    log.info("%d %s expired", deleted, what)
            except Exception:  # the others are to go on time
                log.exception("%s that have expired cannot be deleted", what)
        await asyncio.sleep(DELETES_EVERY)


def _limit(app: FastAPI, state: AppState) -> None:
    """Limits and headers of every request, inside out: the last one that is added sees a request first."""
    service = state.service
    sizes = (service.photo_megabytes, service.batch_megabytes, service.job_megabytes)
    one, several, job = (round(size * 1e6) + FORM for size in sizes)
    # Larger files of a form would be spooled to the disk: no photo gets there.
    MultiPartParser.spool_max_size = max(one, several, job)
    bodies = {"/v1/characters": one, "/v1/jobs": job}
    bodies |= dict.fromkeys(("/v1/characters:batch", "/v1/characters:person"), several)
    limits = Limits(bodies, service.origins, () if state.keys else THIS_MACHINE)
    app.add_middleware(
        RequestMiddleware,
        metrics=state.metrics,
        limits=limits,
        uploads=Uploads(max(round(service.uploads_megabytes * 1e6), *bodies.values()), service.upload_seconds),
        authorize=partial(authorize, state),
        frames=service.frames,
        log=app.state.access_log,
    )
    app.add_middleware(HeadMiddleware)
    if service.origins:
        # Outside of all others: a page of another site may read what was refused, too.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
