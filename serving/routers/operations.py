"""What whoever runs the service asks: alive, ready, how it goes; and what it can do, for people and programs."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from serving import problems, reference
from serving.dependencies import State
from serving.schemas import ServiceOptions

router = APIRouter()


@router.get("/healthz", tags=["operations"], response_class=PlainTextResponse)
async def healthz() -> str:
    """The process is alive."""
    return "ok"


@router.get("/readyz", tags=["operations"], responses=problems.responses(429, 503))
async def readyz(state: State) -> dict[str, Any]:
    """A model is loaded and photos may come. 503 before, while no worker lives, and 429 while as many wait as may."""
    pool, queue = state.models.pool, state.models.queue
    if pool is None:
        raise problems.no_model(state.models.why_none)
    if not pool.is_alive:
        raise problems.no_model(f"no worker of {pool.release} lives: another is being started")
    if len(queue) >= queue.capacity:
        raise problems.busy(f"{len(queue)} photos wait, as many as may", queue.seconds)
    return {"model": pool.release.model, "version": pool.release.version, "waiting": len(queue)}


@router.get("/v1/service", tags=["characters"])
async def options(state: State) -> ServiceOptions:
    """What this service does only where it is configured to; asked before there is a key."""
    service = state.service
    return ServiceOptions(
        keeps_corrections=service.corrections,
        photo_megabytes=service.photo_megabytes,
        photo_megapixels=service.photo_megapixels,
        person_photos=service.person_photos,
        person_megabytes=service.batch_megabytes,
        frames=list(service.frames),
    )


@router.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
async def metrics(state: State) -> Response:
    """For Prometheus."""
    return Response(state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False, response_class=HTMLResponse)
async def docs(request: Request) -> str:
    """The description for people, without any script."""
    return await asyncio.to_thread(reference.page, request.app.openapi())


@router.get("/problems/{kind}", include_in_schema=False, response_class=PlainTextResponse)
async def problem(kind: str) -> str:
    """What the address says that is the type of a problem."""
    if kind not in problems.EXPLANATIONS:
        raise HTTPException(404, f"there is no kind of problem {kind}: {', '.join(problems.EXPLANATIONS)}")
    return f"{kind}\n\n{problems.EXPLANATIONS[kind]}\n"
