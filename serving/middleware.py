"""What every request passes through: its id, its body's limits, whose key and page it comes from, headers, counting."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import problems
from serving.access_log import AccessLog
from serving.keys import Scope as KeyScope
from serving.metrics import Metrics
from serving.uploads import Uploads, too_large

SMALL = 1_000_000
API = "/v1/"
"""Below it whoever changes or sends something needs a key, where keys are asked for."""
PAGE = "/"
PERSONAL = ("/v1/characters", "/v1/players", "/v1/tokens", "/v1/jobs", "/v1/codes")
"""What begins so is about somebody, and stored nowhere on its way."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Limits:
    """What is let in."""

    bodies: Mapping[str, int]
    """Bytes of a request's body, by path, of what makes characters; SMALL for all others."""
    origins: Collection[str]
    """Other sites whose pages may change something."""
    names: Collection[str]
    """Names under which the service may be asked; none: any. A page whose own name is made to point here could read
    all answers otherwise (DNS rebinding)."""


class RequestMiddleware:
    """An ASGI middleware: every request within its limits, every answer with its headers, all of them counted."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        limits: Limits,
        uploads: Uploads,
        authorize: Callable[[Request, Collection[KeyScope]], Awaitable[Any]],
        frames: Collection[str] = (),
        log: AccessLog | None = None,
    ) -> None:
        """`authorize`: raises ProblemError where a request's key or token is not for this; `frames`: sites whose pages
        may show the page in a frame."""
        self.uploads, self.authorize = uploads, authorize
        self.app, self.metrics, self.limits, self.log = app, metrics, limits, log
        self.framed = " ".join(frames) or "'none'"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, size = time.perf_counter(), 0, 0
        id = secrets.token_hex(8)
        scope.setdefault("state", {}).update(request_id=id, begun=datetime.now(UTC))

        async def answer(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(message, id, scope["path"])
            size += len(message.get("body", b""))
            await send(message)

        try:
            announced = self._check(scope)
            await self._authorize(scope)
            with self.uploads.receiving(receive, self._most_bytes(scope), announced) as received:
                await self.app(scope, received, answer)
        except problems.ProblemError as problem:
            await problems.respond(Request(scope), problem)(scope, receive, answer)
        except Exception as error:
            problems.log.error("request %s failed", id, exc_info=error)
            if status:
                raise  # the answer has begun: the connection has to be broken
            await problems.respond(Request(scope), problems.internal())(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - begun
            self._count(scope, status, seconds)
            if self.log:
                self.log.write(scope, status, seconds, size)

    def _check(self, scope: Scope) -> int:
        """The bytes that a request's body is said to have. Raises ProblemError where it may not be let in."""
        headers = Headers(scope=scope)
        length, most = headers.get("content-length", ""), self._most_bytes(scope)
        announced = int(length) if length.isdigit() else 0
        if announced > most:
            raise too_large(most)
        host = headers.get("host", "")
        if self.limits.names and urlsplit(f"//{host}").hostname not in self.limits.names:
            raise problems.other_name(host)
        origin = headers.get("origin")
        if scope["method"] in SAFE_METHODS or origin is None or origin in self.limits.origins:
            return announced
        # A browser says whose page asks. Without keys, any page that a player has open could use the service otherwise.
        if urlsplit(origin).netloc != host:
            raise problems.other_site()
        return announced

    async def _authorize(self, scope: Scope) -> None:
        """Before the body is read: routes ask who it is of only once it is in memory. Raises ProblemError."""
        path = scope["path"]
        if scope["method"] not in SAFE_METHODS and path.startswith(API):
            await self.authorize(Request(scope), ("create",) if path in self.limits.bodies else ())

    def _most_bytes(self, scope: Scope) -> int:
        return self.limits.bodies.get(scope["path"], SMALL)

    def _add_headers(self, message: Message, id: str, path: str) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-ID"] = id
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        # The page alone may be in a frame: what else is answered shows nothing to click on.
        ancestors = self.framed if path == PAGE else "'none'"
        headers["Content-Security-Policy"] = f"{CONTENT_POLICY}; frame-ancestors {ancestors}"
        if path.startswith(PERSONAL):
            headers["Cache-Control"] = "no-store"

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's pattern: a label for every path would be one for every character.
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(route, status).inc()
        self.metrics.seconds.labels(route).observe(seconds)


class HeadMiddleware:
    """An ASGI middleware: HEAD is answered as GET, without the body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET"}, receive, send_without_body)
