"""Parquet tables of encoded pictures, and their pixels as tensors.

A table is one file, zstd, in small row groups, so that it can be written and read without holding it in memory; the
same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.files import partial_file
from models import images

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


def write(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write rows, a row group at a time; gives their number. What was there stays until all is written."""
    count, pending = 0, []
    with (
        partial_file(path) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd", compression_level=3) as writer,
    ):
        for row in rows:
            pending.append(row)
            count += 1
            if len(pending) == ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(pending, schema), ROW_GROUP)
                pending = []
        if pending or not count:
            writer.write_table(pa.Table.from_pylist(pending, schema), ROW_GROUP)
    return count


def read(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table, or some of its columns, in memory; lists become numpy arrays, missing values None."""
    return pq.read_table(path, columns=list(columns) if columns else None).to_pandas()


def iterate(path: Path, columns: Sequence[str] | None = None, rows: int = 64) -> Iterator[list[dict[str, Any]]]:
    """Rows in order, a few at a time, without holding the table in memory."""
    with pq.ParquetFile(path) as table:
        known = set(table.schema_arrow.names)
        wanted = [name for name in columns if name in known] if columns else None
        for batch in table.iter_batches(rows, columns=wanted):
            yield batch.to_pylist()


def count(path: Path) -> int:
    """Number of rows, from the file's footer."""
    return pq.read_metadata(path).num_rows


def stack(column: Iterable[Sequence[float] | NDArray], dtype: type = np.float32) -> NDArray:
    """A column of equally long lists as an array [N, length]."""
    return np.stack([np.asarray(value, dtype) for value in column])


class ImageDataset:
    """A column of encoded pictures as uint8 tensors of one size: [B, 3, size, size], or [B, size, size] for label maps.

    Decoded when asked for; what was decoded is kept as long as all of it fits into `cache_bytes`.
    """

    def __init__(
        self, encoded: Sequence[bytes], size: int, labels: bool = False, cache_bytes: int = 1_500_000_000
    ) -> None:
        self.encoded, self.size, self.labels = list(encoded), size, labels
        shape = (size, size) if labels else (3, size, size)
        fits = len(self.encoded) * int(np.prod(shape)) <= cache_bytes
        self._kept = torch.empty((len(self.encoded), *shape), dtype=torch.uint8) if fits else None
        self._known = np.zeros(len(self.encoded), bool)

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, indices: Sequence[int] | NDArray) -> Tensor:
        if self._kept is None:
            return torch.stack([self._decode(int(i)) for i in indices])
        for i in indices:
            if not self._known[i]:
                self._kept[int(i)] = self._decode(int(i))
                self._known[i] = True
        return self._kept[torch.as_tensor(np.asarray(indices, np.int64))]

    def _decode(self, i: int) -> Tensor:
        if self.labels:
            labels = images.decode_labels(self.encoded[i])
            step = len(labels) / self.size
            at = ((np.arange(self.size) + 0.5) * step).astype(int)  # nearest: class ids are never mixed
            return torch.from_numpy(np.ascontiguousarray(labels[at][:, at]))
        picture = images.resize(images.decode(self.encoded[i]), self.size)
        return torch.from_numpy(picture).permute(2, 0, 1)


def row_batches(rows: int, size: int) -> Iterator[NDArray[np.int64]]:
    """The numbers of `rows` rows in order, `size` at a time."""
    return (np.arange(start, min(start + size, rows)) for start in range(0, rows, size))


def to_unit(pictures: Tensor, device: str | torch.device = "cpu") -> Tensor:
    """uint8 pictures to float in [0, 1]."""
    return pictures.to(device).float() / 255


def to_picture(image: Tensor) -> NDArray:
    """One float RGB picture [3, H, W] in [0, 1] to uint8 [H, W, 3]."""
    return (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def in_batches(
    function: Callable[[Tensor], Tensor],
    pictures: ImageDataset,
    device: str,
    batch: int = 32,
    on_done: Callable[[int], None] | None = None,
) -> Tensor:
    """function(faces [B, 3, H, W] in [0, 1]) over all pictures, results joined on the CPU."""
    results = []
    for chosen in row_batches(len(pictures), batch):
        results.append(function(to_unit(pictures[chosen], device)).cpu())
        if on_done:
            on_done(int(chosen[-1]) + 1)
    return torch.cat(results) if results else torch.empty(0)
