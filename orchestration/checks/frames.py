"""A parquet file as the data frames that expectations are put to: lists become a few numbers of each row, pictures what
opening a sample of them shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models import images
from models.face_parts import CLASSES
from stages.data import tables
from stages.data.feature_cache import digest_of_picture

GROUPS_A_SOURCE = 8
"""Row groups that the sampled pictures of a source come from: few are read, and all over the file."""
LEAST_OF_A_SOURCE = 16
FACE = CLASSES.index("face")


def columns(path: Path) -> pd.DataFrame:
    """One row for each column of the file: `column` and `type`, in Arrow's words."""
    return pd.DataFrame([{"column": field.name, "type": type_name(field.type)} for field in pq.read_schema(path)])


def type_name(kind: pa.DataType) -> str:
    """Arrow's name of a type; what a list calls its elements is no part of it."""
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)


def read(path: Path, group_sizes: Sequence[int] | None = None) -> pd.DataFrame:
    """The file without its pictures. A list column `c` becomes `c_length`, `c_lowest`, `c_highest` and `c_finite`;
    where the sizes of the character's groups are known, `discrete_outside` counts the choices that no group has.
    """
    schema = pq.read_schema(path)
    lists = [field.name for field in schema if pa.types.is_list(field.type)]
    plain = [field.name for field in schema if field.name not in lists and not pa.types.is_binary(field.type)]
    frame = pq.read_table(path, columns=plain).to_pandas()
    frame.index = range(len(frame))
    for name in lists:
        sizes = group_sizes if name.endswith("discrete") else None
        described = [_describe(name, batch.column(0), sizes) for batch in tables.batches(path, [name])]
        if described:
            frame = frame.join(pd.concat(described, ignore_index=True))
    return frame


def digests(path: Path) -> list[str]:
    """A digest of each row's picture, "" without one: alignment makes the same bytes of the same photo."""
    return [
        digest_of_picture(data) if data else ""
        for batch in tables.batches(path, ["image"])
        for data in batch.column(0).to_pylist()
    ]


def _describe(name: str, lists: pa.ListArray, sizes: Sequence[int] | None) -> pd.DataFrame:
    """What is said of each list; missing lists have missing values, empty ones no lowest and no highest."""
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.float64)
    values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    filled = np.flatnonzero(lengths > 0)
    lowest, highest = np.full(len(lengths), np.nan), np.full(len(lengths), np.nan)
    if len(filled):
        starts = np.concatenate([[0], np.cumsum(lengths[filled])[:-1]]).astype(np.int64)
        lowest[filled] = np.minimum.reduceat(values, starts)
        highest[filled] = np.maximum.reduceat(values, starts)
    described: dict[str, Any] = {"length": lengths, "lowest": lowest, "highest": highest}
    described["finite"] = np.where(lengths > 0, np.isfinite(lowest) & np.isfinite(highest), np.nan)
    if sizes is not None:
        described["outside"] = _outside(values, lengths, sizes)
    return pd.DataFrame({f"{name}_{key}": value for key, value in described.items()})


def _outside(values: np.ndarray, lengths: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """How many choices of each row are not among those of their group; NaN where the row has not one for each."""
    found, fits = np.full(len(lengths), np.nan), lengths == len(sizes)
    if fits.any() and len(sizes):
        chosen = values[np.repeat(fits, np.nan_to_num(lengths).astype(np.int64))].reshape(-1, len(sizes))
        found[fits] = ((chosen < 0) | (chosen >= np.asarray(sizes))).sum(axis=1)
    return found


def pictures(path: Path, frame: pd.DataFrame, count: int) -> pd.DataFrame:
    """About `count` rows of the table, some of each source, always the same ones, with what opening them shows: sides
    in pixels, or the error; of label maps also the highest class and the face's share.
    """
    rows = sample(path, frame, count)
    known = set(pq.read_schema(path).names) & {"image", "labels"}
    found = []
    for number, row in zip(rows, pick(path, rows, sorted(known)), strict=True):
        names = {name: frame[name].iloc[number] for name in ("id", "source", "person") if name in frame}
        found.append(names | _opened(row.get("image")) | _opened_labels(row.get("labels")))
    return pd.DataFrame(found)


def sample(path: Path, frame: pd.DataFrame, count: int) -> list[int]:
    """Row numbers, evenly spread over a few row groups of each source."""
    sources = frame["source"] if "source" in frame else pd.Series("", index=frame.index)
    group_of_row = np.repeat(*_row_groups(path))
    share = max(LEAST_OF_A_SOURCE, count // max(1, sources.nunique()))
    chosen: list[int] = []
    for _, rows in sources.groupby(sources).groups.items():
        numbers = np.asarray(rows)
        groups = _spread(np.unique(group_of_row[numbers]), GROUPS_A_SOURCE)
        chosen += _spread(numbers[np.isin(group_of_row[numbers], groups)], share).tolist()
    return sorted(chosen)


def _row_groups(path: Path) -> tuple[np.ndarray, list[int]]:
    meta = pq.read_metadata(path)
    lengths = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]
    return np.arange(len(lengths)), lengths


def _spread(values: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the values, evenly spread."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int))]


def pick(path: Path, rows: Sequence[int], wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    """These rows (numbers, rising) of some columns, without reading the others' row groups."""
    numbers, lengths = _row_groups(path)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    with pq.ParquetFile(path) as file:
        for group in numbers:
            inside = [row - starts[group] for row in rows if starts[group] <= row < starts[group + 1]]
            if inside:
                yield from file.read_row_group(int(group), columns=list(wanted)).take(inside).to_pylist()


def _opened(data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {"image_error": "there is none", "image_height": np.nan, "image_width": np.nan}
    try:
        height, width = images.decode_photo(data).shape[:2]
    except images.BadImage as error:
        return {"image_error": str(error), "image_height": np.nan, "image_width": np.nan}
    return {"image_error": None, "image_height": height, "image_width": width}


def _opened_labels(data: bytes | None) -> dict[str, Any]:
    """A label map; a row without one has missing values and no error."""
    found: dict[str, Any] = dict.fromkeys(("labels_height", "labels_width", "labels_highest", "face_share"), np.nan)
    if data is None:
        return found | {"labels_error": None}
    try:
        labels = images.decode_photo(data)[..., 0]
    except images.BadImage as error:
        return found | {"labels_error": str(error)}
    return {
        "labels_error": None,
        "labels_height": labels.shape[0],
        "labels_width": labels.shape[1],
        "labels_highest": int(labels.max()),
        "face_share": float((labels == FACE).mean()),
    }
