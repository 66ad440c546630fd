"""`/v1/render…`: characters by their values alone, drawn and exported without being kept."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from serving import problems
from serving.access import asks_for
from serving.dependencies import State
from serving.file_responses import FILES, Avatar, Model, Picture, drawn
from serving.openapi import file
from serving.schemas import CharacterValues
from serving.values import document_of

router = APIRouter(
    prefix="/v1", tags=["render"], responses=problems.responses(401, 403), dependencies=[asks_for("draw")]
)
PROBLEMS = problems.responses(400, 409, 413, 422, 429, 503)


@router.post("/render.png", response_class=Response, responses={200: file(FILES["png"]), **PROBLEMS})
async def render_png(state: State, request: Request, values: CharacterValues, picture: Picture) -> Response:
    """The engine's picture of a `character.json`, or of parameters and choices alone; what is not named is neutral.
    Nothing is kept."""
    return await drawn(state, request, document_of(state, values), "png", **picture.options())


@router.post("/render.webp", response_class=Response, responses={200: file(FILES["webp"]), **PROBLEMS})
async def render_webp(state: State, request: Request, values: CharacterValues, picture: Picture) -> Response:
    """The same as WebP, a tenth of the bytes."""
    return await drawn(state, request, document_of(state, values), "webp", **picture.options())


@router.post("/render.glb", response_class=Response, responses={200: file(FILES["glb"]), **PROBLEMS})
async def render_glb(state: State, request: Request, values: CharacterValues, model: Model) -> Response:
    """The same as glTF 2.0, with textures, and with sliders and face actions as morph targets."""
    return await drawn(state, request, document_of(state, values), "glb", **model.options())


@router.post("/render.vrm", response_class=Response, responses={200: file(FILES["vrm"]), **PROBLEMS})
async def render_vrm(state: State, request: Request, values: CharacterValues, avatar: Avatar) -> Response:
    """The same as VRM 1.0 for avatar programs."""
    return await drawn(state, request, document_of(state, values), "vrm", **avatar.options())


@router.post("/render.mhm", response_class=Response, responses={200: file("text/plain"), **PROBLEMS})
async def render_mhm(state: State, request: Request, values: CharacterValues) -> Response:
    """The same as MakeHuman's own model file."""
    return await drawn(state, request, document_of(state, values), "mhm")
