"""What alignment keeps of photos from run to run."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.data import alignment_cache
from stages.data.alignment_cache import KEPT, NUMBERS, AlignmentCache, Key, WantedRow

LANDMARKS = np.arange(136, dtype=np.float32)


def result(photo: str, lasting: bool = True, **values: Any) -> dict[str, Any]:
    numbers = dict(zip(NUMBERS, map(float, range(len(NUMBERS))), strict=True))
    row = {"photo": photo, "rest": "r", "lasting": lasting, "reason": None, "labels": None, "n_faces": 1}
    return row | numbers | {"image": f"<face of {photo}>".encode(), "landmarks": LANDMARKS} | values


def refused(photo: str, reason: str, lasting: bool = True) -> dict[str, Any]:
    return result(photo, lasting, **dict.fromkeys((*NUMBERS, "image", "n_faces", "landmarks")), reason=reason)


def run(file: Path, *photos: str) -> list[str]:
    """One run that wants these photos; gives those that had to be aligned."""
    with AlignmentCache(file) as cache:
        new = [photo for photo in photos if not cache.want(WantedRow(photo, "s", "p", "train"), Key(photo, "r"))]
        cache.add(map(result, new))
        assert [row["image"] for row in cache.rows()] == [f"<face of {photo}>".encode() for photo in photos]
        cache.finish()
    return new


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return alignment_cache.file_in(tmp_path)


def test_rows_come_in_the_order_in_which_they_were_wanted_with_what_is_known_of_each(file: Path) -> None:
    parameters, discrete = np.array([0.1, 0.9], np.float32), np.array([3], np.int16)
    with AlignmentCache(file) as cache:
        assert not cache.want(WantedRow("s/1", "s", "ann", "train", parameters, discrete), Key("a", "r"))
        cache.refuse(WantedRow("s/2", "s", "bob", "train"), "held out")
        assert not cache.want(WantedRow("s/3", "s", "bob", "test"), Key("b", "r"))
        assert cache.want(WantedRow("s/4", "s", "cid", "val"), Key("a", "r")), "the photo of the first row once more"
        cache.add([refused("b", "no face found"), result("a", labels=b"map")])
        first, held_out, bad, twin = cache.rows()
    assert (first["id"], first["person"], first["split"], twin["person"]) == ("s/1", "ann", "train", "cid")
    assert first["image"] == twin["image"] == b"<face of a>" and first["labels"] == b"map"
    assert first["parameters"].tolist() == parameters.tolist() and twin["parameters"] is None
    assert first["discrete"].dtype == np.int16 and first["pitch"] == 1.0 and (first["landmarks"] == LANDMARKS).all()
    assert held_out == {"id": "s/2", "source": "s", "reason": "held out"}
    assert bad == {"id": "s/3", "source": "s", "reason": "no face found"}


def test_what_the_last_runs_did_not_want_is_deleted_and_the_file_shrinks(file: Path) -> None:
    photos = [f"photo {number}" for number in range(500)]
    assert run(file, *photos) == photos
    size = file.stat().st_size
    for _ in range(KEPT - 1):
        assert run(file, photos[0]) == []
    assert run(file, photos[1]) == [], "it is kept so long"
    assert file.stat().st_size < size / 4
    assert run(file, *photos[:3]) == photos[2:3]


def test_a_result_that_may_not_last_is_there_for_its_run_alone(file: Path) -> None:
    with AlignmentCache(file) as cache:
        cache.want(WantedRow("s/1", "s", "ann", "train"), Key("a", "r"))
        cache.add([refused("a", "it cannot be aligned", lasting=False)])
        assert next(cache.rows())["reason"] == "it cannot be aligned"
        cache.finish()
    assert run(file, "a") == ["a"]


def test_results_of_a_run_that_was_killed_are_there_for_the_next(file: Path) -> None:
    with AlignmentCache(file) as cache:
        cache.add([result("a"), refused("b", "it cannot be aligned", lasting=False)])
    assert run(file, "a", "b") == ["b"]


def test_what_is_erased_is_overwritten_and_the_rest_stays(file: Path) -> None:
    run(file, "ann", "bob")
    assert b"<face of ann>" in file.read_bytes()
    assert alignment_cache.held(file, ["ann", "nobody"]) == (1, len(b"<face of ann>"))
    alignment_cache.erase(file, ["ann", "nobody"])
    assert alignment_cache.held(file, ["ann"]) == (0, 0)
    assert b"<face of ann>" not in b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert run(file, "ann", "bob") == ["ann"]


def test_nothing_is_made_by_asking_or_erasing_where_nothing_is_kept(file: Path) -> None:
    alignment_cache.erase(file, ["ann"])
    assert alignment_cache.held(file, ["ann"]) == (0, 0) and not file.exists()


def test_a_file_that_is_no_database_is_told_from_one_that_is_in_use(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError) as damaged, AlignmentCache(file):
        pass
    assert alignment_cache.is_damaged(damaged.value)
    assert not alignment_cache.is_damaged(sqlite3.OperationalError("database is locked"))
