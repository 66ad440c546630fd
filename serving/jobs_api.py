"""`/v1/jobs`: more photos than one request can wait for."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, HTTPException, Response, UploadFile
from pydantic import Field

from serving import problems
from serving.access import Asking, Creator
from serving.api import IdempotencyKey, KeepPhoto, Refine, in_store, make, once
from serving.dependencies import AppState, State
from serving.jobs import Job, UnknownJob, described
from serving.schemas import MOST_OF_A_NAME, JobResponse
from serving.webhooks import NotAllowed
from serving.workers.process import PredictRequest

TRIES, PAUSE = 20, 3.0
"""Of a photo for which there is no room, and seconds in between: players' own photos come first."""
router = APIRouter(prefix="/v1", tags=["jobs"], responses=problems.responses(401, 403, 429, 503))


@router.post(
    "/jobs",
    status_code=202,
    response_model_exclude_none=True,
    responses=problems.responses(400, 409, 413, 422),
)
async def create_job(
    state: State,
    asking: Creator,
    response: Response,
    photo: Annotated[list[UploadFile], File(description="Photos, a person each.", min_length=1)],
    keep_photo: KeepPhoto = False,
    player: Annotated[
        list[Annotated[str, Field(max_length=MOST_OF_A_NAME)]],
        Form(description="Whose photo each is, in their order; none at all, or one for each."),
    ] = [],  # noqa: B006
    callback: Annotated[
        str,
        Form(
            max_length=2000,
            description="An address that gets the finished job by a signed POST (Standard Webhooks), at a site that "
            "whoever runs the service has allowed.",
        ),
    ] = "",
    refine: Refine = None,
    idempotency_key: IdempotencyKey = None,
) -> JobResponse:
    """Make a character of each of many photos, while the client does something else: ask for the job now and then, or
    be told by `callback`. The photos are held in memory, one is read at a time, and players' own come first."""
    if asking.caller.player:
        raise problems.not_allowed("A player's token is not for jobs")
    if len(photo) > state.service.job_photos:
        raise problems.too_large(f"{len(photo)} photos; the limit of a job is {state.service.job_photos}")
    if player and len(player) != len(photo):
        raise HTTPException(400, f"{len(player)} players for {len(photo)} photos: name one for each, or none")
    if callback:
        try:
            state.jobs.webhooks.require_allowed(callback)
        except NotAllowed as error:
            raise problems.not_allowed(str(error)) from error
    if state.jobs.is_full:
        raise problems.busy(f"{state.jobs.capacity} jobs run, as many as may", 30)
    contents: list[bytes | None] = [await file.read() for file in photo]
    whose = player or [""] * len(photo)

    async def read(number: int) -> dict[str, Any]:
        content, contents[number] = contents[number], None  # it is needed no longer than it has to
        assert content is not None, "each is read once"
        return await _patiently(state, asking, PredictRequest(content, refine=refine), keep_photo, whose[number])

    async def begin() -> Job:
        return await state.jobs.start(asking.caller.owner, [file.filename or "" for file in photo], callback, read)

    if idempotency_key is None:
        job = await begin()
    else:
        sent = b"".join(hashlib.sha256(content or b"").digest() for content in contents)
        fields = repr(("job", keep_photo, player, callback, refine)).encode()
        async with once(state, asking, idempotency_key, sent + fields) as claim:
            if claim.id:
                job = await _found(state, asking, claim.id)
                response.headers["Idempotency-Replayed"] = "true"
            else:
                job = await begin()
                claim.id = job.id
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobResponse.model_validate(described(job))


@router.get("/jobs/{job}", response_model_exclude_none=True, responses=problems.responses(404))
async def get_job(state: State, asking: Creator, job: str) -> JobResponse:
    """What has become of a job's photos so far. `lost`: its process ended; send again those that have no result."""
    return JobResponse.model_validate(described(await _found(state, asking, job)))


@router.delete("/jobs/{job}", status_code=204, responses=problems.responses(404))
async def cancel_job(state: State, asking: Creator, job: str) -> None:
    """Read no more of a job's photos, and forget it. The characters that were made stay."""
    try:
        await state.jobs.cancel(job, asking.caller.owner)
    except UnknownJob as error:
        raise problems.unknown_job() from error


async def _found(state: AppState, asking: Asking, id: str) -> Job:
    """Raises ProblemError."""
    try:
        return await in_store(state.jobs.get, id, asking.caller.owner)
    except UnknownJob as error:
        raise problems.unknown_job() from error


async def _patiently(
    state: AppState, asking: Asking, request: PredictRequest, keep_photo: bool, player: str
) -> dict[str, Any]:
    """A result of a job: the character's id, or a problem."""
    for left in reversed(range(TRIES)):
        try:
            return {"id": (await make(state, asking, request, keep_photo, player)).id}
        except problems.ProblemError as problem:
            if not left or problem.kind not in ("busy", "timeout", "no-model"):
                return {"problem": problem.document().model_dump(exclude_none=True)}
        except Exception:
            problems.log.exception("a photo of a job failed")
            return {"problem": problems.internal().document().model_dump(exclude_none=True)}
        await asyncio.sleep(PAUSE)
    raise AssertionError("the last try returns")
