"""Characters by their values alone: drawn and exported without being kept, and random ones to begin with."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from engine.character_json import FORMAT
from engine.schema import Schema, SchemaError
from serving import problems
from serving.access import asks_for
from serving.dependencies import AppState, State
from serving.entity_tags import has, tag_of, unpacked
from serving.openapi import file
from serving.presets import described, random_near
from serving.rendering.errors import Busy, CannotDraw, NoAnswer
from serving.schemas import (
    MOST_SEEDS,
    AvatarQuery,
    CharacterValues,
    ModelQuery,
    PictureQuery,
    Presets,
    RandomCharacter,
    RandomQuery,
)

GLTF = "model/gltf-binary"
FILES = {"png": "image/png", "webp": "image/webp", "glb": GLTF, "vrm": GLTF, "mhm": "text/plain; charset=utf-8"}
COMPRESSED = ("glb", "vrm", "mhm")
"""What is smaller by gzip."""
Picture = Annotated[PictureQuery, Query()]
Model = Annotated[ModelQuery, Query()]
Avatar = Annotated[AvatarQuery, Query()]
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


@router.get("/random", response_model_exclude_none=True, responses=problems.responses(422))
async def random_character(
    state: State,
    seed: Annotated[int | None, Query(ge=0, lt=MOST_SEEDS, description="The same seed gives the same one.")] = None,
    preset: Annotated[str | None, Query(description="A name of `/v1/presets`: somebody like that.")] = None,
) -> RandomCharacter:
    """A random person, as likely as in a crowd: something to begin with without a photo. Nothing is kept."""
    return _random(state, RandomQuery(seed=seed, preset=preset))


@router.post("/random", response_model_exclude_none=True, responses=problems.responses(400, 422))
async def random_character_with(state: State, decided: RandomQuery) -> RandomCharacter:
    """The same where some is decided: these sliders and choices are as they are sent, the rest is drawn anew, as it is
    in people who are about so."""
    return _random(state, decided)


@router.get("/presets")
async def list_presets(state: State) -> Presets:
    """Characters and looks to begin with: those that make sense for this character creator."""
    return Presets.model_validate({"presets": described(list(state.presets.values()))})


def _random(state: AppState, decided: RandomQuery) -> RandomCharacter:
    """Raises ProblemError."""
    schema, seed = state.schema, secrets.randbelow(MOST_SEEDS) if decided.seed is None else decided.seed
    parameters, discrete = decided.parameters, decided.discrete
    if decided.preset is not None:
        preset = state.presets.get(decided.preset)
        if preset is None:
            raise problems.bad_values(f"there is no preset {decided.preset}: there are {', '.join(state.presets)}")
        parameters, discrete = {**preset.parameters, **parameters}, {**preset.discrete, **discrete}
    document_of(state, CharacterValues(parameters=parameters, discrete={**discrete}))  # that they fit
    x = random_near(schema, seed, parameters, discrete)
    return RandomCharacter(
        format=FORMAT, character=schema.name, schema_md5=state.schema_md5, seed=seed, **schema.to_document(x)
    )


def document_of(state: AppState, values: CharacterValues) -> dict[str, Any]:
    """What is drawn of values: those of today's schema unless they name another. Raises ProblemError."""
    document = values.document(state.schema.name, state.schema_md5)
    if document["schema_md5"] not in state.schema_md5s:
        return document  # what draws it says what is wrong
    parameters, discrete = neutral(state.schema)
    document |= {"parameters": parameters | document["parameters"], "discrete": discrete | document["discrete"]}
    try:
        state.schema.from_document(document["parameters"], document["discrete"])
    except SchemaError as error:
        raise problems.bad_values(str(error)) from error
    return document


def neutral(schema: Schema) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """`parameters` and `discrete` of the neutral character."""
    document = schema.to_document(schema.neutral())
    return document["parameters"], document["discrete"]


async def drawn(state: AppState, request: Request, document: Mapping[str, Any], form: str, **options: Any) -> Response:
    """A character.json in one of FILES; nothing is drawn for a client that has it. Raises ProblemError."""
    shown = "inline" if FILES[form].startswith("image/") else "attachment"
    headers = {"Content-Disposition": f'{shown}; filename="character.{form}"'}
    compressed = form in COMPRESSED
    try:
        version = (await state.rendering.document()).version
        headers["ETag"] = tag_of(json.dumps([version, form, document, options], sort_keys=True).encode())
        headers |= {"Vary": "Accept-Encoding"} if compressed else {}
        if request.method == "GET" and has(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        content = await state.rendering.draw(form, document, compressed=compressed, **options)
    except CannotDraw as error:
        raise problems.cannot_draw(str(error)) from error
    except Busy as error:
        raise problems.busy(str(error), error.retry_after) from error
    except NoAnswer as error:
        raise problems.too_late(str(error)) from error
    if compressed:
        return unpacked(request, content, FILES[form], headers)
    return Response(content, media_type=FILES[form], headers=headers)
