"""`/v1/characters`: a photo in, a character out, and what becomes of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Header, HTTPException, Query, Request, Response, UploadFile
from pydantic import Field
from starlette.convertors import StringConvertor, register_url_convertor

from engine.character_json import character_document
from engine.schema import SchemaError
from serving import photos, problems
from serving.access import Asking, Creator, Reader, count_photos
from serving.alternatives import alternatives_of, confidence_of, likely_of
from serving.character_store import Caller, ChangedSince, Record, UnknownCharacter
from serving.child_process import ChildDied
from serving.comparisons import Served
from serving.corrections import Correction, Values
from serving.dependencies import AppState, State
from serving.idempotency import Claim, InProgress, KeyReused
from serving.openapi import file
from serving.render_api import FILES, Model, Picture, drawn
from serving.schemas import (
    MOST_OF_A_NAME,
    Alternative,
    Batch,
    BatchItem,
    CharacterResponse,
    CorrectionResponse,
    Edit,
    Links,
)
from serving.workers.model_manager import NoModel, ServedPrediction
from serving.workers.process import BAD, CANNOT, NO_FACE, PredictRequest
from serving.workers.queue import QueueFull
from serving.workers.refiner import RefinementMethod


class Token(StringConvertor):
    """Part of a path without a dot: what follows the dot says in which form a character is asked for."""

    regex = "[^/.]+"


register_url_convertor("token", Token())
router = APIRouter(prefix="/v1", tags=["characters"], responses=problems.responses(401, 403))


Aligned = Annotated[bool, Form(description="The answer has the aligned face as a data URL.")]
Refine = Annotated[
    RefinementMethod | None,
    Query(
        description="Search on from the encoder's answer, for a character more like the photo. `gradient`: by networks "
        "alone, about 0.1 s. `engine`: what the engine draws corrects the search and decides; 0.6 s and more."
    ),
]
AS_YOU_HAVE_IT: dict[int | str, dict[str, Any]] = {304: {"description": "As you have it."}}
Player = Annotated[
    str,
    Form(
        max_length=MOST_OF_A_NAME,
        description="Whose photo it is, in any words of yours: where a share of the players is answered by a new "
        "version (`likeness serve --canary`), each stays with one. Only a digest of it is kept, with the character: "
        "`/v1/players/{player}` lists, exports and erases what belongs to it. Left out with a player's token.",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=MOST_OF_A_NAME,
        description="Any words of yours, new for each photo. Sent again with the same ones within a day, the request "
        "is answered with the character that came of the first, as it is now, and `Idempotency-Replayed: true`; "
        "without the aligned face.",
    ),
]
KeepPhoto = Annotated[bool, Form(description="Keep the photo as long as the character: `GET …/{id}.photo`.")]
ShareCorrections = Annotated[
    bool,
    Form(
        description="The player has agreed that what is changed of this character is kept, to train on: the settings "
        "before and after, and numbers that describe the face; never the photo. With `player`, a digest of it, so that "
        "all of a player's can be erased. Only where the service keeps any (`GET /v1/service`): the answer then has "
        "`links.corrections`, which shows what is kept (GET) and takes it back (DELETE)."
    ),
]


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
            if claim.id:
                made = shown(state, await in_store(state.characters.get, claim.id, asking.caller))
                response.headers["Idempotency-Replayed"] = "true"
            else:
                made = await make(state, asking, request, keep_photo, player)
                claim.id = made.id
    response.headers["Location"] = made.links.self
    return made


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


@router.get(
    "/characters/{id:token}.png",
    response_class=Response,
    responses={200: file(FILES["png"]), **AS_YOU_HAVE_IT, **problems.responses(404, 409, 422, 429, 503)},
)
async def get_png(state: State, request: Request, asking: Reader, id: str, picture: Picture) -> Response:
    """The engine's picture of a character."""
    return await _drawn(state, request, asking, id, "png", **picture.options())


@router.get(
    "/characters/{id:token}.webp",
    response_class=Response,
    responses={200: file(FILES["webp"]), **AS_YOU_HAVE_IT, **problems.responses(404, 409, 422, 429, 503)},
)
async def get_webp(state: State, request: Request, asking: Reader, id: str, picture: Picture) -> Response:
    """The same as WebP, a tenth of the bytes."""
    return await _drawn(state, request, asking, id, "webp", **picture.options())


@router.get(
    "/characters/{id:token}.glb",
    response_class=Response,
    responses={200: file(FILES["glb"]), **AS_YOU_HAVE_IT, **problems.responses(404, 409, 422, 429, 503)},
)
async def get_glb(state: State, request: Request, asking: Reader, id: str, model: Model) -> Response:
    """The character as glTF 2.0, with its textures, and its sliders and face actions as morph targets."""
    return await _drawn(state, request, asking, id, "glb", **model.options())


@router.get(
    "/characters/{id:token}.mhm",
    response_class=Response,
    responses={200: file("text/plain"), **AS_YOU_HAVE_IT, **problems.responses(404, 409, 429, 503)},
)
async def get_mhm(state: State, request: Request, asking: Reader, id: str) -> Response:
    """The character as MakeHuman's own model file."""
    return await _drawn(state, request, asking, id, "mhm")


