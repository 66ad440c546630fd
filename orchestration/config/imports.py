"""What a library does while it is imported and need not: modules for other users than us, and one search ten times."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import Any


@contextmanager
def when_used(*names: str) -> Iterator[None]:
    """Within the block, the import of these modules only finds them: each runs when somebody first uses it."""
    finder = _LazyFinder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextmanager
def entry_points_once() -> Iterator[None]:
    """Within the block, what all installed packages register is read once, and not for each group that is asked for."""
    read, found = importlib.metadata.entry_points, []

    def select(**wanted: Any) -> Any:
        if not found:
            found.append(read())
        return found[0].select(**wanted) if wanted else found[0]

    importlib.metadata.entry_points = select
    try:
        yield
    finally:
        importlib.metadata.entry_points = read


class _LazyFinder(MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._names else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec
