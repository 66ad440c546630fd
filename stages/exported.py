"""Pairs that a studio's engine exported: a table of parameters in the engine's own names and units, and pictures.

A row that cannot be used is a Problem with its reason, not an error: a pipeline sets it aside and a check lists it.
"""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.character import Character, CharacterError, ExportedPairs
from engine.schema import SchemaError, Slider
from models.images import decode_photo

PICTURE, ID = "picture", "id"
MINIMUM_PAIRS = 20
NEEDED = "each slider and each group needs one, and `picture`"


@dataclass(frozen=True)
class Pair:
    """One usable row of the table; its picture is not opened yet."""

    id: str
    row: int
    picture: Path | bytes
    sliders: NDArray[np.float32]  # [S] in [0,1]
    choices: NDArray[np.int16]  # [G]

    @property
    def where(self) -> str:
        """What to call the picture in a message."""
        return str(self.picture) if isinstance(self.picture, Path) else "the picture in the table"


@dataclass(frozen=True)
class Problem:
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
    pairs: list[Pair] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
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
    source = character.source
    assert isinstance(source, ExportedPairs)
    path = character.require_table()
    frame = _frame(path)
    export = Export(path, warnings=_check_columns(character, frame, path))
    pictures, ids = frame[PICTURE].tolist(), _ids(frame)
    reasons: list[list[str]] = [[] for _ in ids]
    sliders = np.stack([_slider(slider, frame, reasons) for slider in character.schema.sliders], axis=1)
    choices = _choices(character, frame, reasons)
    seen: dict[str, int] = {}
    for k, name in enumerate(ids):
        picture = (
            pictures[k] if isinstance(pictures[k], bytes) else character.folder / source.pictures / str(pictures[k])
        )
        if name in seen:
            reasons[k].append(f"the same id as row {seen[name]}: ids must be unique")
        seen.setdefault(name, k + 1)
        if isinstance(picture, Path) and not picture.is_file():
            reasons[k].append(f"no picture {picture}")
        if reasons[k]:
            export.problems.append(Problem(name, k + 1, "; ".join(reasons[k])))
        else:
            export.pairs.append(Pair(name, k + 1, picture, sliders[k], choices[k]))
    return export


def open_picture(pair: Pair) -> NDArray[np.uint8]:
    """The pair's picture, RGB. Raises models.images.BadImage."""
    return decode_photo(pair.picture)


def _frame(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise CharacterError(f"{path} cannot be read as a table: {error}") from error
    raise CharacterError(f"{path}: the table must be a .csv or a .parquet file")


def _check_columns(character: Character, frame: pd.DataFrame, path: Path) -> list[str]:
    """Warnings about columns that nothing reads. Raises CharacterError for missing ones."""
    wanted, given = [PICTURE, *character.schema.engine_columns], [str(name) for name in frame.columns]
    if missing := [name for name in wanted if name not in given]:
        spare = [name for name in given if name not in wanted]
        near = {name: match[0] for name in missing if (match := difflib.get_close_matches(name, spare, 1, 0.7))}
        hints = "".join(f"; is {name} the column {match}?" for name, match in near.items())
        raise CharacterError(f"{path} lacks the columns {', '.join(missing)}: {NEEDED}{hints}")
    extra = [name for name in given if name not in (*wanted, ID)]
    return [f"{path}: columns that the schema does not know are not read: {', '.join(extra)}"] if extra else []


def _ids(frame: pd.DataFrame) -> list[str]:
    if ID in frame:
        return [str(value) for value in frame[ID]]
    return [
        f"{number:06d}" if isinstance(picture, bytes) else Path(str(picture)).with_suffix("").as_posix()
        for number, picture in enumerate(frame[PICTURE])
    ]


def _slider(slider: Slider, frame: pd.DataFrame, reasons: list[list[str]]) -> NDArray[np.float32]:
    """A column in [0,1]; what is wrong with a value is added to its row's reasons."""
    column = frame[slider.known_as.name]
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    shares = np.zeros(len(values), np.float32)
    low, high = slider.known_as.range
    inside = (values >= min(low, high)) & (values <= max(low, high))
    shares[inside] = (values[inside] - low) / (high - low)
    for k in np.flatnonzero(~inside):
        if not np.isfinite(values[k]):
            reasons[k].append(f"{slider.known_as.name} is {column.iloc[k]!r}: not a number")
            continue
        try:
            shares[k] = slider.from_engine(float(values[k]))
        except SchemaError as error:
            reasons[k].append(str(error))
    return shares


def _choices(character: Character, frame: pd.DataFrame, reasons: list[list[str]]) -> NDArray[np.int16]:
    groups = character.schema.groups
    numbers = np.zeros((len(frame), len(groups)), np.int16)
    for column, group in enumerate(groups):
        known: dict[Any, int] = {}
        for k, value in enumerate(frame[group.engine_name]):
            try:
                if value not in known:
                    known[value] = group.from_engine(value)
                numbers[k, column] = known[value]
            except SchemaError as error:
                reasons[k].append(str(error))
    return numbers


def quarantined(problem: Problem, source: str) -> dict[str, str]:
    """A problem as a row of quarantine.parquet."""
    return {"id": f"row {problem.row}: {problem.id}", "source": source, "reason": problem.reason}
