"""The audit log: who did what to the platform, when, and by which figures. It only grows.

A line of JSON for each act, in `audit.jsonl` of the home folder, with the sha256 of the line before it: a line that was
changed, taken out or put in between breaks the chain. Who can write the file can write all of it anew, so keep the last
line's digest, or the lines, where they cannot reach (docs/promotion.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestration.config.files import lock
from orchestration.registry.promotion_events import now

FILE = "audit.jsonl"
BEGIN = "0" * 64
"""What the first line has in the place of a digest."""


def append(home: Path, what: str, who: str, details: Mapping[str, Any], when: str = "") -> None:
    """Add a line. Raises OSError."""
    with lock(home / "locks" / "audit.lock"):
        lines = _lines(home)
        record = {"when": when or now(), "who": who, "what": what, **details}
        record["previous"] = _digest(lines[-1]) if lines else BEGIN
        with (home / FILE).open("ab") as file:
            # A line that a full disk cut off stays as it is; the next one does not begin in it.
            half = file.tell() and not (home / FILE).read_bytes().endswith(b"\n")
            file.write(b"\n" * bool(half) + json.dumps(record).encode() + b"\n")


def records(home: Path) -> Iterator[dict[str, Any]]:
    """Every line that can be read, oldest first."""
    for line in _lines(home):
        try:
            yield json.loads(line)
        except ValueError:
            continue


def break_in(home: Path) -> str:
    """Where the chain is broken, "" where it is whole."""
    previous = BEGIN
    for number, line in enumerate(_lines(home), 1):
        try:
            found = json.loads(line).get("previous")
        except (ValueError, AttributeError):
            return f"line {number} cannot be read"
        if found != previous:
            return f"line {number} does not follow the line before it"
        previous = _digest(line)
    return ""


def head(home: Path) -> str:
    """The digest of the last line, which stands for all of them."""
    lines = _lines(home)
    return _digest(lines[-1]) if lines else BEGIN


def _lines(home: Path) -> list[bytes]:
    try:
        return (home / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
