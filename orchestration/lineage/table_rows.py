"""Which rows of a table another version of it has more, fewer, or with another content."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from orchestration.lineage import OnStep, silent
from stages.data import tables

KEY = "id"
ROWS = 256
"""Rows that are read at once: pictures are in them."""


@dataclass(frozen=True)
class RowChanges:
    """From one version of a table to the next, in rows."""

    before: int
    after: int
    added: int
    removed: int
    changed: int = 0
    """Of those that have the same id."""


def compare(before: Path, after: Path, progress: OnStep = silent) -> RowChanges:
    """Two versions of a table, row by row: by its `id` where it has one of its own, else by its whole content."""
    old, new = _digests(before, progress), _digests(after, progress)
    if len(dict(old)) < len(old) or len(dict(new)) < len(new):  # no row has an id of its own
        old, new = [(digest, b"") for _, digest in old], [(digest, b"") for _, digest in new]
    keys, other_keys = Counter(key for key, _ in old), Counter(key for key, _ in new)
    added, removed = (other_keys - keys).total(), (keys - other_keys).total()
    then, now = dict(old), dict(new)
    changed = sum(then[key] != now[key] for key in then.keys() & now.keys())
    return RowChanges(len(old), len(new), added, removed, changed)


def _digests(table: Path, progress: OnStep) -> list[tuple[bytes, bytes]]:
    """The id of each row, or what stands for it, and a digest of its content."""
    found, rows = [], tables.count(table)
    for batch in tables.batches(table, rows=ROWS):
        for row in batch.to_pylist():
            content = hashlib.blake2b(digest_size=16)
            for name, value in row.items():
                content.update(name.encode())
                content.update(value if isinstance(value, bytes) else repr(value).encode())
            digest = content.digest()
            found.append((str(row[KEY]).encode() if KEY in row else digest, digest))
        progress(f"rows of {table.name}", len(found), rows)
    return found
