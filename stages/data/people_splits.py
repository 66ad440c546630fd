"""People who were learned from and are scored now: no fair test of whoever learned from them."""

from pathlib import Path

from stages.data import tables
from stages.data.reads import CHOSEN_BY, TRAINED_ON

PORTRAITS = "portraits"
"""The source of synthetic portraits; every other one is of real photos."""
Person = tuple[str, str]
"""Source and name."""


def now_tested(before: Path, now: Path) -> set[Person]:
    """Who took part in a training on the aligned faces `before`, and is a test person in those of `now`: the folders.

    A portrait's person is known by a number, which means another one where portraits have another seed.
    """
    return _people(before, {TRAINED_ON, CHOSEN_BY}) & _people(now, {"test"})


def named(source: str, person: str) -> Person:
    """A person as versions of before and of now have it: before, `portraits/` did not stand before a portrait's."""
    return source, person.removeprefix(f"{PORTRAITS}/") if source == PORTRAITS else person


def _people(folder: Path, splits: set[str]) -> set[Person]:
    table = tables.read(folder / "faces.parquet", ["source", "person", "split"])
    rows = table[table["split"].isin(splits)][["source", "person"]].drop_duplicates()
    return {named(str(source), str(person)) for source, person in rows.itertuples(index=False)}
