"""A character.json with values that a person changed."""

from __future__ import annotations

from typing import Any

from engine.schema import SchemaError
from serving import problems
from serving.dependencies import AppState
from serving.schemas import Edit


def edited(state: AppState, document: dict[str, Any], changes: Edit) -> dict[str, Any]:
    """A document with new values. Raises ProblemError."""
    if document["schema_md5"] not in state.schema_md5s:
        raise problems.cannot_draw("the character creator has changed since this character was made: make it again")
    schema = state.schema
    parameters = document["parameters"] | changes.parameters
    discrete = {**document["discrete"]}
    for group, choice in changes.discrete.items():
        discrete[group] = {**discrete.get(group, {}), "choice": choice}
    try:
        x = schema.from_document(parameters, discrete)
    except SchemaError as error:
        raise problems.bad_edit(str(error)) from error
    touched = {*document.get("edited", []), *changes.parameters, *changes.discrete}
    changed = {**document, "parameters": parameters, "discrete": discrete, "edited": sorted(touched)}
    changed["read"] = _read(document, touched)
    if "engine" in (named := schema.to_document(x)):
        changed["engine"] = named["engine"]
    return changed


def _read(document: dict[str, Any], touched: set[str]) -> dict[str, dict[str, Any]]:
    """What the photo gave for these sliders and groups: as it was before the first change of each."""
    read = document.get("read", {"parameters": {}, "discrete": {}})
    before = {
        "parameters": document["parameters"],
        "discrete": {group: chosen["choice"] for group, chosen in document["discrete"].items()},
    }
    # Of documents that were changed before this was kept, nobody knows it.
    unknown = {*document.get("edited", [])} - {*read["parameters"], *read["discrete"]}
    return {
        kind: {name: value for name, value in values.items() if name in touched - unknown} | read[kind]
        for kind, values in before.items()
    }
