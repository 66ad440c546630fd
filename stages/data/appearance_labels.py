"""What people see in photos: `labels.csv` beside the photos of a set, docs/real-data-sets.md.

A row is one labelling of one photo; several people may label the same photo under names of their own. Every column but
`file` may be missing, and every cell may be empty.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LABELS_FILE = "labels.csv"
FILE, ANNOTATOR = "file", "annotator"
UNCLEAR = "unclear"

AGES = ("child", "18-29", "30-44", "45-59", "60+")
MONK = tuple(map(str, range(1, 11)))
TONES = ("tone1", "tone2", "tone3", "tone4", "tone5", "tone6")
STYLES = (
    *("none", "afro01", "bob01", "bob02", "braid01", "long01", "ponytail01"),
    *("short01", "short02", "short03", "short04"),
)
LENGTHS = ("bald", "short", "medium", "long", "tied", "covered")
COLOURS = (
    *("black", "dark_brown", "brown", "light_brown", "auburn", "copper"),
    *("blond", "light_blond", "platinum", "grey", "white"),
)
BEARDS = (
    *("none", "light_stubble", "stubble", "moustache", "goatee"),
    *("circle", "chin_strap", "mutton_chops", "short_full", "full"),
)
VALUES: Mapping[str, tuple[str, ...]] = {
    "sex": ("f", "m"),
    "age_band": AGES,
    "skin_mst": MONK,
    "skin_tone": TONES,
    "hair_style": (*STYLES, UNCLEAR),
    "hair_length": (*LENGTHS, UNCLEAR),
    "hair_visible": ("0", "1"),
    "hair_colour": (*COLOURS, "other", UNCLEAR),
    "beard": (*BEARDS, UNCLEAR),
    "glasses": ("none", "clear", "sun"),
    "headwear": ("none", "hat", "headband", "scarf", "other"),
    "smile": ("none", "closed", "teeth"),
    "pose": ("front", "turned", "profile"),
}
"""The columns and what may stand in them; where the embedded character has such a choice, its own names."""


class BadLabels(ValueError):
    """A line of the file is not as described; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Labelling:
    """One line: what one person says of one photo."""

    line: int
    file: str
    annotator: str
    values: Mapping[str, str]
    """By column; without those that the line leaves empty."""


def read(path: Path) -> Iterator[Labelling]:
    """The lines of a `labels.csv`. Raises BadLabels."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _lines(path, csv.DictReader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadLabels(f"{path}: it cannot be read as a table of commas in UTF-8 ({error})") from error


def _lines(path: Path, table: csv.DictReader[str]) -> Iterator[Labelling]:
    columns, seen = table.fieldnames or (), set()
    if FILE not in columns:
        raise BadLabels(f"{path}, line 1: no column `{FILE}`, which says what photo a line is about")
    if unknown := [name for name in columns if name not in (FILE, ANNOTATOR, *VALUES)]:
        raise BadLabels(
            f"{path}, line 1: unknown column {unknown[0]!r}; there are {FILE}, {ANNOTATOR}, {', '.join(VALUES)}"
        )
    for row in table:
        where = f"{path}, line {table.line_num}"
        if None in row or None in row.values():
            raise BadLabels(f"{where}: expected {len(columns)} cells, as in the first line")
        cells = {name: cell.strip() for name, cell in row.items()}
        file, annotator = cells.pop(FILE), cells.pop(ANNOTATOR, "")
        for name, cell in cells.items():
            if cell and cell not in VALUES[name]:
                raise BadLabels(f"{where}: {name} is {cell!r}; expected {', '.join(VALUES[name])}, or nothing")
        if (file, annotator) in seen:
            raise BadLabels(f"{where}: {file} a second time by the same {ANNOTATOR} {annotator!r}")
        seen.add((file, annotator))
        yield Labelling(table.line_num, file, annotator, {name: cell for name, cell in cells.items() if cell})
