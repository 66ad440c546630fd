"""The API's description as generated clients need it: what FastAPI says of an application, made true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from serving.problems import content as problem_content
from serving.problems import responses

FILE = {"type": "string", "format": "binary"}


def operation_id(route: APIRoute) -> str:
    """A generated client's name for an operation: that of the function that answers."""
    return route.name


def describe(app: FastAPI, needs_key: bool) -> None:
    """Correct an application's description, once all its routes are there."""
    described = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        document = _named_by_title(described())
        for operation in _operations(document):
            if "requestBody" in operation:
                _say_uploads(operation)
            _say_problems(operation)
            if not needs_key:
                # A generated client would insist on a key.
                operation.pop("security", None)
        components = document["components"]
        if not needs_key:
            components.pop("securitySchemes", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        _say_files(components["schemas"])
        return document

    app.openapi = openapi


def _named_by_title(document: dict[str, Any]) -> dict[str, Any]:
    """The same, each schema under its title: FastAPI takes the name of the class."""
    schemas = document["components"]["schemas"]
    titles = {name: schema["title"] for name, schema in schemas.items()}
    document["components"]["schemas"] = dict(sorted((titles[name], schema) for name, schema in schemas.items()))
    name = r'(?<="#/components/schemas/)\w+'
    return json.loads(re.sub(name, lambda found: titles.get(found[0], found[0]), json.dumps(document)))


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _say_uploads(operation: dict[str, Any]) -> None:
    """The middleware refuses bodies that are too slow, too large or too many, and no route says so."""
    refused = {str(status): response for status, response in responses(408, 413, 429).items()}
    operation["responses"] = dict(sorted({**refused, **operation["responses"]}.items()))


def _say_problems(operation: dict[str, Any]) -> None:
    """FastAPI describes errors of its own, which `problems` answers in another form."""
    for status, response in operation["responses"].items():
        if status >= "400":
            response["content"] = problem_content()


def _say_files(schemas: dict[str, Any]) -> None:
    """Generators know a file by `format: binary`; FastAPI writes OpenAPI 3.1's `contentMediaType` alone."""
    for schema in schemas.values():
        for property in schema.get("properties", {}).values():
            for one in (property, property.get("items", {})):
                if one.get("contentMediaType") == "application/octet-stream":
                    one.update(FILE)


def file(*media_types: str) -> dict[str, Any]:
    """What OpenAPI says of an answer that is a file."""
    return {"content": {media_type: {"schema": FILE} for media_type in media_types}}
