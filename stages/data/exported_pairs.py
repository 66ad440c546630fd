"""Pairs that a studio's engine exported: a table of parameters in the engine's own names and units, and pictures.

A row that cannot be used is a Problem with its reason, not an error: a pipeline sets it aside and a check lists it.
"""

import difflib
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from engine.character import Character, CharacterError, ExportedPairs
from engine.schema import Group, SchemaError, Slider
from models.images import decode_photo
from stages.data import exported_table
from stages.data.exported_pictures import NoPicture, Pictures, shown
from stages.data.exported_table import ExportedTable, is_empty

PICTURE, ID = "picture", "id"
MINIMUM_PAIRS = 20
NEEDED = "each slider and each group needs one, and `picture`"


@dataclass(frozen=True)
class ExportedPair:
    """One usable row of the table; its picture is not opened yet."""

    id: str
    row: int
    picture: Path | bytes
    sliders: NDArray[np.float32]  # [S] in [0, 1]
    choices: NDArray[np.int16]  # [G]

    @property
    def where(self) -> str:
        """What to call the picture in a message."""
        return str(self.picture) if isinstance(self.picture, Path) else "the picture in the table"


@dataclass(frozen=True)
class RowProblem:
    """One row that cannot be used."""

    id: str
    row: int
    reason: str

    def __str__(self) -> str:
        return f"row {self.row} ({self.id}): {self.reason}"


@dataclass
class Export:
    """What a character's table holds."""

    table: Path
    pairs: list[ExportedPair] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def require_enough(self) -> None:
        """Raises CharacterError when too few rows can be used."""
        if len(self.pairs) < MINIMUM_PAIRS:
            first = f"; the first problem: {self.problems[0]}" if self.problems else ""
            raise CharacterError(
                f"{self.table}: {len(self.pairs)} usable rows, at least {MINIMUM_PAIRS} are needed and some thousands "
                f"make a good imitator: export more{first}"
            )


def read(character: Character) -> Export:
    """Read and check a character's table. Raises CharacterError when it cannot be read as a table at all."""
    source, schema = character.source, character.schema
    assert isinstance(source, ExportedPairs)
    path = character.require_table()
    table = exported_table.read(path, {PICTURE, ID, *schema.engine_columns})
    export = Export(path, warnings=[*_check_columns(character, table, path), *table.notes])
    reasons = [[table.broken[row]] if row in table.broken else [] for row in table.rows]
    pictures = _pictures(Pictures(character.folder, character.folder / source.pictures), table, reasons)
    ids = _ids(table, pictures, character.folder / source.pictures)
    sliders = [_slider(slider, table, reasons) for slider in schema.sliders]
    choices = [_choices(group, table, reasons) for group in schema.groups]
    seen: dict[str, int] = {}
    for k, (name, row, picture) in enumerate(zip(ids, table.rows, pictures, strict=True)):
        if name in seen and not reasons[k]:
            reasons[k].append(f"the same id as row {seen[name]}: ids must be unique")
        if picture is None or reasons[k]:
            # What else is wrong with a row that fits no columns says nothing.
            export.problems.append(RowProblem(name, row, table.broken.get(row) or "; ".join(reasons[k])))
        else:
            seen[name] = row
            values = np.array([column[k] for column in sliders], np.float32)
            export.pairs.append(
                ExportedPair(name, row, picture, values, np.array([column[k] for column in choices], np.int16))
            )
    return export


def open_picture(pair: ExportedPair) -> NDArray[np.uint8]:
    """The pair's picture, RGB. Raises models.images.BadImage."""
    return decode_photo(pair.picture)


def _check_columns(character: Character, table: ExportedTable, path: Path) -> list[str]:
    """Warnings about columns that nothing reads. Raises CharacterError for missing ones, and for what comes twice."""
    wanted, given = [PICTURE, *character.schema.engine_columns], table.names
    if missing := [name for name in wanted if name not in given]:
        spare = [name for name in given if name not in wanted]
        near = {name: match[0] for name in missing if (match := difflib.get_close_matches(name, spare, 1, 0.7))}
        hints = "".join(f"; is {name} the column {match}?" for name, match in near.items())
        raise CharacterError(f"{path} lacks the columns {', '.join(missing)}: {NEEDED}{hints}")
    if twice := [name for name in (ID, *wanted) if given.count(name) > 1]:
        raise CharacterError(f"{path} has more than one column {', '.join(twice)}: keep one of each")
    extra = [name for name in given if name not in (*wanted, ID)]
    return [f"{path}: columns that the schema does not know are not read: {', '.join(extra)}"] if extra else []


def _pictures(pictures: Pictures, table: ExportedTable, reasons: list[list[str]]) -> list[Path | bytes | None]:
    found: list[Path | bytes | None] = []
    for cell, wrong in zip(table.columns[PICTURE], reasons, strict=True):
        try:
            found.append(pictures.of(cell))
        except NoPicture as error:
            wrong.append(str(error))
            found.append(None)
    return found


def _ids(table: ExportedTable, pictures: Sequence[Path | bytes | None], start: Path) -> list[str]:
    """Each row's id; without one the picture's name, with its ending where another picture has the rest of it."""
    names = [os.path.relpath(p, start) if isinstance(p, Path) else None for p in pictures]
    stems = Counter(_without_ending(name) for name in {name for name in names if name})
    ids = []
    for k, (row, name) in enumerate(zip(table.rows, names, strict=True)):
        given = table.columns[ID][k] if ID in table.columns else None
        if not is_empty(given):
            ids.append(str(given))
        elif name:
            ids.append(stem if stems[stem := _without_ending(name)] == 1 else name)
        elif isinstance(pictures[k], bytes):
            ids.append(f"{row - 1:06d}")
        else:
            named = table.columns[PICTURE][k]
            ids.append(shown(named, quote=False) if isinstance(named, str) and named else "no picture")
    return ids


def _without_ending(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _slider(slider: Slider, table: ExportedTable, reasons: list[list[str]]) -> list[float]:
    """A column in [0, 1]; what is wrong with a value is added to its row's reasons."""
    shares, name = [], slider.known_as.name
    for value, wrong in zip(table.columns[name], reasons, strict=True):
        number, share = exported_table.number_of(value, table.decimal_commas), 0.0
        try:
            if math.isfinite(number):
                share = slider.from_engine(number)
            else:
                point = ", write a decimal point" * (isinstance(value, str) and "," in value)
                wrong.append(f"{name} is {shown(value)}: not a number{point}")
        except SchemaError as error:
            wrong.append(str(error))
        shares.append(share)
    return shares


def _choices(group: Group, table: ExportedTable, reasons: list[list[str]]) -> list[int]:
    numbers = []
    for value, wrong in zip(table.columns[group.engine_name], reasons, strict=True):
        try:
            numbers.append(group.from_engine(value))
        except SchemaError as error:
            wrong.append(shown(error, quote=False))
            numbers.append(0)
    return numbers


def quarantined(problem: RowProblem, source: str) -> dict[str, str]:
    """A problem as a row of quarantine.parquet."""
    return {"id": f"row {problem.row}: {problem.id}", "source": source, "reason": problem.reason}
