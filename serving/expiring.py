"""Folders of files that are good for a while: what is older goes."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path


def older(paths: Iterable[Path], seconds: float) -> Iterator[Path]:
    """Those that were last written longer ago than so. Another process may delete them meanwhile.

    Raises OSError where the disk is gone.
    """
    oldest = time.time() - seconds
    for path in paths:
        try:
            if path.stat().st_mtime < oldest:
                yield path
        except FileNotFoundError:
            continue


def delete_older(paths: Iterable[Path], seconds: float) -> None:
    """Delete those files. Raises OSError where the disk is gone."""
    for path in older(paths, seconds):
        path.unlink(missing_ok=True)
