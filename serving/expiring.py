"""Folders of files that are good for a while: what is older goes."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("likeness.serving")


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
        with each_alone(path):
            path.unlink(missing_ok=True)


@contextmanager
def each_alone(path: Path) -> Iterator[None]:
    """What cannot be deleted has a line in the log, and keeps nothing else from being deleted."""
    try:
        yield
    except OSError as error:
        log.error("%s has expired and cannot be deleted: %s", path, error)
