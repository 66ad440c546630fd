"""Arrays that take seconds to make and follow from files and code alone, kept on disk for the next process.

They lie in the user's cache folder (LIKENESS_CACHE moves it) and may be deleted at any time.
"""

import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import platformdirs
from numpy.typing import NDArray

from engine.files import digest_of, partial_file

KEPT = 8  # versions of one thing

Arrays = Mapping[str, NDArray]


def folder() -> Path:
    """Where the arrays lie."""
    return Path(os.environ.get("LIKENESS_CACHE") or platformdirs.user_cache_path("likeness"))


def code(*modules: ModuleType) -> list[Path]:
    """The modules' files, as sources."""
    return [Path(module.__file__ or "") for module in modules]


def arrays(name: str, sources: Iterable[Path], settings: str, make: Callable[[], Arrays]) -> Arrays:
    """What `make` gives; taken from disk where it was made of the same sources (files, code among them) and settings
    before. A cache that cannot be read or written costs time, never the result."""
    digest = digest_of([("settings", settings.encode()), *((source.name, source.read_bytes()) for source in sources)])
    kept = folder() / f"{name}-{digest}.npz"
    try:
        with np.load(kept, allow_pickle=False) as held:
            return {key: held[key] for key in held.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        made = make()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with partial_file(kept) as partial, partial.open("wb") as file:
            np.savez(file, **made)  # pyright: ignore[reportArgumentType]
    except OSError:
        return made
    with suppress(OSError):  # another process may clean up as well
        for old in sorted(kept.parent.glob(f"{name}-*.npz"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
    return made
