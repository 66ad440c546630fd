"""What a process gives back to the system."""

import resource
import sys
from pathlib import Path

import pytest

from engine.processes import release_memory

PAGES = Path("/proc/self/statm")


def held() -> int:
    """Megabytes of memory in use by this process."""
    return int(PAGES.read_text().split()[1]) * resource.getpagesize() // 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does it")
def test_what_was_freed_between_things_that_stay_is_given_back() -> None:
    pieces = [bytes(2000) for _ in range(100_000)]
    kept = pieces[::1000]
    del pieces
    before = held()
    release_memory()
    assert held() < before - 100 and len(kept) == 100
