"""Strict reading of Kubernetes objects: by the models of its own Python client, which are made from its API's schema.

The client leaves out what it does not know and converts what it can, as the API server does not: an object is right
when it comes out of the model as it went in.
"""

import json
from collections.abc import Iterator
from typing import Any

import kubernetes.client
from kubernetes.utils.quantity import parse_quantity

_CLIENT = kubernetes.client.ApiClient()


class _Answer:
    """What the client takes an object from."""

    def __init__(self, value: Any) -> None:
        self.data = json.dumps(value)


def problems(value: dict[str, Any], model: str | None = None) -> list[str]:
    """What the API server would refuse: unknown fields, missing ones, wrong types; each with its place.

    model: the client's name of the type; by default that of the object's `apiVersion` and `kind`.
    """
    name = model or f"V1{value['kind']}"
    if model is None and value["apiVersion"].rpartition("/")[2] != "v1":
        return [f"{value['apiVersion']} {value['kind']}: not of version v1"]
    try:
        read = _CLIENT.deserialize(_Answer(value), name)
    except (ValueError, TypeError) as error:
        return [f"{name}: {error}"]
    return [*_differences(value, _CLIENT.sanitize_for_serialization(read), name), *_quantities(value, name)]


def _quantities(value: Any, place: str) -> Iterator[str]:
    """Of memory and processors, what is no quantity; to the client it is a text."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        if key in ("requests", "limits") and isinstance(each, dict):
            for name, quantity in each.items():
                try:
                    parse_quantity(quantity)
                except ValueError:
                    yield f"{place}.{key}.{name}: {quantity!r} is no quantity"
        else:
            yield from _quantities(each, f"{place}.{key}")


def _differences(wanted: Any, found: Any, place: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if key in found:
                yield from _differences(value, found[key], f"{place}.{key}")
            elif value is not None:
                yield f"{place}: no field is called {key}"
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, pair in enumerate(zip(wanted, found, strict=True)):
            yield from _differences(*pair, f"{place}[{number}]")
    elif type(wanted) is not type(found) or wanted != found:
        yield f"{place}: {wanted!r} is not of its type (read as {found!r})"
