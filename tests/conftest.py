"""Shared by all tests: no phoning home, no waiting for the disk, and how two processes share the files of tests."""

import os
from pathlib import Path

import pytest

import orchestration  # noqa: F401  (its switches must be set before any library that phones home is imported)
from serving.child_process import ONE_THREAD
from tests import databases, marble  # noqa: F401

# There are as many processes as cores, whose threads would only wait for each other. Read when a library is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.update(**ONE_THREAD)

LONGEST = (
    "orchestration/test_smoke_graph.py",
    "orchestration/test_daemon.py",
    "orchestration/test_code_server.py",
    "orchestration/test_kubernetes.py",
    "orchestration/test_ray.py",
    "serving/web/test_page.py",
    "orchestration/test_start.py",
    "serving/test_service.py",
    "serving/test_ray_cluster.py",
    "serving/test_candidate.py",
    "stages/training/test_distributed.py",
    "orchestration/test_checks.py",
    "orchestration/test_automation.py",
    "orchestration/test_erase.py",
    "orchestration/test_promotion_by_the_gate.py",
    "orchestration/test_backup.py",
    "orchestration/test_results.py",
    "orchestration/test_run_cache.py",
    "stages/test_encoder.py",
    "orchestration/test_registry.py",
    "models/test_search.py",
    "orchestration/test_staleness.py",
    "stages/test_orphans.py",
    "stages/test_other_character.py",
)
"""Files of minutes, the longest first: one that is begun last keeps one process busy while the other has nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    rank = {tests / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session")
def marble_character(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worked example with 40 small exported pairs; copy it before changing it."""
    return marble.export(tmp_path_factory.mktemp("characters"), count=40, size=96)
