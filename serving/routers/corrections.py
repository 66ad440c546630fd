"""`/v1/characters/{id}.corrections`: what is kept of what a player changed, and its withdrawal."""

from __future__ import annotations

from fastapi import APIRouter

from serving import problems
from serving.access import Reader
from serving.dependencies import State
from serving.schemas import CorrectionResponse
from serving.store_access import in_store

router = APIRouter(prefix="/v1", tags=["characters"], responses=problems.responses(401, 403))


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
