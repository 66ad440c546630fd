"""The table of exported pairs as columns of plain values, whichever program wrote it."""

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.character import CharacterError

SEPARATORS = (",", ";", "\t", "|")
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
FIRST_LINES = 50
"""Among which the header is looked for: programs write titles and remarks above it."""
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
PANDAS_INDEX = re.compile(r"__index_level_\d+__")
LONGEST_CELL = 2**31 - 1
AS_CSV_UTF8 = "export it as CSV in UTF-8 (Excel: 'CSV UTF-8'), or as .parquet"


@dataclass
class ExportedTable:
    """Columns of one length, and the number of each row: from 1 below the header, rows that are not read included."""

    names: list[str]
    """As the file has them, in its order; a name may come twice."""
    columns: dict[str, list[Any]]
    rows: list[int]
    broken: dict[int, str] = field(default_factory=dict)
    """Rows whose cells fit no columns, by their number: why."""
    notes: list[str] = field(default_factory=list)
    decimal_commas: bool = False
    """Whether numbers may be written 1,5."""


def read(path: Path, wanted: Collection[str]) -> ExportedTable:
    """Read the `wanted` columns of a table, as far as it has them. Rows in which all of them are empty are left out.

    Raises CharacterError when it is no table.
    """
    readers: dict[str, Callable[[Path, Collection[str]], ExportedTable]] = {
        ".parquet": _parquet, ".csv": _text_table, ".tsv": _text_table,
    }  # fmt: skip
    if (ending := path.suffix.lower()) not in readers:
        raise CharacterError(f"{path}: the table must be a {', '.join(readers)} file")
    try:
        return _without_empty_rows(readers[ending](path, wanted), path)
    except CharacterError:
        raise
    # Arrow's own errors are not all built-in ones.
    except (ValueError, OSError, ArithmeticError, NotImplementedError, csv.Error, pa.ArrowException) as error:
        raise CharacterError(f"{path} cannot be read as a table: {error}") from error


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing: no value, no text, or the NaN that stands for none."""
    return value is None or (isinstance(value, str) and not value.strip()) or value != value


def number_of(value: Any, decimal_commas: bool = False) -> float:
    """A cell as a number; NaN for what is none."""
    if isinstance(value, str):
        if "_" in value:  # Python would read 1_000
            return math.nan
        if decimal_commas and DECIMAL_COMMA.fullmatch(value):
            value = value.replace(",", ".")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _parquet(path: Path, wanted: Collection[str]) -> ExportedTable:
    with pq.ParquetFile(path) as file:
        # What pandas wrote about them does not matter here: a column that was its index is a column.
        names = [name for name in file.schema_arrow.names if not PANDAS_INDEX.fullmatch(name)]
        # A name that comes twice cannot be asked for; who needs it refuses it.
        chosen = [name for name in names if name in wanted and names.count(name) == 1]
        content = file.read(columns=chosen)
        columns = {name: content.column(name).to_pylist() for name in chosen}
        return ExportedTable(names, columns, list(range(1, file.metadata.num_rows + 1)))


def _text_table(path: Path, wanted: Collection[str]) -> ExportedTable:
    csv.field_size_limit(LONGEST_CELL)  # Python's own limit is less than a picture that somebody wrote into a cell
    lines = list(io.StringIO(_text(path), newline=""))
    above, separator = _header(lines, wanted)
    header, *records = csv.reader(lines[above:], delimiter=separator, skipinitialspace=True) if lines else [[]]
    names = _trimmed(header, 0)
    if not names:
        raise CharacterError(f"{path} is empty: export the pairs there")
    if _begins_with_row_names(records, len(names)):
        names = ["", *names]
    numbered = {number: _trimmed(record, len(names)) for number, record in enumerate(records, start=1) if record}
    columns = {
        name: [cells[place] if place < len(cells) else "" for cells in numbered.values()]
        for place, name in enumerate(names)
        if name in wanted
    }
    table = ExportedTable([name for name in names if name], columns, list(numbered))
    table.broken = {
        number: f"{len(cells)} cells, the header has {len(names)}: is a separator or a quote one too many?"
        for number, cells in numbered.items()
        if len(cells) != len(names) and any(cells)
    }
    table.decimal_commas = separator == ";"  # the separator of countries whose numbers have commas
    if above:
        table.notes.append(f"{path}: {_counted(above, 'line')} above the header not read")
    if separator != ",":
        commas = ", commas in numbers as decimal commas" * table.decimal_commas
        table.notes.append(f"{path} is read with {separator!r} between columns{commas}")
    return table


def _begins_with_row_names(records: Sequence[Sequence[str]], length: int) -> bool:
    """Whether each row has one cell more than the header, as R writes row names; not where the last one is empty."""
    filled = [record for record in records if any(record)]
    return all(len(record) == length + 1 for record in filled) and any(record[-1].strip() for record in filled)


def _trimmed(record: Iterable[str], length: int) -> list[str]:
    """Cells without blanks around them, and without empty ones at the end beyond a length."""
    cells = [cell.strip() for cell in record]
    while len(cells) > length and not cells[-1]:
        cells.pop()
    return cells


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data.startswith(UTF16_MARKS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise CharacterError(f"{path} is no text in UTF-8 (at byte {error.start}): {AS_CSV_UTF8}") from error
    if "\0" in text:
        raise CharacterError(f"{path} is no text in UTF-8 (it has zero bytes): {AS_CSV_UTF8}")
    return text


def _header(lines: list[str], wanted: Collection[str]) -> tuple[int, str]:
    """The number of the line that names the most of the wanted columns, and the separator by which it does."""
    most, found = 0, (0, ",")
    for number, line in enumerate(lines[:FIRST_LINES]):
        for separator in SEPARATORS:
            names = _trimmed(next(csv.reader([line], delimiter=separator, skipinitialspace=True), []), 0)
            if (known := len(set(names) & set(wanted))) > most:
                most, found = known, (number, separator)
    return found


def _without_empty_rows(table: ExportedTable, path: Path) -> ExportedTable:
    filled = [
        k
        for k, number in enumerate(table.rows)
        if number in table.broken or not all(is_empty(column[k]) for column in table.columns.values())
    ]
    if empty := len(table.rows) - len(filled):
        table.notes.append(f"{path}: {_counted(empty, 'empty row')} passed over")
        table.columns = {name: [column[k] for k in filled] for name, column in table.columns.items()}
        table.rows = [table.rows[k] for k in filled]
    return table


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"
