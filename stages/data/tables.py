"""Parquet tables of encoded pictures.

A table is one file, zstd, in small row groups, so that it can be written and read without holding it in memory; the
same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.files import partial_file
from stages.data.appearance_labels import ANNOTATOR, VALUES

ROW_GROUP = 512

FACES_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("person", pa.string()),
        ("split", pa.string()),
        ("image", pa.binary()),
        ("labels", pa.binary()),
        ("parameters", pa.list_(pa.float32())),
        ("discrete", pa.list_(pa.int16())),
        ("yaw", pa.float32()),
        ("pitch", pa.float32()),
        ("roll", pa.float32()),
        ("sharpness", pa.float32()),
        ("brightness", pa.float32()),
        ("n_faces", pa.int32()),
        ("landmarks", pa.list_(pa.float32())),
    ]
)
QUARANTINE_SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("reason", pa.string())])
VERIFICATION_PAIRS_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("fold", pa.int16()),
        ("first", pa.string()),
        ("second", pa.string()),
        ("same", pa.bool_()),
    ]
)
"""Pairs of a published protocol by the ids of faces.parquet; a photo that is quarantined keeps its pairs."""
APPEARANCE_LABELS_SCHEMA = pa.schema(
    [("id", pa.string()), (ANNOTATOR, pa.string()), *((c, pa.string()) for c in VALUES)]
)
"""What people say of real photos by the ids of faces.parquet, a row for each labelling."""


def write(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write rows, a row group at a time; gives their number. What was there stays until all is written."""
    rows, count = iter(rows), 0
    with (
        partial_file(path) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd", compression_level=3) as writer,
    ):
        for group in iter(lambda: list(islice(rows, ROW_GROUP)), []):
            writer.write_table(pa.Table.from_pylist(group, schema), ROW_GROUP)
            count += len(group)
        if not count:
            writer.write_table(pa.Table.from_pylist([], schema), ROW_GROUP)
    return count


def read(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table, or some of its columns, in memory; lists become numpy arrays, missing values None."""
    return pq.read_table(path, columns=list(columns) if columns else None).to_pandas()


def iterate(path: Path, columns: Sequence[str] | None = None, rows: int = 64) -> Iterator[list[dict[str, Any]]]:
    """Rows in order, a few at a time, without holding the table in memory."""
    known = set(pq.read_schema(path).names)
    wanted = [name for name in columns if name in known] if columns else None
    for batch in batches(path, wanted, rows):
        yield batch.to_pylist()


def batches(path: Path, columns: Sequence[str] | None = None, rows: int = ROW_GROUP) -> Iterator[pa.RecordBatch]:
    """The table in order, at most `rows` rows at a time, without holding it in memory."""
    with pq.ParquetFile(path) as table:
        for group in range(table.num_row_groups):
            # A reader of all row groups would hold all that it has read until its end.
            yield from table.iter_batches(rows, [group], list(columns) if columns else None)


def count(path: Path) -> int:
    """Number of rows, from the file's footer."""
    return pq.read_metadata(path).num_rows


def stack(column: Iterable[Sequence[float] | NDArray], dtype: type = np.float32) -> NDArray:
    """A column of equally long lists as an array [N, length]."""
    return np.stack([np.asarray(value, dtype) for value in column])
