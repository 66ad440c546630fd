"""How a recogniser that nobody trained here sees the real faces of a table: embeddings to find people by.

It is SFace, with the weights that come with the project: the faces that are to be checked have taught it nothing, so
its answer is the same before and after a training. Each is kept by its picture (`feature_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.files import digest_of
from stages.data import tables
from stages.data.feature_cache import FeatureCache, digest_of_picture

VERSION = "1"
WEIGHTS = "identity/sface.onnx"
"""In data/embedded."""
DIM = 128
SIZE = 256
"""Side of the picture that is looked at, pixels."""
AT_ONCE = 64
COLUMNS = ("id", "source", "person", "split")

Progress = Callable[[str, int, int], None]


def read_faces(table: Path, without: Sequence[str] = ()) -> pa.Table:
    """Id, source, person and split of the real faces of faces.parquet, but for some sources'."""
    parts = [_real(batch, without).select(list(COLUMNS)) for batch in tables.batches(table, COLUMNS)]
    return pa.Table.from_batches(parts, pa.schema([(name, pa.string()) for name in COLUMNS]))


def embeddings(
    table: Path,
    weights: Path,
    cache: Path | None,
    pick_device: Callable[[], str],
    progress: Progress,
    without: Sequence[str] = (),
) -> NDArray[np.float32]:
    """Embeddings [N, DIM] of length 1 of the faces that `read_faces` gives, in its order.

    cache: the file in which they are kept for other runs (`feature_cache`); None: nowhere.
    """
    network = digest_of([(f"{VERSION} {SIZE}", weights.read_bytes())])
    recogniser = _Recogniser(weights, pick_device)
    total = read_faces(table, without).num_rows
    found = np.empty((total, DIM), np.float32)
    done = 0
    with FeatureCache(cache, network, DIM * found.itemsize) as kept:
        for pictures in _pictures(table, without):
            names = [digest_of_picture(picture) for picture in pictures]
            values = kept.get(names)
            new = [at for at, value in enumerate(values) if value is None]
            if new:
                seen = recogniser([pictures[at] for at in new])
                fresh = {names[at]: one.tobytes() for at, one in zip(new, seen, strict=True)}
                kept.put(fresh)
                values = [value or fresh[name] for name, value in zip(names, values, strict=True)]
            found[done : done + len(values)] = np.frombuffer(b"".join(filter(None, values)), np.float32).reshape(
                -1, DIM
            )
            done += len(values)
            progress("faces that are compared", done, total)
    return found


def pictures_of(table: Path, ids: set[str]) -> dict[str, bytes]:
    """The encoded pictures of some rows, by id."""
    found: dict[str, bytes] = {}
    for batch in tables.batches(table, ("id", "image")) if ids else ():
        chosen = batch.filter(pa.array([name in ids for name in batch["id"].to_pylist()], pa.bool_()))
        found |= dict(zip(chosen["id"].to_pylist(), chosen["image"].to_pylist(), strict=True))
    return found


def _pictures(table: Path, without: Sequence[str]) -> Iterator[list[bytes]]:
    for batch in tables.batches(table, ("source", "image"), AT_ONCE):
        if pictures := _real(batch, without)["image"].to_pylist():
            yield pictures


def _real(batch: pa.RecordBatch, without: Sequence[str]) -> pa.RecordBatch:
    left_out = {"portraits", *without}
    return batch.filter(pa.array([source not in left_out for source in batch["source"].to_pylist()], pa.bool_()))


class _Recogniser:
    """Encoded pictures to embeddings; loaded when it is first needed, for loading takes a second or two."""

    def __init__(self, weights: Path, pick_device: Callable[[], str]) -> None:
        self._weights, self._pick_device = weights, pick_device
        self._look: Callable[[list[bytes]], NDArray[np.float32]] | None = None

    def __call__(self, pictures: list[bytes]) -> NDArray[np.float32]:
        self._look = self._look or self._load()
        return self._look(pictures)

    def _load(self) -> Callable[[list[bytes]], NDArray[np.float32]]:
        from models.identity import IdentityModel
        from models.inference import optimize_for_inference
        from stages.data.dataset import ImageDataset, in_batches

        device = self._pick_device()
        model = optimize_for_inference(IdentityModel.from_file("sface", self._weights).to(device))
        return lambda pictures: in_batches(model, ImageDataset(pictures, SIZE, cache_bytes=0), device).numpy()
