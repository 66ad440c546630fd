"""The head that the browser shapes, beside the engine's own."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engine.exporters.export_mesh import ExportMesh
from serving.rendering.embedded_renderer import EmbeddedRenderer
from serving.rendering.worker import open_renderer
from serving.static import DIST
from tests.serving.support import EMBEDDED, packaging

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
WEB = DIST.parent
CHOSEN = {"hair": "bob01", "brows": "eyebrow003", "lashes": "lashes02"}


def test_the_browser_shapes_a_head_as_the_engine_does(tmp_path: Path) -> None:
    assert (WEB / "node_modules").is_dir(), "what the page is built with is missing: make web"
    character_renderer = open_renderer(EMBEDDED, packaging.REPOSITORY / "data" / "embedded", "cpu")
    assert isinstance(character_renderer, EmbeddedRenderer)
    schema = character_renderer.schema
    values = np.random.default_rng(7).random(schema.n_sliders)
    parameters = {slider.name: float(value) for slider, value in zip(schema.sliders, values, strict=True)}
    discrete = {group.name: {"choice": CHOSEN.get(group.name, group.neutral)} for group in schema.groups}
    document = {"parameters": parameters, "discrete": discrete}
    expected = _expected(character_renderer, document)
    (tmp_path / "schema.json").write_text(character_renderer.document().model_dump_json())
    (tmp_path / "settings.json").write_text(json.dumps({"parameters": parameters, "pieces": ["head", *CHOSEN]}))
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    for piece in ("head", *CHOSEN):
        (tmp_path / f"{piece}.glb").write_bytes(character_renderer.piece(piece, CHOSEN.get(piece)))
    environment = {**os.environ, "LIKENESS_FIGURE": str(tmp_path)}
    command = ["node_modules/.bin/vitest", "run", "tests/engine.test.ts"]
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def _expected(drawing: EmbeddedRenderer, document: dict) -> dict[str, dict[str, list[float]]]:
    """Where the engine has the vertices that the page draws, and their normals, by the vertices' numbers."""
    (sliders,), (choices,) = drawing.schema.choose(drawing.schema.from_document(**document)[None])
    mesh = ExportMesh.of(drawing.renderer, sliders, choices, for_page=True)
    vectors = {"positions": mesh.vertices[mesh.worn], "normals": mesh.normals}
    return {name: dict(zip(map(str, mesh.worn), of.tolist(), strict=True)) for name, of in vectors.items()}
