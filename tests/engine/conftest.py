"""The embedded character as `likeness inputs` gathered it."""

from pathlib import Path

import pytest

from engine.renderer import Renderer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def character() -> Path:
    return ROOT / "characters" / "embedded"


@pytest.fixture(scope="session")
def embedded() -> Path:
    folder = ROOT / "data" / "embedded"
    assert folder.is_dir(), "run `likeness inputs` first"
    return folder


@pytest.fixture(scope="session")
def renderer(character: Path, embedded: Path) -> Renderer:
    return Renderer(character, embedded)
