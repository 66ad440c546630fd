"""`/docs`: the API for people to read, made of its own description. It loads no script, of ours or anybody's."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).with_name("reference.html.jinja")
MULTIPART, JSON = "multipart/form-data", "application/json"
Json = Mapping[str, Any]


def page(document: Json) -> str:
    """The HTML of an OpenAPI document."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    schemas = document["components"]["schemas"]
    return environment.from_string(TEMPLATE.read_text()).render(
        title=document["info"]["title"],
        description=_html(document["info"]["description"]),
        version=document["openapi"],
        tags=list(_tags(document)),
        schemas=[_schema(name, schema) for name, schema in schemas.items() if not name.startswith("Body_")],
    )


def _tags(document: Json) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    by_tag: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found = _operation(document, path, method.upper(), operation)
            by_tag.setdefault((operation.get("tags") or ["other"])[0], []).append(found)
    yield from by_tag.items()


def _operation(document: Json, path: str, method: str, operation: Json) -> dict[str, Any]:
    sent, fields = _body(document, operation)
    parameters = [
        _row(f"{one['name']}", one["schema"], one.get("required", False), one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    return {
        "id": operation["operationId"],
        "method": method,
        "path": path,
        "about": _html(operation.get("description", operation.get("summary", ""))),
        "parameters": parameters,
        "sent": {MULTIPART: "the form", JSON: "the JSON"}.get(sent, sent),
        "fields": fields,
        "curl": _curl(path, method, sent, fields, "security" in operation),
        "answers": [
            {"status": status, "about": _html(answer.get("description", "")), "type": _answer_type(answer)}
            for status, answer in operation["responses"].items()
        ],
    }


def _body(document: Json, operation: Json) -> tuple[str, list[dict[str, Any]]]:
    """The media type of what is sent, and its fields."""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        return media_type, _fields(document["components"]["schemas"].get(name, content["schema"]))
    return "", []


def _curl(path: str, method: str, sent: str, fields: list[dict[str, Any]], needs_key: bool) -> str:
    words = ["curl", *([] if method == "GET" else ["-X", method])]
    if needs_key:
        words += ["-H", "Authorization: Bearer $KEY"]
    if sent == MULTIPART:
        words += [word for field in fields if field["required"] for word in ("-F", f"{field['name']}=@me.jpg")]
    elif sent:
        example = {field["name"]: field["example"] for field in fields if field["example"] is not None}
        words += ["--json", json.dumps(example)]
    # The variables are the shell's to fill in: in double quotes.
    quoted = [f'"{word}"' if "$" in word else shlex.quote(word) for word in words]
    return " ".join([*quoted, f'"$SERVICE{path}"'])


def _schema(name: str, schema: Json) -> dict[str, Any]:
    return {"name": name, "about": _html(schema.get("description", "")), "fields": _fields(schema)}


def _fields(schema: Json) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    return [
        _row(name, field, name in required, field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]


def _row(name: str, schema: Json, required: bool, about: str) -> dict[str, Any]:
    default = schema.get("default")
    return {
        "name": name,
        "required": required,
        "type": _type(schema),
        "about": _html(about),
        "default": None if default in (None, "", [], {}) else json.dumps(default),
        "example": next(iter(schema.get("examples", ())), None),
    }


def _answer_type(answer: Json) -> Any:
    for media_type, content in answer.get("content", {}).items():
        schema = content.get("schema") or {}
        return media_type if media_type not in (JSON, "application/problem+json") else _type(schema)
    return ""


def _type(schema: Json) -> Any:
    """A schema's type in words, with links to those that have names."""
    from markupsafe import Markup

    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#{0}">{0}</a>').format(name)
    if options := schema.get("anyOf"):
        return Markup(" or ").join(_type(option) for option in options if option.get("type") != "null")
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return Markup("list of {0}").format(_type(schema.get("items", {})))
    if schema.get("format") == "binary":
        return "file"
    limits = [
        f"{sign} {schema[name]:g}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if name in schema
    ]
    return " ".join([schema.get("format", schema.get("type", "anything")), *limits])


def _html(text: str) -> Any:
    """Markdown as HTML; HTML in it is text."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    return Markup(MarkdownIt("commonmark", {"html": False}).render(text))
