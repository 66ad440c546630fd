"""`/v1/schema` and `/v1/figure/…`: what a client needs to draw a character.

None of it is about a person, so it needs no key and may be kept by anybody.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from fastapi import APIRouter, HTTPException, Query, Request, Response

from serving.entity_tags import has, tag_of, unpacked
from serving.rendering.errors import Busy, CannotDraw, NoAnswer
from serving.rendering.schema_document import FIGURE_URL, SchemaDocument, Targets, Texture
from serving.rendering.service import RenderService

THUMBNAIL = f"{FIGURE_URL}/thumbnails/{{group}}/{{choice}}.jpg"
PIECE, TEXTURE = f"{FIGURE_URL}/{{name}}.glb", f"{FIGURE_URL}/{{name}}.{{form}}"
FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
MEDIA = {"glb": "model/gltf-binary", "jpg": "image/jpeg", "webp": "image/webp"}
RETRY_AFTER_FAILURE = 5  # seconds
Found = TypeVar("Found")


def routes(rendering: RenderService) -> APIRouter:
    """The router, over a rendering that the service enters and leaves."""
    router = APIRouter(tags=["figure"])

    @router.get("/v1/schema", response_model=SchemaDocument, responses=_answers("application/json", kinds=(503,)))
    async def schema(request: Request) -> Response:
        """All that a client can set, in people's words, and where it finds geometry and pictures."""
        content = (await _got(rendering.document())).model_dump_json().encode()
        headers = {"ETag": tag_of(content), "Cache-Control": ASK_AGAIN, "Vary": "Accept-Encoding"}
        if has(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return unpacked(request, gzip.compress(content, mtime=0), "application/json", headers)

    @router.get(THUMBNAIL, response_class=Response, responses=_answers(MEDIA["jpg"]))
    async def thumbnail(request: Request, group: str, choice: str, v: str | None = VERSION) -> Response:
        """A picture of one choice, 160 pixels wide."""
        document = await _got(rendering.document())
        _choice(document, group, choice)
        if not rendering.forms:
            raise HTTPException(404, f"nothing can draw {document.character}")
        return await _cached(request, rendering, "jpg", v, "thumbnail", group=group, choice=choice)

    @router.get(PIECE, response_class=Response, responses=_answers(MEDIA["glb"]))
    async def piece(request: Request, name: str, targets: Targets = "sliders", v: str | None = VERSION) -> Response:
        """Geometry: `head`, or what is worn for a choice (`hair.glb?hair=bob01`), on the template, with the morph
        targets of all sliders; with `targets=actions` those of the face actions instead. `/v1/schema` says which pieces
        there are."""
        document = await _got(rendering.document())
        found = {piece.name: piece for piece in document.figure.pieces}.get(name) if document.figure else None
        if found is None:
            raise HTTPException(404, f"{document.character} has no piece {name!r}")
        choice = None if found.group is None else _asked(request, document, found.group)
        if choice in found.absent:
            raise HTTPException(404, f"there is no {name} for {choice!r}")
        if targets == "actions" and found.actions is None:
            raise HTTPException(404, f"{name} does not follow face actions")
        more = {"targets": targets} if targets == "actions" else {}
        return await _cached(request, rendering, "glb", v, "piece", name=name, choice=choice, **more)

    @router.get(TEXTURE, response_class=Response, responses=_answers(MEDIA["jpg"], MEDIA["webp"]))
    async def texture(request: Request, name: str, form: str, v: str | None = VERSION) -> Response:
        """A picture of a piece's material (`skin.jpg?skin=tone2&beard=full&age=0.25`). `/v1/schema` says which there
        are and what each depends on; what is not given is neutral."""
        document = await _got(rendering.document())
        found = {texture.name: texture for texture in document.figure.textures}.get(name) if document.figure else None
        if found is None or _form(found) != form:
            raise HTTPException(404, f"{document.character} has no picture {name}.{form}")
        choices = {group: _asked(request, document, group) for group in found.groups}
        if lacking := [group for group, absent in found.absent.items() if choices[group] in absent]:
            raise HTTPException(404, f"there is no picture of {name} for {choices[lacking[0]]!r}")
        sliders = {rounded.name: _value(request, document, rounded.name, rounded.step) for rounded in found.sliders}
        return await _cached(request, rendering, form, v, "texture", name=name, choices=choices, sliders=sliders)

    return router


VERSION = Query(None, description="the version that `/v1/schema` names; with it, the answer never changes")


def _answers(*media: str, kinds: tuple[int, ...] = (404, 422, 503)) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of answers. Problems are described by the service."""
    words = {
        304: "As you have it.",
        404: "There is no such thing, or not in this version.",
        422: "A value is not valid.",
        503: "The engine is starting, or too many wait: ask again after Retry-After.",
    }
    return {
        200: {"content": {kind: {} for kind in media}},
        **{kind: {"description": words[kind]} for kind in (304, *kinds)},
    }


async def _got(answer: Awaitable[Found]) -> Found:
    try:
        return await answer
    except CannotDraw as error:
        raise HTTPException(404, str(error)) from error
    except Busy as error:
        raise HTTPException(503, str(error), {"Retry-After": str(error.retry_after)}) from error
    except NoAnswer as error:
        raise HTTPException(503, str(error), {"Retry-After": str(RETRY_AFTER_FAILURE)}) from error


async def _cached(
    request: Request, rendering: RenderService, form: str, v: str | None, draw: str, **given: Any
) -> Response:
    """What was drawn, now or earlier; nothing is drawn for a client that has it."""
    version = (await rendering.document()).version
    if v not in (None, version):
        raise HTTPException(404, "the figure has changed: read /v1/schema again")
    tag = tag_of(repr((version, draw, given)).encode())
    headers = {"ETag": tag, "Cache-Control": FOR_EVER if v else ASK_AGAIN}
    compressed = form == "glb"
    if compressed:
        headers["Vary"] = "Accept-Encoding"
    if has(request, tag):
        return Response(status_code=304, headers=headers)
    content = await _got(rendering.cached(draw, compressed=compressed, **given))
    if compressed:
        return unpacked(request, content, MEDIA[form], headers)
    return Response(content, media_type=MEDIA[form], headers=headers)


def _form(texture: Texture) -> str:
    return texture.url.partition("?")[0].rpartition(".")[2]


def _asked(request: Request, document: SchemaDocument, group: str) -> str:
    """The choice of a group in the query, or the neutral one."""
    neutral = next(found.neutral for found in document.groups if found.name == group)
    choice = request.query_params.get(group, neutral)
    _choice(document, group, choice)
    return choice


def _choice(document: SchemaDocument, group: str, choice: str) -> None:
    """Raises HTTPException where a group has no such choice."""
    known: Mapping[str, set[str]] = {found.name: {c.name for c in found.choices} for found in document.groups}
    if choice not in known.get(group, ()):
        raise HTTPException(404, f"{document.character} has no {group} {choice!r}")


def _value(request: Request, document: SchemaDocument, slider: str, step: float) -> float:
    """A slider's value in the query, or its neutral one, rounded to a step."""
    neutral = next(found.neutral for found in document.sliders if found.name == slider)
    text = request.query_params.get(slider, str(neutral))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise HTTPException(422, f"{slider} is a number in [0, 1], not {text!r}")
    return round(round(value / step) * step, 2)
