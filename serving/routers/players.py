"""`/v1/tokens` and `/v1/players`: what a game does for one of its players."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from serving import problems
from serving.access import Host
from serving.character_store import Caller
from serving.dependencies import AppState, State
from serving.job_store import Job
from serving.openapi import file
from serving.responses import shown
from serving.schemas import MOST_OF_A_NAME, Erased, PlayerCharacters, TokenRequest, TokenResponse
from serving.store_access import in_store

router = APIRouter(prefix="/v1", tags=["players"], responses=problems.responses(401, 403, 429, 503))
Player = Annotated[
    str,
    Path(
        min_length=1, max_length=MOST_OF_A_NAME, description="As the game named the player when characters were made."
    ),
]


@router.post("/tokens", status_code=201, responses=problems.responses(400, 422))
async def create_token(state: State, asking: Host, wanted: TokenRequest) -> TokenResponse:
    """A short-lived token for one player: the page takes it in the place of a key, and it is for this player's
    characters alone. It is never worth more than the key that made it."""
    lives = timedelta(seconds=wanted.seconds)
    key = asking.key.digest if asking.key else ""
    token, expires = await in_store(state.tokens.make, asking.of_player(wanted.player), lives, key)
    return TokenResponse(token=token, expires=expires)


@router.get("/players/{player:path}/characters", response_model_exclude_none=True)
async def list_characters(state: State, asking: Host, player: Player) -> PlayerCharacters:
    """All characters of a player that have not expired, the oldest first."""
    records = await in_store(state.characters.of_player, asking.of_player(player))
    return PlayerCharacters(characters=[shown(state, record) for record in records])


@router.get("/players/{player:path}/export", response_class=Response, responses={200: file("application/zip")})
async def export_player(state: State, asking: Host, player: Player) -> Response:
    """All that is kept of a player, as a .zip: each character's document, its photo where that was kept, what was kept
    of changes, and what jobs have of the player."""
    content = await in_store(_packed, state, asking.of_player(player))
    headers = {"Content-Disposition": 'attachment; filename="player.zip"'}
    return Response(content, media_type="application/zip", headers=headers)


@router.delete("/players/{player:path}/characters")
async def erase_player(state: State, asking: Host, player: Player) -> Erased:
    """Erase all that is kept of a player: characters, photos, what was kept of changes and in jobs, and tokens, which
    are good for nothing from now on. What was sent before and is being read becomes no character. What a model learnt
    of changes before is taken back by `likeness forget`."""
    return await in_store(_erased, state, asking.of_player(player))


def _erased(state: AppState, caller: Caller) -> Erased:
    tokens = state.tokens.delete_of(caller)  # first: nobody makes new characters meanwhile
    # Then the characters: what others have begun to make of the player comes to nothing from here on.
    characters = state.characters.erase_player(caller)
    for id in characters:
        state.codes.delete_of(id)
    state.jobs.erase_player(caller)
    corrections = sum(state.corrections.withdraw(row.id, caller) for row in state.corrections.of_player(caller))
    return Erased(characters=len(characters), corrections=corrections, tokens=tokens)


def _packed(state: AppState, caller: Caller) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for record in state.characters.of_player(caller):
            kept = shown(state, record).model_dump(mode="json", exclude_none=True)
            file.writestr(f"{record.id}/character.json", _text(kept))
            if record.media_type:
                content, media_type = state.characters.photo(record.id, caller)
                file.writestr(f"{record.id}/photo.{media_type.rpartition('/')[2]}", content, zipfile.ZIP_STORED)
        for row in state.corrections.of_player(caller):
            file.writestr(f"{row.id}/corrections.json", _text(row.model_dump(mode="json", exclude={"owner"})))
        if jobs := [_in_job(job, numbers) for job, numbers in state.jobs.store.of_player(caller)]:
            file.writestr("jobs.json", _text(jobs))
    return archive.getvalue()


def _in_job(job: Job, numbers: Sequence[int]) -> dict[str, Any]:
    """What a job has of a player: photos by these numbers, and what became of them so far."""
    results = dict(enumerate(job.results))
    photos = [{"name": job.names[number], **results.get(number, {})} for number in numbers]
    return {"id": job.id, "created": job.created, "photos": photos}


def _text(document: Any) -> str:
    return json.dumps(document, indent=2) + "\n"
