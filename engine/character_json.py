"""What a character.json says: parameters by name, the photo that they were read from, and the model that read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import LikenessError

FORMAT = 1
ORIGIN = ("model", "version", "run", "commit", "inputs")
SECTIONS: dict[str, tuple[type, str]] = {
    "character": (str, "the character's name in quotes"),
    "schema_md5": (str, "the md5 of the character's schema in quotes"),
    "parameters": (dict, "an object with a number for each slider"),
    "discrete": (dict, 'an object with {"choice": …} for each group'),
}
"""What every document has: its kind, and what people call it."""


class DocumentError(LikenessError):
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
    """One photo in a document: `content` its file's bytes, `found` what a predictor found in it.

    Versions that were registered before there was a choice do not tell in which precision they read.
    """
    return {
        "sha256": photo_digest(content),
        "faces": found.faces,
        "box": [round(float(side), 1) for side in found.box],
        "yaw": round(float(found.yaw), 1),
        "pitch": round(float(found.pitch), 1),
        "warnings": list(found.warnings),
        "precision": getattr(found, "precision", "float32"),
    }


def photo_digest(content: bytes) -> str:
    """The SHA-256 of a photo's file, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_document(path: Path) -> dict[str, Any]:
    """A character.json of this format, its sections of the right kind; what they hold is the schema's to judge.

    Raises DocumentError.
    """
    document = read_object(path)
    if document.get("format") != FORMAT:
        version = document.get("format")
        raise DocumentError(f"{path} has format {version!r}, this version reads format {FORMAT}: create it again")
    if missing := set(SECTIONS) - set(document):
        raise DocumentError(f"{path} lacks {', '.join(sorted(missing))}: create it again")
    for name, (kind, called) in SECTIONS.items():
        if not isinstance(document[name], kind):
            shown = json.dumps(document[name], ensure_ascii=False)[:60]
            raise DocumentError(f"{path}: {name} is {shown}: it must be {called}; mend it, or create the file again")
    return document


def read_object(path: Path) -> dict[str, Any]:
    """What a JSON file holds, in any encoding that JSON may have. Raises DocumentError."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DocumentError(f"{path} cannot be read as a character: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DocumentError(
            f"{path} cannot be read as a character, it is no JSON: {error}; mend it, or create it again"
        ) from error
    if not isinstance(content, dict):
        raise DocumentError(f"{path} is no character: it holds no JSON object; create it again")
    return content
