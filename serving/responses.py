"""A character as it is answered."""

from __future__ import annotations

from fastapi import Response

from serving.alternatives import alternatives_of, confidence_of, likely_of
from serving.character_store import Record
from serving.dependencies import AppState
from serving.file_responses import FILES
from serving.schemas import Alternative, CharacterResponse, Links


def shown(state: AppState, record: Record) -> CharacterResponse:
    """A character as it is answered."""
    here = f"/v1/characters/{record.id}"
    drawable = state.rendering.forms
    parameters, discrete = state.schema.completed(record.document["parameters"], record.document["discrete"])
    links = Links(
        self=here,
        photo=f"{here}.photo" if record.media_type else None,
        **{form: f"{here}.{form}" for form in FILES if form in drawable},
    )
    return CharacterResponse(
        **{**record.document, "parameters": parameters, "discrete": discrete},
        confidence=confidence_of(record.document),
        alternatives=[Alternative(**one) for one in alternatives_of(record.document)],
        likely=likely_of(record.document),
        id=record.id,
        created=record.created.replace(microsecond=0),  # not every date parser takes fractions
        expires=record.expires,
        links=links,
    )


def tagged(state: AppState, record: Record, response: Response) -> CharacterResponse:
    """A character as it is answered, with its ETag."""
    response.headers["ETag"] = record.etag
    return shown(state, record)
