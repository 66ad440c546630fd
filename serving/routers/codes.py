"""`/v1/codes`: a short code for a character, to be read aloud or typed into the game."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from serving import problems
from serving.access import Asking, Reader
from serving.character_store import Record, UnknownCharacter
from serving.dependencies import State
from serving.responses import tagged
from serving.schemas import CharacterResponse, CodeRequest, CodeResponse
from serving.store_access import in_store

WRONG_A_MINUTE, WRONG_OF_A_KEY = 10, 300
"""Wrong codes of one player, or one address where no keys are asked for; and of a key, which asks for many players."""
router = APIRouter(prefix="/v1", tags=["codes"], responses=problems.responses(401, 403, 404, 429, 503))
Code = Annotated[
    str, Path(max_length=32, description="Case, hyphens and spaces do not matter.", examples=["K7M2-QX9D"])
]


@router.post("/characters/{id:token}.code", status_code=201, responses=problems.responses(422))
async def create_code(
    state: State, asking: Reader, id: str, response: Response, wanted: CodeRequest | None = None
) -> CodeResponse:
    """A short code for a character, to be read aloud or typed into the game; it ends with the character at the latest.
    A character has one code: it is the same one again while half of the time is left of it."""
    lives = timedelta(seconds=(wanted or CodeRequest()).seconds)

    def make() -> CodeResponse:
        record = state.characters.get(id, asking.caller)
        made = state.codes.make(record.id, lives, record.expires)
        return CodeResponse(code=str(made), expires=made.expires)

    made = await in_store(make)
    response.headers["Location"] = f"/v1/codes/{made.code}"
    return made


@router.get("/codes/{code}", response_model_exclude_none=True)
async def get_character_by_code(
    state: State, request: Request, asking: Reader, code: Code, response: Response
) -> CharacterResponse:
    """The character of a code, for who may see it. After some wrong codes in a minute the next has to wait."""
    who, per_minute = _guesser(request, asking)
    if seconds := state.wrong_codes.wait(who, per_minute):
        raise problems.too_many_codes(seconds)

    def find() -> Record | None:
        id = state.codes.find(code)
        try:
            return state.characters.get(id, asking.caller) if id else None
        except UnknownCharacter:
            return None

    record = await in_store(find)
    if record is None:
        state.wrong_codes.spend(who, per_minute)
        raise problems.unknown_code()
    return tagged(state, record, response)


def _guesser(request: Request, asking: Asking) -> tuple[str, int]:
    """Whose wrong codes are counted together, and how many there may be in a minute."""
    caller = asking.caller
    if caller.player:
        return f"player {caller.owner} {caller.player}", WRONG_A_MINUTE
    if asking.key:
        return f"key {caller.owner}", WRONG_OF_A_KEY
    return f"address {_network(request.client.host if request.client else '')}", WRONG_A_MINUTE


def _network(host: str) -> str:
    """An address; of IPv6 the network, of which anybody has all addresses."""
    try:
        return str(ipaddress.ip_network((host, 64), strict=False)) if ":" in host else host
    except ValueError:
        return host
