"""`/v1/characters`: a photo in, a character out, and what becomes of it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Header, HTTPException, Response, UploadFile
from pydantic import Field

from serving import problems
from serving.access import Asking, Creator, Reader
from serving.character_store import UnknownCharacter
from serving.creation import make
from serving.dependencies import AppState, State
from serving.editing import edited
from serving.idempotency import Claim
from serving.responses import shown, tagged
from serving.routers.parameters import Aligned, IdempotencyKey, KeepPhoto, Player, Refine, ShareCorrections
from serving.schemas import MOST_OF_A_NAME, Batch, BatchItem, CharacterResponse, Edit
from serving.store_access import in_store, once
from serving.workers.process import PredictRequest

router = APIRouter(prefix="/v1", tags=["characters"], responses=problems.responses(401, 403))


@router.post(
    "/characters",
    status_code=201,
    response_model_exclude_none=True,
    responses=problems.responses(400, 409, 413, 415, 422, 429, 503),
)
async def create_character(
    state: State,
    asking: Creator,
    response: Response,
    photo: Annotated[UploadFile, File(description="A photo of one person: JPEG, PNG, WebP or HEIC.")],
    aligned: Aligned = False,
    keep_photo: KeepPhoto = False,
    player: Player = "",
    share_corrections: ShareCorrections = False,
    refine: Refine = None,
    idempotency_key: IdempotencyKey = None,
) -> CharacterResponse:
    """Make a character of a photo. The largest face is taken; `photo.remarks` says what may have made it unlike."""
    shares = share_corrections and state.service.corrections
    request = PredictRequest(await photo.read(), aligned, refine, features=shares)
    if idempotency_key is None:
        made = await make(state, asking, request, keep_photo, player)
    else:
        fields = repr((aligned, refine, shares, keep_photo, player)).encode()
        sent = hashlib.sha256(request.photo).digest() + fields
        async with once(state, asking, idempotency_key, sent) as claim:
            if made := await _made_before(state, asking, claim):
                response.headers["Idempotency-Replayed"] = "true"
            else:
                made = await make(state, asking, request, keep_photo, player, claim.id)
    response.headers["Location"] = made.links.self
    return made


async def _made_before(state: AppState, asking: Asking, claim: Claim) -> CharacterResponse | None:
    """What came of the request when it came before. Raises ProblemError where that is not there any more."""
    if not claim.begun:
        return None
    try:
        return shown(state, await in_store(state.characters.get, claim.id, asking.caller))
    except problems.ProblemError as problem:
        if claim.made or problem.kind != "unknown-character":
            raise
        return None


@router.post(
    "/characters:batch",
    response_model_exclude_none=True,
    responses=problems.responses(400, 413, 422),
)
async def create_characters(
    state: State,
    asking: Creator,
    photo: Annotated[list[UploadFile], File(description="Photos, a person each.", min_length=1)],
    aligned: Aligned = False,
    keep_photo: KeepPhoto = False,
    player: Annotated[
        list[Annotated[str, Field(max_length=MOST_OF_A_NAME)]],
        Form(description="Whose photo each is, in their order; none at all, or one for each."),
    ] = [],  # noqa: B006
    refine: Refine = None,
) -> Batch:
    """The same of several photos: an answer for each, in order; one that fails does not stop the others."""
    if len(photo) > state.service.batch_photos:
        raise problems.too_large(f"{len(photo)} photos; the limit is {state.service.batch_photos}")

    if player and len(player) != len(photo):
        raise HTTPException(400, f"{len(player)} players for {len(photo)} photos: name one for each, or none")

    async def one(file: UploadFile, whose: str) -> BatchItem:
        try:
            request = PredictRequest(await file.read(), aligned, refine)
            made = await make(state, asking, request, keep_photo, whose)
        except problems.ProblemError as problem:
            return BatchItem(name=file.filename, problem=problem.document())
        return BatchItem(name=file.filename, character=made)

    return Batch(results=list(await asyncio.gather(*map(one, photo, player or [""] * len(photo)))))


@router.post(
    "/characters:person",
    status_code=201,
    response_model_exclude_none=True,
    responses=problems.responses(400, 409, 413, 415, 422, 429, 503),
)
async def create_character_of_person(
    state: State,
    asking: Creator,
    response: Response,
    photo: Annotated[list[UploadFile], File(description="Photos of one person.", min_length=1)],
    aligned: Aligned = False,
    player: Player = "",
    share_corrections: ShareCorrections = False,
    refine: Refine = None,
) -> CharacterResponse:
    """Make one character of several photos of one person: light, pose and expression of one photo weigh less then.
    `photos` says what was found in each; those that cannot be used are left out."""
    if len(photo) > state.service.person_photos:
        raise problems.too_large(f"{len(photo)} photos; the limit is {state.service.person_photos}")
    first, *more = [await file.read() for file in photo]
    shares = share_corrections and state.service.corrections
    request = PredictRequest(first, aligned, refine, features=shares, more=more)
    made = await make(state, asking, request, False, player)
    response.headers["Location"] = made.links.self
    return made


@router.get("/characters/{id:token}", response_model_exclude_none=True, responses=problems.responses(404, 503))
async def get_character(state: State, asking: Reader, id: str, response: Response) -> CharacterResponse:
    """A character as it is now: a character.json that `likeness render`, `export` and `lineage` take. Its ETag can be
    sent as If-Match with a change."""
    return tagged(state, await in_store(state.characters.get, id, asking.caller), response)


@router.patch(
    "/characters/{id:token}",
    response_model_exclude_none=True,
    responses=problems.responses(400, 404, 409, 412, 422, 503),
)
async def edit_character(
    state: State,
    asking: Reader,
    id: str,
    changes: Edit,
    response: Response,
    if_match: Annotated[str | None, Header(description="Only if the character's ETag is one of these still.")] = None,
) -> CharacterResponse:
    """Set some sliders and choices by hand; what is drawn and exported then is the changed character. Changes that come
    together are made one after the other, and none is lost."""
    wanted = {tag.strip() for tag in (if_match or "*").split(",")}

    def change(document: dict[str, Any]) -> dict[str, Any]:
        changed = edited(state, document, changes)
        if state.service.corrections:
            state.corrections.change(id, changed)
        return changed

    record = await in_store(state.characters.change, id, asking.caller, change, lambda etag: bool({"*", etag} & wanted))
    return tagged(state, record, response)


@router.delete("/characters/{id:token}", status_code=204, responses=problems.responses(404, 503))
async def delete_character(state: State, asking: Reader, id: str) -> None:
    """Erase a character, and its photo and what was changed of it if they were kept."""

    def delete() -> None:
        withdrawn = state.corrections.withdraw(id, asking.caller)
        try:
            state.characters.delete(id, asking.caller)
            state.codes.delete_of(id)
        except UnknownCharacter:
            if not withdrawn:  # what is kept of it may be older than the character can be
                raise

    await in_store(delete)
