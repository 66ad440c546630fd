"""Every error as a problem document (RFC 9457), in words for whoever asked; what went wrong inside stays in the log."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from serving.schemas import ProblemDetails
from serving.usage import OverLimit, retry_after

MEDIA_TYPE = "application/problem+json"
EXPLANATIONS = {
    "bad-request": "The request cannot be read: a multipart form is cut off, or says another boundary than it has.",
    "invalid": "The request is not what /openapi.json says of it. `detail` names each field that is wrong.",
    "no-key": "Send a key as `Authorization: Bearer <key>`; whoever runs the service makes one: `likeness key add`.",
    "not-allowed": "The key is good, and not for this: it was made with other `--scope`s, or is the token of one "
    "player, who has its own characters alone.",
    "other-site": "A browser sent this for another site's page, or under another name of this machine. Whoever runs "
    "the service names the sites that may: LIKENESS_SERVE_ORIGINS.",
    "unknown-character": "It was never made, has expired, was deleted, or was made with another key.",
    "unknown-code": "It was never made, has expired, was mistyped, or is of a character that another key made.",
    "too-many-codes": "Codes that there are not were asked for again and again. Ask again after the seconds in "
    "Retry-After.",
    "unknown-job": "It never was, was cancelled, is older than its characters, or was made with another key.",
    "photo-not-kept": "A photo is kept only where the request that made the character said keep_photo=true. Of a job: "
    "the photo was gone before it was read.",
    "not-found": "There is nothing at this address: /openapi.json lists what there is.",
    "method-not-allowed": "The address is right, the method is not: the header Allow lists those that are.",
    "changed-since": "Somebody changed the character after you read it. Get it again, and its ETag with it, and send "
    "the change once more.",
    "in-progress": "The first request with this Idempotency-Key is still being answered. Ask again after the seconds "
    "in Retry-After.",
    "erased": "All that is kept of the player was erased while the photo was on its way or being read: nothing was "
    "kept of it. Send it again if the player wants a character after all.",
    "key-reused": "An Idempotency-Key stands for one request. Send a new one with another photo or other fields.",
    "cannot-refine": "The model in production, or the character, has no such search. Leave `refine` out, or ask for "
    "`gradient`.",
    "cannot-draw": "No engine can draw this, or the character creator has changed since the character was made: make "
    "it again from the photo.",
    "too-large": "More bytes, pixels or photos than the service takes. `detail` has the limit.",
    "slow-upload": "The request's body took longer to come than it may, or stopped on its way. Send it again, or fewer "
    "and smaller photos.",
    "not-an-image": "The file is no JPEG, PNG, WebP or HEIC, whatever its name says.",
    "no-face": "Take a photo that shows one face from the front, in good light.",
    "bad-photo": "It is a picture, and cannot be used: damaged, or of a kind that cannot be decoded.",
    "too-many-characters": "The player has as many characters as may be kept. Delete one that is not needed, or wait "
    "until one expires.",
    "bad-edit": "A slider is 0 to 1, a choice one of its group's: /v1/schema lists them.",
    "bad-values": "A slider is 0 to 1, a choice one of its group's: /v1/schema lists them.",
    "busy": "As many requests wait, or bytes come, as may. Ask again after the seconds in Retry-After.",
    "over-limit": "The key, or the player's token, was used as much as it may be: whoever runs the service set how "
    "many requests a minute and photos a day. Ask again after the seconds in Retry-After.",
    "timeout": "It took longer than a request may. Ask again after the seconds in Retry-After.",
    "no-model": "No model is loaded yet, or none is in production. Ask again after the seconds in Retry-After.",
    "no-storage": "The service's disk is full or gone. Whoever runs it finds the reason in its log.",
    "model-died": "Reading this photo ended the process that did it. Use another photo; the log says more.",
    "internal": "A fault of the service. Its log has it under the answer's `instance`.",
}
"""Of each kind: what it is and what helps, for whoever opens the address that is its type."""
log = logging.getLogger("likeness.serving")


class ProblemError(HTTPException):
    """An answer that is no success.

    `kind`: the last part of the problem's type, a word that programs can tell problems apart by. An HTTPException, so
    that it passes through FastAPI's reading of a request's body.
    """

    def __init__(
        self, status: int, kind: str, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, detail, headers)
        self.kind, self.title = kind, title

    def document(self, instance: str | None = None) -> ProblemDetails:
        """The problem as it is answered; `instance` names the request."""
        return ProblemDetails(
            type=f"/problems/{self.kind}",
            title=self.title,
            status=self.status_code,
            detail=self.detail,
            instance=instance,
        )


# One for each kind of problem. Those whose detail is not here are called with it.
no_face = partial(
    ProblemError, 422, "no-face", "No face", "no face was found in the photo: take one that shows it from the front"
)
bad_photo = partial(ProblemError, 422, "bad-photo", "Not a photo that can be used")
not_an_image = partial(ProblemError, 415, "not-an-image", "Not a picture")
slow_upload = partial(ProblemError, 408, "slow-upload", "The upload took too long", headers={"Connection": "close"})
too_large = partial(ProblemError, 413, "too-large", "Too large")
unknown_character = partial(
    ProblemError, 404, "unknown-character", "No such character", "it was never made, has expired or was deleted"
)
unknown_code = partial(
    ProblemError, 404, "unknown-code", "No such code", "it was never made, has expired or was mistyped"
)
unknown_job = partial(ProblemError, 404, "unknown-job", "No such job", "it never was, is too old, or was cancelled")
not_kept = partial(
    ProblemError,
    404,
    "photo-not-kept",
    "The photo was not kept",
    "a photo is kept only where the request says keep_photo=true",
)
photo_gone = partial(
    ProblemError,
    404,
    "photo-not-kept",
    "The photo is gone",
    "what its player has was erased before it was read, or the disk lost it: send it again",
)
too_many_characters = partial(ProblemError, 409, "too-many-characters", "Too many characters")
bad_edit = partial(ProblemError, 422, "bad-edit", "The character cannot be changed so")
bad_values = partial(ProblemError, 422, "bad-values", "These values do not fit the character")
key_reused = partial(
    ProblemError,
    422,
    "key-reused",
    "The Idempotency-Key was used before",
    "it came with another photo, or other fields, within the last day: a new request needs a new key",
)
in_progress = partial(
    ProblemError,
    409,
    "in-progress",
    "The first request is still being answered",
    "a request with this Idempotency-Key is at work: ask again after the time in Retry-After",
    {"Retry-After": "1"},
)
erased = partial(
    ProblemError,
    409,
    "erased",
    "The player was erased meanwhile",
    "all that is kept of the player was erased after this request began, and nothing was kept of it",
)
changed_since = partial(
    ProblemError,
    412,
    "changed-since",
    "The character has changed",
    "it is not any more what If-Match names: get it again, and its ETag with it",
)
cannot_refine = partial(ProblemError, 409, "cannot-refine", "This cannot be refined so")
cannot_draw = partial(ProblemError, 409, "cannot-draw", "This cannot be drawn")
no_key = partial(
    ProblemError,
    401,
    "no-key",
    "An API key is needed",
    "send it as `Authorization: Bearer <key>`; `likeness key add NAME` makes one",
    {"WWW-Authenticate": "Bearer"},
)
not_allowed = partial(ProblemError, 403, "not-allowed", "The key is not for this")
other_site = partial(
    ProblemError, 403, "other-site", "Another site's page asks", "LIKENESS_SERVE_ORIGINS names sites that may"
)
model_died = partial(
    ProblemError,
    500,
    "model-died",
    "The model died",
    "reading this photo ended the process that did it: use another photo",
)
no_model = partial(ProblemError, 503, "no-model", "No model is loaded", headers={"Retry-After": "10"})
no_storage = partial(
    ProblemError,
    503,
    "no-storage",
    "Nothing can be stored",
    "the service's disk is full or gone",
    {"Retry-After": "60"},
)
internal = partial(ProblemError, 500, "internal", "Something went wrong here", "it was logged")


def other_name(host: str) -> ProblemError:
    """The service was asked under a name that is not this machine's own."""
    detail = (
        f"without API keys the service answers to this machine's own names only, not to {host}: name a file of keys"
    )
    return ProblemError(403, "other-site", "It was asked under another name", detail)


