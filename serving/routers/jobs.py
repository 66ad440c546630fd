"""`/v1/jobs`: more photos than one request can wait for."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, HTTPException, Response, UploadFile
from pydantic import Field

from serving import problems
from serving.access import Asking, Creator, asking_of
from serving.character_store import Caller
from serving.creation import make
from serving.dependencies import AppState, State
from serving.idempotency import Claim
from serving.job_store import Job, UnknownJob, described
from serving.jobs import MOST_TAKEOVERS, Full
from serving.routers.parameters import IdempotencyKey, KeepPhoto, Refine
from serving.schemas import MOST_OF_A_NAME, JobResponse
from serving.store_access import in_store, once, require_free_disk
from serving.webhooks import NotAllowed
from serving.workers.process import PredictRequest

TRIES, PAUSE = 20, 3.0
"""Of a photo for which there is no room, and seconds in between: players' own photos come first. For a model, and for
the key's next day, is waited without an end: what was accepted is finished."""
LIMIT_PAUSE = 60.0
"""Seconds between two looks at whether the key's limit lets a photo through: it may be raised meanwhile."""
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
    be told by `callback`. One photo is read at a time, and players' own come first. Photos are held in memory, and the
    job is `lost` with its process; where whoever runs the service has named a place for them, or with `keep_photo`,
    they lie on a disk until each is read, and the job goes on when the service is there again."""
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
    contents = [await file.read() for file in photo]

    async def begin(id: str = "") -> Job:
        if keep_photo:
            await require_free_disk(state)
        names, players = [file.filename or "" for file in photo], [asking.of_player(one).player for one in player]
        options: dict[str, Any] = {"players": players, "callback": callback, "keep_photo": keep_photo, "refine": refine}
        options["begun"] = asking.begun
        try:
            return await state.jobs.start(asking.caller.owner, names, contents, id=id, **options)
        except Full as error:
            raise problems.busy(f"{state.jobs.capacity} jobs run, as many as may", 30) from error
        except OSError as error:
            raise problems.no_storage() from error

    if idempotency_key is None:
        job = await begin()
    else:
        sent = b"".join(hashlib.sha256(content).digest() for content in contents)
        fields = repr(("job", keep_photo, player, callback, refine)).encode()
        async with once(state, asking, idempotency_key, sent + fields) as claim:
            if job := await _begun_before(state, asking, claim):
                response.headers["Idempotency-Replayed"] = "true"
            else:
                job = await begin(claim.id)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobResponse.model_validate(described(job))


@router.get("/jobs/{job}", response_model_exclude_none=True, responses=problems.responses(404))
async def get_job(state: State, asking: Creator, job: str) -> JobResponse:
    """What has become of a job's photos so far. `lost`: its process ended, and its photos with it; send again those
    that have no result."""
    return JobResponse.model_validate(described(await _found(state, asking, job)))


@router.delete("/jobs/{job}", status_code=204, responses=problems.responses(404))
async def cancel_job(state: State, asking: Creator, job: str) -> None:
    """Read no more of a job's photos, and forget it. The characters that were made stay."""
    try:
        await state.jobs.cancel(job, asking.caller.owner)
    except UnknownJob as error:
        raise problems.unknown_job() from error


async def _begun_before(state: AppState, asking: Asking, claim: Claim) -> Job | None:
    """The job of the request when it came before. Raises ProblemError where that is not there any more."""
    if not claim.begun:
        return None
    try:
        return await _found(state, asking, claim.id)
    except problems.ProblemError as problem:
        if claim.made or problem.kind != "unknown-job":
            raise
        return None


async def _found(state: AppState, asking: Asking, id: str) -> Job:
    """Raises ProblemError."""
    try:
        return await in_store(state.jobs.store.get, id, asking.caller.owner)
    except UnknownJob as error:
        raise problems.unknown_job() from error


async def read_photo(state: AppState, job: Job, number: int, content: bytes | None) -> dict[str, Any]:
    """A result of a job: the character's id, or a problem. `content`: the photo; None where it is gone."""
    try:
        return {"id": await _patiently(state, job, number, content)}
    except problems.ProblemError as problem:
        return {"problem": problem.document().model_dump(exclude_none=True)}
    except Exception:
        problems.log.exception("a photo of a job failed")
        return {"problem": problems.internal().document().model_dump(exclude_none=True)}


async def _patiently(state: AppState, job: Job, number: int, content: bytes | None) -> str:
    """The character's id. Raises ProblemError."""
    if content is None:
        raise problems.photo_gone()
    if job.takeovers >= MOST_TAKEOVERS:
        raise problems.model_died()
    request, tries = PredictRequest(content, refine=job.refine), 0
    while True:
        # A key may go while its job waits.
        asking = asking_of(state, Caller(job.owner, job.player(number)), job.since)
        if asking is None:
            raise problems.no_key()
        try:
            made = await make(state, asking, request, job.keep_photo, id=job.characters[number], accepted=True)
            return made.id
        except problems.ProblemError as problem:
            tries += problem.kind in ("busy", "timeout")
            if tries == TRIES or problem.kind not in ("busy", "timeout", "no-model", "over-limit"):
                raise
            pause = LIMIT_PAUSE if problem.kind == "over-limit" else PAUSE
        await asyncio.sleep(pause)
