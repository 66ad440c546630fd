from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from models import images
from stages.data import tables
from stages.data.dataset import ImageDataset, to_picture, to_unit

SCHEMA = pa.schema([("id", pa.string()), ("image", pa.binary()), ("values", pa.list_(pa.float32()))])


def _rows(n: int) -> list[dict]:
    return [{"id": str(i), "image": bytes([i % 256] * 10), "values": [float(i), 0.5]} for i in range(n)]


def test_the_same_rows_give_the_same_bytes_and_come_back(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert tables.write(tmp_path / name, iter(_rows(1300)), SCHEMA) == 1300
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert tables.count(tmp_path / "a") == 1300
    table = tables.read(tmp_path / "a", ["id", "values"])
    assert list(table.columns) == ["id", "values"] and tables.stack(table["values"]).shape == (1300, 2)
    assert [row["id"] for rows in tables.iterate(tmp_path / "a") for row in rows] == [str(i) for i in range(1300)]


def test_a_write_that_fails_leaves_the_old_table_alone(tmp_path: Path) -> None:
    def broken():
        yield from _rows(600)
        raise RuntimeError("no more")

    tables.write(tmp_path / "a", _rows(3), SCHEMA)
    with pytest.raises(RuntimeError, match="no more"):
        tables.write(tmp_path / "a", broken(), SCHEMA)
    assert tables.count(tmp_path / "a") == 3 and len(list(tmp_path.iterdir())) == 1


def test_reading_holds_no_more_than_a_row_group(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = ({"id": str(i), "image": random.bytes(1000), "values": [0.5]} for i in range(20 * tables.ROW_GROUP))
    tables.write(tmp_path / "a", rows, SCHEMA)
    before, held = pa.total_allocated_bytes(), []
    for batch in tables.batches(tmp_path / "a", ["image"]):
        held.append(pa.total_allocated_bytes() - before)
        del batch
    assert len(held) == 20 and max(held) < 4 * held[0]


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    tables.write(tmp_path / "a", [], SCHEMA)
    assert list(tables.read(tmp_path / "a").columns) == SCHEMA.names


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_pictures_are_rgb_bytes_of_the_wanted_size(cache_bytes: int) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[..., 0] = 250
    pictures = ImageDataset([images.encode_png(picture)] * 3, 32, cache_bytes=cache_bytes)
    for _ in range(2):
        batch = pictures[[2, 0]]
        assert batch.shape == (2, 3, 32, 32) and batch.dtype == torch.uint8
        assert (batch[:, 0] == 250).all() and (batch[:, 1:] == 0).all()
    assert to_unit(batch).max() == pytest.approx(250 / 255)
    assert np.array_equal(to_picture(to_unit(batch)[0]), picture[:32, :32])


def test_smaller_labels_are_still_class_ids() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[20:, 20:] = 9
    small = ImageDataset([images.encode_png(labels)], 24, labels=True)[[0]]
    assert small.shape == (1, 24, 24) and set(small.unique().tolist()) == {0, 9}