def busy(reason: str, seconds: float) -> ProblemError:
    """Too many wait already; there may be room after so many seconds."""
    detail, after = f"{reason}: ask again after the time in Retry-After", str(max(1, math.ceil(seconds)))
    return ProblemError(429, "busy", "Too much at once", detail, {"Retry-After": after})


def over_limit(error: OverLimit) -> ProblemError:
    """The key's limit is reached, or its player's."""
    return ProblemError(429, "over-limit", "The limit is reached", str(error), {"Retry-After": retry_after(error)})


def too_many_codes(seconds: float) -> ProblemError:
    """So many wrong codes that the next has to wait for so long."""
    detail, after = "wait for the time in Retry-After before the next one", str(math.ceil(seconds))
    return ProblemError(429, "too-many-codes", "Too many wrong codes", detail, {"Retry-After": after})


def too_late(reason: str) -> ProblemError:
    """It took longer than a request may."""
    return ProblemError(503, "timeout", "It took too long", f"{reason}: ask again later", {"Retry-After": "5"})


def respond(request: Request, problem: ProblemError) -> JSONResponse:
    """The answer for a problem."""
    request.state.problem = problem.kind  # for the access log
    document = problem.document(getattr(request.state, "request_id", None))
    return _Escaped(document.model_dump(), problem.status_code, problem.headers, MEDIA_TYPE)


class _Escaped(JSONResponse):
    """JSON in ASCII: a reason may repeat what was sent, half a surrogate pair too, which UTF-8 has no bytes for."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


def install(app: FastAPI) -> None:
    """Have every error of an application answered by a problem document."""

    async def own(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ProblemError)
        return respond(request, error)

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        title, headers = HTTPStatus(error.status_code).phrase, dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(app, request.url.path))
        kind = title.lower().replace(" ", "-")
        return respond(request, ProblemError(error.status_code, kind, title, str(error.detail), headers))

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return respond(request, ProblemError(422, "invalid", "The request is not valid", _told(error)))

    app.add_exception_handler(ProblemError, own)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def _methods(app: FastAPI, path: str) -> list[str]:
    """What may be asked of a path: each of an application's routes knows its own methods only; HEAD goes with GET."""
    routes = (
        route for one in app.routes for route in getattr(getattr(one, "original_router", None), "routes", None) or [one]
    )
    matching = (route for route in routes if isinstance(route, Route) and route.path_regex.match(path))
    methods = {method for route in matching for method in route.methods or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _told(error: RequestValidationError) -> str:
    parts = (f"{'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}" for wrong in error.errors())
    return "; ".join(parts)


def content() -> dict[str, Any]:
    """What OpenAPI says of a problem's form."""
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the problems that an operation may answer with."""
    return {status: {"description": HTTPStatus(status).phrase, "content": content()} for status in statuses}
