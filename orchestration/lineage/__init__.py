"""Who was made from what: data versions read from Dagster's events, which are the truth.

`resolve` says what a person means by a word; `graph` follows the md5s down to the sources, `tree` and `drawing` show
it; `photo_index` and `photo_trace` go the other way, from a photo to the models; `restore` brings data back, `prune`
and `erase` remove it. `orchestration/storage` reads and writes the events: `versions`, `version_index`, `erasure_log`.
"""

from collections.abc import Callable

OnStep = Callable[[str, int, int], None]
"""Told what is being done, how many parts of it are done, and of how many."""


def silent(what: str, done: int, total: int) -> None:
    """An OnStep that tells nobody."""
