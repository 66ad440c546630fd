"""Shared by all tests: no phoning home, one thread for torch, and what a test needs is named when it is missing."""

from pathlib import Path

import pytest

import orchestration  # noqa: F401  (its switches must be set before any library that phones home is imported)
from tests import marble


@pytest.fixture(scope="session")
def marble_character(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worked example with 40 small exported pairs; copy it before changing it."""
    return marble.export(tmp_path_factory.mktemp("characters"), count=40, size=96)
