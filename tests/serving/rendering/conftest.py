"""The embedded character, and a studio's own one that is drawn in no time, or slowly, or never."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from engine.renderer import Renderer
from engine.schema import Schema
from serving.rendering.routes import routes
from serving.rendering.service import RenderService

ROOT = Path(__file__).resolve().parents[3]
CHARACTER, EMBEDDED = ROOT / "characters" / "embedded", ROOT / "data" / "embedded"
CLAY_SCHEMA = """
name: clay
label: Clay head
renderer: {python: "studio:draw"}
sliders:
  - {name: seconds, part: face, label: "How long it takes", neutral: 0.0, engine: {name: Seconds, range: [0, 100]}}
  - {name: burst, part: skull_shape, label: "Bursts in the kiln", neutral: 0.0}
groups:
  - {name: glaze, label: Glaze, choices: [red, dark_blue], neutral: red}
"""
CLAY_ENGINE = """
import os, signal, time
import numpy as np

def draw(rows, size):
    print("a renderer that talks")
    if rows[0]["burst"] > 0.5:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(rows[0]["Seconds"])
    picture = np.zeros((size, size + 10, 3), np.uint8)
    picture[..., 0 if rows[0]["glaze"] == "red" else 2] = 200
    return [picture]
"""


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    assert EMBEDDED.is_dir(), "run `likeness inputs` first"
    return Renderer(CHARACTER, EMBEDDED)


@pytest.fixture
def clay(tmp_path: Path) -> Path:
    folder = tmp_path / "clay"
    folder.mkdir()
    (folder / "schema.yaml").write_text(CLAY_SCHEMA)
    (folder / "studio.py").write_text(CLAY_ENGINE)
    return folder


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service that does nothing but draw the embedded character."""
    rendering = RenderService(CHARACTER, EMBEDDED, tmp_path_factory.mktemp("drawn"), timeout=600.0)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with rendering:
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(routes(rendering))
    with TestClient(app) as client:
        yield client


def document(character: Path, **values: float) -> dict:
    """A character.json of the neutral character, with some sliders set."""
    schema = Schema.load(character)
    made = {"character": schema.name, "schema_md5": Schema.md5(character), **schema.to_document(schema.neutral())}
    made["parameters"] |= values
    return made
