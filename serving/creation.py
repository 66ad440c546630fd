"""A photo becomes a character: it is read by the model in production, and what was read is kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

from engine.character_json import character_document
from serving import photos, problems
from serving.access import Asking, counted_photos
from serving.character_store import Caller, ErasedMeanwhile, Record
from serving.child_process import ChildDied
from serving.comparisons import Served
from serving.corrections import Correction, Values
from serving.dependencies import AppState
from serving.responses import shown
from serving.schemas import CharacterResponse
from serving.store_access import in_store, require_free_disk
from serving.workers.model_manager import NoModel, ServedPrediction
from serving.workers.process import BAD, CANNOT, NO_FACE, PredictRequest
from serving.workers.queue import QueueFull


async def make(
    state: AppState,
    asking: Asking,
    request: PredictRequest,
    keep_photo: bool,
    player: str = "",
    id: str = "",
    accepted: bool = False,
) -> CharacterResponse:
    """A character of a photo, or of several of one person; without an id it gets one. `accepted`: whether there is room
    for the photo was asked before. Raises ProblemError."""
    service, content, caller = state.service, request.photo, asking.of_player(player)
    limits = round(service.photo_megabytes * 1e6), round(service.photo_megapixels * 1e6)
    media_type = await asyncio.to_thread(photos.inspect, content, *limits)
    for another in request.more:
        await asyncio.to_thread(photos.inspect, another, *limits)
    await in_store(state.characters.require_not_erased, caller, asking.begun)
    if keep_photo and not accepted:
        await require_free_disk(state)
    await _require_room(state, asking)
    with counted_photos(state, asking, 1 + len(request.more)):
        prediction = await _predict(state, request, caller)
    _require_read(prediction)
    _observe(state, request, prediction)
    kept = (content, media_type) if keep_photo else (b"", "")
    record = await in_store(state.characters.add, document_of(state, prediction), caller, *kept, id, asking.begun)
    made = shown(state, record)
    if request.features and prediction.result.features:
        await in_store(_keep_uncorrected, state, asking, _uncorrected(record, prediction, request))
        made.links.corrections = f"{made.links.self}.corrections"
    if request.aligned:
        made.aligned = f"data:image/jpeg;base64,{base64.b64encode(prediction.result.aligned).decode()}"
    return made


def _keep_uncorrected(state: AppState, asking: Asking, row: Correction) -> None:
    """Keep a row. Raises ErasedMeanwhile."""
    state.corrections.add(row)
    try:
        state.characters.require_not_erased(Caller(row.owner, row.player), asking.begun)
    except ErasedMeanwhile:  # whoever erased may have looked before this was there
        state.corrections.delete(row.id)
        raise


async def _require_room(state: AppState, asking: Asking) -> None:
    """Raises ProblemError where a player has as many characters as may be."""
    most = state.service.player_characters
    if asking.by_token and len(await in_store(state.characters.of_player, asking.caller)) >= most:
        raise problems.too_many_characters(f"the player has {most}, as many as are kept: delete one first")


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
        expires=record.expires.date(),
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
    """What the model says of a photo. Raises ProblemError where it was not read."""
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
    return prediction


def _require_read(prediction: ServedPrediction) -> None:
    """Raises ProblemError where there is no character in the photo."""
    if prediction.result.kind == NO_FACE:
        raise problems.no_face()
    if prediction.result.kind == BAD:
        raise problems.bad_photo(prediction.result.reason)
    if prediction.result.kind == CANNOT:
        raise problems.cannot_refine(prediction.result.reason)


def _observe(state: AppState, request: PredictRequest, prediction: ServedPrediction) -> None:
    """Count what the photo is like, and have another version read it too."""
    if request.refine is None and not request.more:  # a search is for a photo that was read before
        state.statistics.observe(prediction)
    if state.shadow and not request.more:
        state.shadow.offer(request, prediction)


async def _by_canary(state: AppState, request: PredictRequest, caller: Caller) -> ServedPrediction | None:
    """What the version for some of the players says, where this player is among them."""
    pool = state.models.pool
    if state.canary is None or pool is None:
        return None
    # Without a name, who sends the same photo again, to have it searched closer, stays with one version.
    whose = caller.player or hashlib.sha256(request.photo).hexdigest()
    return await state.canary.predict(request, whose, pool.release)


def document_of(state: AppState, prediction: ServedPrediction) -> dict[str, Any]:
    """The character.json of what a model read."""
    result, release = prediction.result, prediction.release
    document = character_document(
        state.schema.name, prediction.schema_md5, result.named, result.photo, {**release.origin}
    )
    return document | ({"photos": result.photos} if result.photos else {})
