"""A character.json as one of the files that it can be drawn as: entity tags, compression, options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query, Request, Response

from serving import problems
from serving.dependencies import AppState
from serving.entity_tags import has, tag_of, unpacked
from serving.rendering.errors import Busy, CannotDraw, NoAnswer
from serving.schemas import AvatarQuery, ModelQuery, PictureQuery

GLTF = "model/gltf-binary"
FILES = {"png": "image/png", "webp": "image/webp", "glb": GLTF, "vrm": GLTF, "mhm": "text/plain; charset=utf-8"}
COMPRESSED = ("glb", "vrm", "mhm")
"""What is smaller by gzip."""
Picture = Annotated[PictureQuery, Query()]
Model = Annotated[ModelQuery, Query()]
Avatar = Annotated[AvatarQuery, Query()]


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
