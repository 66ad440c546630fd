"""Asking a service, and what tests look at in its answers."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from serving.configuration import ServiceSettings
from serving.problems import MEDIA_TYPE
from tests.serving.support import astronaut

HERE = "http://127.0.0.1"
# On a busy machine an answer may take long, and a search that ends by time ends elsewhere.
SERVICE = ServiceSettings(
    workers=1, photo_megabytes=2, batch_megabytes=5, batch_photos=4, timeout=600, refine_seconds=300, corrections=True
)


@contextmanager
def ready(app: FastAPI) -> Iterator[TestClient]:
    """A client of a service that is ready."""
    with TestClient(app, HERE, raise_server_exceptions=False) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.1)
        yield client


def post(client: TestClient, photo: bytes, name: str = "me.png", **form: str) -> Response:
    return client.post("/v1/characters", files={"photo": (name, photo, "image/png")}, data=form)


def refine(client: TestClient, method: str) -> Response:
    files = {"photo": ("me.png", astronaut(), "image/png")}
    return client.post("/v1/characters", params={"refine": method}, files=files)


def edit(client: TestClient, made: dict[str, Any], **parameters: float) -> None:
    assert client.patch(made["links"]["self"], json={"parameters": parameters}).status_code == 200


def gltf(answer: Response) -> dict[str, Any]:
    """The document in a .glb or .vrm."""
    length = int.from_bytes(answer.content[12:16], "little")
    return json.loads(answer.content[20 : 20 + length])


def problem(answer: Response) -> str:
    """The last part of a problem's type."""
    assert answer.headers["content-type"] == MEDIA_TYPE, answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"] and document["detail"] and document["instance"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text and ".py" not in answer.text
    return document["type"].removeprefix("/problems/")
