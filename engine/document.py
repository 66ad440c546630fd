"""What a character.json says: parameters by name, the photo that they were read from, and the model that read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
ORIGIN = ("model", "version", "run", "commit", "inputs")


class DocumentError(Exception):
    """A file is no character.json that can be read; the message says what to do."""


def character_document(
    character: str, schema_md5: str, named: Mapping[str, Any], photo: Mapping[str, Any], origin: Mapping[str, Any]
) -> dict[str, Any]:
    """The document of a character that a model read from a photo.

    Args:
        named: `Schema.to_document` of its parameters.
        photo: `photo_entry` of the photo.
        origin: the registered model, at least ORIGIN.
    """
    return {
        "format": FORMAT,
        "character": character,
        "schema_md5": schema_md5,
        **named,
        "photo": dict(photo),
        "provenance": {name: origin[name] for name in ORIGIN},
    }


def photo_entry(content: bytes, found: Any) -> dict[str, Any]:
    """One photo in a document: `content` its file's bytes, `found` what a predictor found in it."""
    return {
        "sha256": photo_digest(content),
        "faces": found.faces,
        "box": [round(float(side), 1) for side in found.box],
        "yaw": round(float(found.yaw), 1),
        "pitch": round(float(found.pitch), 1),
        "warnings": list(found.warnings),
    }


def photo_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_document(path: Path) -> dict[str, Any]:
    """A character.json of this format. Raises DocumentError."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DocumentError(f"{path} cannot be read as a character: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        version = document.get("format") if isinstance(document, dict) else None
        raise DocumentError(f"{path} has format {version!r}, this version reads format {FORMAT}: create it again")
    if missing := {"character", "schema_md5", "parameters", "discrete"} - set(document):
        raise DocumentError(f"{path} lacks {', '.join(sorted(missing))}: create it again")
    return document
