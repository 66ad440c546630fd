"""Characters by their values alone: what is not named is neutral."""

from __future__ import annotations

from typing import Any

from engine.schema import Schema, SchemaError
from serving import problems
from serving.dependencies import AppState
from serving.schemas import CharacterValues


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
