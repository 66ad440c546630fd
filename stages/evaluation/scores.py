"""The scores of a scorecard by their dotted paths."""

from collections.abc import Iterator, Mapping
from typing import Any

PRODUCTION, DIFFERENCES = "production", "differences"
"""The section of the version in production, and in it the candidate's scores less its own."""


def scores(card: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every score of the candidate, {"value", …}, with its dotted path."""
    for name, entry in card.items():
        if not isinstance(entry, Mapping) or name in (PRODUCTION, DIFFERENCES):
            continue
        if "value" in entry:
            yield f"{prefix}{name}", entry
        else:
            yield from scores(entry, f"{prefix}{name}.")
