"""Answers that a client may have already: entity tags, conditional requests, and bytes compressed or not (RFC 9110)."""

from __future__ import annotations

import gzip
from hashlib import blake2b

from fastapi import Request, Response


def tag_of(content: bytes) -> str:
    """A strong entity tag."""
    return f'"{blake2b(content, digest_size=12).hexdigest()}"'


def has(request: Request, tag: str) -> bool:
    """Whether the client names the tag of what it has. The comparison is the weak one, as RFC 9110 wants it here."""
    named = [entry.strip().removeprefix("W/") for entry in request.headers.get("if-none-match", "").split(",")]
    return not {tag, _zipped(tag), "*"}.isdisjoint(named)


def takes_gzip(request: Request) -> bool:
    """Whether the client takes compressed answers."""
    return "gzip" in request.headers.get("accept-encoding", "")


def unpacked(request: Request, compressed: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """Bytes that are held compressed, for a client that takes them so or not. `headers` have the ETag of the bytes."""
    if not takes_gzip(request):
        return Response(gzip.decompress(compressed), media_type=media_type, headers=headers)
    headers = {**headers, "Content-Encoding": "gzip", "ETag": _zipped(headers["ETag"])}
    return Response(compressed, media_type=media_type, headers=headers)


def _zipped(tag: str) -> str:
    return f'{tag[:-1]}-gzip"'
