"""`/v1/characters/{id}.png` and other forms: a character's picture and files, and its photo."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from serving import problems
from serving.access import Asking, Reader
from serving.dependencies import AppState, State
from serving.file_responses import FILES, Avatar, Model, Picture, drawn
from serving.openapi import file
from serving.store_access import in_store

router = APIRouter(prefix="/v1", tags=["characters"], responses=problems.responses(401, 403))


AS_YOU_HAVE_IT: dict[int | str, dict[str, Any]] = {304: {"description": "As you have it."}}


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
    "/characters/{id:token}.vrm",
    response_class=Response,
    responses={200: file(FILES["vrm"]), **AS_YOU_HAVE_IT, **problems.responses(404, 409, 422, 429, 503)},
)
async def get_vrm(state: State, request: Request, asking: Reader, id: str, avatar: Avatar) -> Response:
    """The character as VRM 1.0 for avatar programs: the same on the bones of a whole body, with expressions, the look
    and terms of use."""
    return await _drawn(state, request, asking, id, "vrm", **avatar.options())


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


async def _drawn(state: AppState, request: Request, asking: Asking, id: str, form: str, **options: Any) -> Response:
    record = await in_store(state.characters.get, id, asking.caller)
    return await drawn(state, request, record.document, form, **options)
