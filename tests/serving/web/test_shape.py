"""The head that the browser shapes, beside the engine's own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import expressions
from engine.exporters.export_mesh import ExportMesh
from serving.rendering.embedded_renderer import EmbeddedRenderer
from serving.rendering.worker import open_renderer
from serving.static import DIST
from tests.serving.support import EMBEDDED, packaging

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
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
    published = character_renderer.document()
    assert published.figure is not None
    (tmp_path / "schema.json").write_text(published.model_dump_json())
    (tmp_path / "settings.json").write_text(json.dumps({"parameters": parameters, "pieces": ["head", *CHOSEN]}))
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    (tmp_path / "actions.json").write_text(json.dumps(_actions(list(published.figure.face_actions))))
    for piece in ("head", *CHOSEN):
        (tmp_path / f"{piece}.glb").write_bytes(character_renderer.piece(piece, CHOSEN.get(piece)))
    environment = {**os.environ, "LIKENESS_FIGURE": str(tmp_path)}
    command = ["node_modules/.bin/vitest", "run", "tests/engine.test.ts"]
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr


def _actions(names: list[str]) -> dict[str, Any]:
    """Weights of face actions that somebody may want, and what the engine shows of them."""
    columns = {name: number for number, name in enumerate(names)}
    wanted = np.random.default_rng(3).random((8, len(names))).round(3).tolist()
    shown = [expressions.weights_of(dict(zip(names, row, strict=True)), columns).tolist() for row in wanted]
    return {
        "limits": {name: expressions.LIMITS.get(name, 1.0) for name in names},
        "wanted": [dict(zip(names, row, strict=True)) for row in wanted],
        "shown": [dict(zip(names, row, strict=True)) for row in shown],
    }


def _expected(drawing: EmbeddedRenderer, document: dict) -> dict[str, dict[str, list[float]]]:
    """Where the engine has the vertices that the page draws, and their normals, by the vertices' numbers."""
    (sliders,), (choices,) = drawing.schema.choose(drawing.schema.from_document(**document)[None])
    mesh = ExportMesh.of(drawing.renderer, sliders, choices, for_page=True)
    vectors = {"positions": mesh.vertices[mesh.worn], "normals": mesh.normals}
    return {name: dict(zip(map(str, mesh.worn), of.tolist(), strict=True)) for name, of in vectors.items()}