@router.get(
    "/characters/{id:token}.photo",
    response_class=Response,
    responses={200: file("image/*"), **problems.responses(404, 503)},
)
async def get_photo(state: State, asking: Reader, id: str) -> Response:
    """The photo, where `keep_photo` asked for it to be kept."""
    record = await in_store(state.characters.get, id, asking.caller)
    if not record.media_type:
        raise problems.not_kept()
    content, media_type = await in_store(state.characters.photo, id, asking.caller)
    return Response(content, media_type=media_type)


@router.get(
    "/characters/{id:token}.corrections",
    response_model_exclude_none=True,
    responses=problems.responses(404, 503),
)
async def get_corrections(state: State, asking: Reader, id: str) -> CorrectionResponse:
    """What is kept of what was changed of a character, where the player has agreed to it: all of it."""
    row = await in_store(state.corrections.get, id, asking.caller)
    return CorrectionResponse.model_validate(row.model_dump(exclude={"owner"}))


@router.delete("/characters/{id:token}.corrections", status_code=204, responses=problems.responses(404, 503))
async def withdraw_corrections(state: State, asking: Reader, id: str) -> None:
    """Take the consent back: what was kept is deleted, and erased from what was collected of it; the character stays.
    It works after the character has expired, too."""
    if not await in_store(state.corrections.withdraw, id, asking.caller):
        raise problems.unknown_character()


@router.get("/characters/{id:token}", response_model_exclude_none=True, responses=problems.responses(404, 503))
async def get_character(state: State, asking: Reader, id: str, response: Response) -> CharacterResponse:
    """A character as it is now: a character.json that `likeness render`, `export` and `lineage` take. Its ETag can be
    sent as If-Match with a change."""
    return _tagged(state, await in_store(state.characters.get, id, asking.caller), response)


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
    return _tagged(state, record, response)


@router.delete("/characters/{id:token}", status_code=204, responses=problems.responses(404, 503))
async def delete_character(state: State, asking: Reader, id: str) -> None:
    """Erase a character, and its photo and what was changed of it if they were kept."""

    def delete() -> None:
        withdrawn = state.corrections.withdraw(id, asking.caller)
        try:
            state.characters.delete(id, asking.caller)
        except UnknownCharacter:
            if not withdrawn:  # what is kept of it may be older than the character can be
                raise

    await in_store(delete)


@asynccontextmanager
async def once(state: AppState, asking: Asking, key: str, request: bytes) -> AsyncIterator[Claim]:
    """While the block runs, nobody else has this caller's Idempotency-Key. Raises ProblemError."""
    try:
        whose = " ".join((asking.caller.owner, asking.caller.player)).rstrip()
        async with state.idempotency_keys.once(whose, key, request) as claim:
            yield claim
    except KeyReused as error:
        raise problems.key_reused() from error
    except InProgress as error:
        raise problems.in_progress() from error
    except OSError as error:
        raise _no_storage(error) from error


def _tagged(state: AppState, record: Record, response: Response) -> CharacterResponse:
    response.headers["ETag"] = record.etag
    return shown(state, record)


async def make(
    state: AppState, asking: Asking, request: PredictRequest, keep_photo: bool, player: str
) -> CharacterResponse:
    """A character of a photo, or of several of one person. Raises ProblemError."""
    service, content, caller = state.service, request.photo, asking.of_player(player)
    limits = round(service.photo_megabytes * 1e6), round(service.photo_megapixels * 1e6)
    media_type = await asyncio.to_thread(photos.inspect, content, *limits)
    for another in request.more:
        await asyncio.to_thread(photos.inspect, another, *limits)
    count_photos(state, asking, 1 + len(request.more))
    prediction = await _predict(state, request, caller)
    kept = (content, media_type) if keep_photo else ()
    record = await in_store(state.characters.add, document_of(state, prediction), caller, *kept)
    made = shown(state, record)
    if request.features and prediction.result.features:
        await in_store(state.corrections.add, _uncorrected(record, prediction, request))
        made.links.corrections = f"{made.links.self}.corrections"
    if request.aligned:
        made.aligned = f"data:image/jpeg;base64,{base64.b64encode(prediction.result.aligned).decode()}"
    return made


def _uncorrected(record: Record, prediction: ServedPrediction, request: PredictRequest) -> Correction:
    """The row of a character that nothing is changed in yet."""
    today, inputs = datetime.now(UTC).date(), prediction.release.origin["inputs"]
    return Correction(
        id=record.id,
        owner=record.owner,
        player=record.player,
        consent=True,
        day=today,
        changed=today,
        version=Served.of(prediction.release),
        encoder=inputs.get("encoder", ""),
        recogniser=inputs.get("identity_model", ""),
        character=record.document["character"],
        schema_md5=record.document["schema_md5"],
        refined=request.refine or "",
        features=prediction.result.features,
        before=Values.of(record.document),
    )


