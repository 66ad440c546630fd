"""The web client's files, as `npm run build` left them in serving/web/dist."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.types import Scope

DIST = Path(__file__).with_name("web") / "dist"
MARK = DIST.parent / "src" / "mark.svg"
NOT_BUILT = "The page has not been built: run `make web`. The API works without it: /openapi.json.\n"


class Hashed(StaticFiles):
    """Files whose name changes with their content."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def add_to(app: FastAPI, dist: Path = DIST) -> None:
    """Serve the page at `/`."""

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        if not (dist / "index.html").is_file():
            return PlainTextResponse(NOT_BUILT, 404)
        return FileResponse(dist / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        # Asked for by whoever shows an answer that is no page of ours; the page names its own.
        return FileResponse(MARK, media_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"})

    app.mount("/assets", GZipMiddleware(Hashed(directory=dist / "assets", check_dir=False)))
