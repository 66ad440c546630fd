"""One service for all tests of the API: real workers, and the real engine behind it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from serving.app import build
from tests.serving import support
from tests.serving.api_client import SERVICE, post, ready
from tests.serving.support import Shelf, astronaut


@pytest.fixture(scope="session")
def app(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    app = build(SERVICE, Shelf({1: saved}), support.paths(tmp_path_factory.mktemp("service")))
    app.state.serving.rendering.timeout = 600.0
    return app


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    with ready(app) as client:
        yield client


@pytest.fixture(scope="session")
def made(client: TestClient) -> dict[str, Any]:
    """A character of a portrait."""
    answer = post(client, astronaut(), aligned="true")
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == answer.json()["links"]["self"]
    return answer.json()