async def _predict(state: AppState, request: PredictRequest, caller: Caller) -> ServedPrediction:
    """What the model says of a photo. Raises ProblemError."""
    seconds, outcome = state.service.timeout, "failed"
    try:
        async with asyncio.timeout(seconds):
            prediction = await _by_canary(state, request, caller) or await state.models.predict(request, seconds)
        outcome = prediction.result.kind
    except NoModel as error:
        raise problems.no_model(str(error)) from error
    except QueueFull as error:
        outcome = "refused"
        raise problems.busy(str(error), error.seconds) from error
    except TimeoutError as error:
        outcome = "late"
        raise problems.too_late(f"no answer within {seconds:g} seconds") from error
    except ChildDied as error:
        raise problems.model_died() from error
    finally:
        state.metrics.photos.labels(outcome).inc()
    if prediction.result.kind == NO_FACE:
        raise problems.no_face()
    if prediction.result.kind == BAD:
        raise problems.bad_photo(prediction.result.reason)
    if prediction.result.kind == CANNOT:
        raise problems.cannot_refine(prediction.result.reason)
    if request.refine is None and not request.more:  # a search is for a photo that was read before
        state.statistics.observe(prediction)
    if state.shadow and not request.more:
        state.shadow.offer(request, prediction)
    return prediction


async def _by_canary(state: AppState, request: PredictRequest, caller: Caller) -> ServedPrediction | None:
    """What the version for some of the players says, where this player is among them."""
    pool = state.models.pool
    if state.canary is None or pool is None:
        return None
    # Without a name, who sends the same photo again, to have it searched closer, stays with one version.
    whose = caller.player or hashlib.sha256(request.photo).hexdigest()
    return await state.canary.predict(request, whose, pool.release)


async def _drawn(state: AppState, request: Request, asking: Asking, id: str, form: str, **options: Any) -> Response:
    record = await in_store(state.characters.get, id, asking.caller)
    return await drawn(state, request, record.document, form, **options)


async def in_store(call: Any, *arguments: Any) -> Any:
    """What a call of the store returns; it waits for a disk, so it is made in a thread. Raises ProblemError."""
    try:
        return await asyncio.to_thread(call, *arguments)
    except UnknownCharacter as error:
        raise problems.unknown_character() from error
    except ChangedSince as error:
        raise problems.changed_since() from error
    except OSError as error:
        raise _no_storage(error) from error


def _no_storage(error: OSError) -> problems.ProblemError:
    problems.log.error("the store of characters does not work: %s", error)
    return problems.no_storage()


def document_of(state: AppState, prediction: ServedPrediction) -> dict[str, Any]:
    """The character.json of what a model read."""
    result, release = prediction.result, prediction.release
    document = character_document(
        state.schema.name, prediction.schema_md5, result.named, result.photo, {**release.origin}
    )
    return document | ({"photos": result.photos} if result.photos else {})


def edited(state: AppState, document: dict[str, Any], changes: Edit) -> dict[str, Any]:
    """A document with new values. Raises ProblemError."""
    if document["schema_md5"] not in state.schema_md5s:
        raise problems.cannot_draw("the character creator has changed since this character was made: make it again")
    schema = state.schema
    parameters = document["parameters"] | changes.parameters
    discrete = {**document["discrete"]}
    for group, choice in changes.discrete.items():
        discrete[group] = {**discrete.get(group, {}), "choice": choice}
    try:
        x = schema.from_document(parameters, discrete)
    except SchemaError as error:
        raise problems.bad_edit(str(error)) from error
    touched = {*document.get("edited", []), *changes.parameters, *changes.discrete}
    changed = {**document, "parameters": parameters, "discrete": discrete, "edited": sorted(touched)}
    changed["read"] = _read(document, touched)
    if "engine" in (named := schema.to_document(x)):
        changed["engine"] = named["engine"]
    return changed


def _read(document: dict[str, Any], touched: set[str]) -> dict[str, dict[str, Any]]:
    """What the photo gave for these sliders and groups: as it was before the first change of each."""
    read = document.get("read", {"parameters": {}, "discrete": {}})
    before = {
        "parameters": document["parameters"],
        "discrete": {group: chosen["choice"] for group, chosen in document["discrete"].items()},
    }
    # Of documents that were changed before this was kept, nobody knows it.
    unknown = {*document.get("edited", [])} - {*read["parameters"], *read["discrete"]}
    return {
        kind: {name: value for name, value in values.items() if name in touched - unknown} | read[kind]
        for kind, values in before.items()
    }


def shown(state: AppState, record: Record) -> CharacterResponse:
    """A character as it is answered."""
    here = f"/v1/characters/{record.id}"
    drawable = state.rendering.forms
    parameters, discrete = state.schema.completed(record.document["parameters"], record.document["discrete"])
    links = Links(
        self=here,
        photo=f"{here}.photo" if record.media_type else None,
        **{form: f"{here}.{form}" for form in FILES if form in drawable},
    )
    return CharacterResponse(
        **{**record.document, "parameters": parameters, "discrete": discrete},
        confidence=confidence_of(record.document),
        alternatives=[Alternative(**one) for one in alternatives_of(record.document)],
        likely=likely_of(record.document),
        id=record.id,
        created=record.created,
        expires=record.expires,
        links=links,
    )
