"""The head that the browser shapes, beside the engine's own."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engine.character import Character
from engine.schema import Schema
from serving.rendering.embedded import EmbeddedArtist
from serving.static import DIST
from tests.engine.gltf_reader import Gltf
from tests.serving.support import EMBEDDED, packaging

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
WEB = DIST.parent
CHOSEN = {"hair": "bob01", "brows": "eyebrow003", "lashes": "lashes02"}


def test_the_browser_shapes_a_head_as_the_engine_does(tmp_path: Path) -> None:
    assert (WEB / "node_modules").is_dir(), "what the page is built with is missing: make web"
    artist = EmbeddedArtist(Character.load(EMBEDDED), packaging.REPOSITORY / "data" / "embedded", "cpu")
    schema = artist.schema
    values = np.random.default_rng(7).random(schema.n_sliders)
    parameters = {slider.name: float(value) for slider, value in zip(schema.sliders, values, strict=True)}
    discrete = {group.name: {"choice": CHOSEN.get(group.name, group.neutral)} for group in schema.groups}
    document = {
        "character": "embedded",
        "schema_md5": Schema.md5(EMBEDDED),
        "parameters": parameters,
        "discrete": discrete,
    }
    engine = Gltf(artist.glb(document))
    expected = {
        name: {str(source): vector.tolist() for source, vector in engine.shape({}, attribute).items()}
        for name, attribute in (("positions", "POSITION"), ("normals", "NORMAL"))
    }
    (tmp_path / "schema.json").write_text(artist.published().model_dump_json())
    (tmp_path / "settings.json").write_text(json.dumps({"parameters": parameters, "pieces": ["head", *CHOSEN]}))
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    for piece in ("head", *CHOSEN):
        (tmp_path / f"{piece}.glb").write_bytes(artist.piece(piece, CHOSEN.get(piece)))
    environment = {**os.environ, "LIKENESS_FIGURE": str(tmp_path)}
    command = ["node_modules/.bin/vitest", "run", "tests/engine.test.ts"]
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
