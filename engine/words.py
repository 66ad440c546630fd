"""Words that messages of all parts have in common."""

from collections.abc import Sequence


def a_few(names: Sequence[str], most: int, between: str = ", ") -> str:
    """ "a, b and 1,204 more": the first `most` names, and how many there are besides."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(names[:most]) + more
