"""Which backups of a project there are, and telling them what was forgotten since they were made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from orchestration.config.files import write_whole
from orchestration.storage.erasure_log import Erasure, read_entries, write_entries

KNOWN = "backups.json"
"""In the home folder: where each backup was put."""
ERASURES = "erasures.json"
"""In a backup: every erasure that its project knows, those after it was made too."""


def known(home: Path) -> list[Path]:
    """Where backups of this project were put, oldest first."""
    try:
        return [Path(place) for place in json.loads((home / KNOWN).read_text())]
    except (OSError, ValueError):
        return []


def remember(home: Path, backup: Path) -> None:
    """Note where a backup was put."""
    places = [str(place) for place in known(home) if place != backup]
    write_whole(home / KNOWN, json.dumps([*places, str(backup)], indent=1) + "\n")


def tell(home: Path, entry: Erasure) -> None:
    """Add an erasure to every backup that is there, so that restoring one brings nothing of it back. Raises OSError."""
    for backup in known(home):
        file = backup / ERASURES
        if file.exists():
            write_entries(file, [entry, *(one for one in read_entries(file) if one.id != entry.id)])


def untold(home: Path) -> list[Path]:
    """Backups that are not where they were put: on a disk that is not there now, or deleted."""
    return [backup for backup in known(home) if not (backup / ERASURES).exists()]


def joined(entries: Iterable[Erasure]) -> list[Erasure]:
    """Each erasure once, as the last of these says it, oldest first."""
    return sorted({entry.id: entry for entry in entries}.values(), key=lambda entry: entry.when)
