from pathlib import Path

import pytest

from tests.serving import support


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with untrained networks."""
    return support.save(tmp_path_factory.mktemp("release"))
