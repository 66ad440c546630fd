"""Verification sets are pickles: what they need is read, whoever wrote it, and nothing else is ever made or run."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.aligned_faces import Config
from stages.data import photo_sets
from stages.data.photo_sets import PhotoSetError
from stages.data.photo_sets.verification_bin import VerificationBinSet, read
from tests.stages import photo_trees

PICTURES = [b"\xff\xd8 one", b"\xff\xd8 two", b"\xff\xd8 one", b"\xff\xd8\x00three"]
SAME = [True, False]


def stored(folder: Path, data: bytes) -> Path:
    path = folder / "set.bin"
    path.write_bytes(data)
    return path


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("arrays", [False, True], ids=["bytes", "arrays"])
def test_every_protocol_is_read(protocol: int, arrays: bool, tmp_path: Path) -> None:
    pictures: list[Any] = [np.frombuffer(data, np.uint8).copy() for data in PICTURES] if arrays else PICTURES
    same: Any = np.array(SAME) if arrays else SAME
    assert read(stored(tmp_path, pickle.dumps((pictures, same), protocol))) == (PICTURES, SAME)
    flags = [np.bool_(value) for value in SAME]
    assert read(stored(tmp_path, pickle.dumps((pictures, flags), protocol))) == (PICTURES, SAME)


def test_what_python_2_wrote_is_read(tmp_path: Path) -> None:
    """Its strings are bytes; numpy's module has its old name, and what numpy pickles are strings too."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(I3\ntcnumpy\ndtype\n"
        b"(U\x02u1I0\nI1\ntR(I3\nU\x01|NNNI-1\nI-1\nI0\ntbI00\nU\x03\xff\xd8atb"
    )
    text = b"U\x03\xff\xd8b"
    assert read(stored(tmp_path, b"\x80\x02(](" + array + text + b"e](I01\netq\x00.")) == (
        [b"\xff\xd8a", b"\xff\xd8b"],
        [True],
    )


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    for content in (Runs(trap), ([Runs(trap), b"b"], [True]), (PICTURES, [Runs(trap), True])):
        with pytest.raises(PhotoSetError, match=r"asks for posix.system, which a list of pictures does not need"):
            read(stored(tmp_path, pickle.dumps(content)))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pickle.dumps((OrderedDict(), [True])), "collections.OrderedDict"),
        (pickle.dumps(([np.array([object()]), b"b"], [True])), "numpy dtype 'O8' is not admitted"),
        (pickle.dumps(([np.zeros(2, [("a", "u1")]), b"b"], [True]), 2), "numpy dtype 'V1' is not admitted"),
        (pickle.dumps(([np.zeros((2, 2), np.uint8), b"b"], [True])), r"shape \(2, 2\)"),
        (pickle.dumps(([np.zeros(2, np.int32), b"b"], [True])), r"expected an encoded picture \(bytes\)"),
        (pickle.dumps((["text", b"b"], [True])), r"expected an encoded picture \(bytes\), found str"),
        (b"c_codecs\nencode\n(VX\nVzlib\ntR.", "another encoding than latin1"),
        (b"cbuiltins\neval\n(V1\ntR.", r"builtins.eval"),
        (b"Pother\n.", "objects outside it"),
        (pickle.dumps((PICTURES, SAME))[:-20], "no readable pickle"),
        (b"", "no readable pickle"),
        (b"\x80\x04}.", r"expected \(encoded pictures, booleans\)"),
        (pickle.dumps((PICTURES, [True])), "4 pictures for 1 pairs"),
        (pickle.dumps((PICTURES, [True, 2])), "expected True or False for a pair, found 2"),
        (pickle.dumps(([], [])), "0 pictures for 0 pairs"),
    ],
)
def test_what_is_no_list_of_pictures_is_named(data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoSetError, match=reason):
        read(stored(tmp_path, data))


def test_a_pickle_cannot_change_the_reader(tmp_path: Path) -> None:
    """BUILD sets attributes of what it is given; that must not outlive the pickle."""
    build = b"cnumpy\nndarray\n(dV__defaults__\n(V1\ntstb."
    with pytest.raises(PhotoSetError):
        read(stored(tmp_path, build))
    assert read(stored(tmp_path, pickle.dumps((PICTURES, SAME)))) == (PICTURES, SAME)


def test_photos_are_listed_once_and_people_are_joined(tmp_path: Path) -> None:
    config = Config(photo_sets=[photo_trees.verification_bin(tmp_path)])  # type: ignore[arg-type]
    photos = list(photo_sets.photos_of(config.photo_sets, tmp_path))
    assert [photo.id for photo in photos] == [f"agedb_30/{number:05d}" for number in (0, 1, 3, 4, 5, 6)]
    people = [photo.person.removeprefix("agedb_30/") for photo in photos]
    assert people == ["00000", "00000", "00003", "00004", "00004", "00006"]
    assert {photo.split for photo in photos} == {"test"}
    pairs = [(pair.fold, pair.first[-1], pair.second[-1], pair.same) for pair in
             photo_sets.pairs_of(config.photo_sets, tmp_path)]  # fmt: skip
    assert pairs == [(0, "0", "1", True), (1, "0", "3", False), (2, "4", "5", True), (3, "6", "0", False)]


def test_folds_are_those_of_the_toolkits(tmp_path: Path) -> None:
    """Ten runs of pairs in the file's order, the first ones longer where it does not divide."""
    pictures = [str(number).encode() for number in range(46)]
    stored(tmp_path, pickle.dumps((pictures, [False] * 23)))
    entry = VerificationBinSet(name="set", path="set.bin")
    folds = [pair.fold for pair in entry.pairs(tmp_path)]
    assert [folds.count(fold) for fold in range(10)] == [3, 3, 3] + [2] * 7 and folds == sorted(folds)


def test_a_limit_takes_pairs_of_all_folds(tmp_path: Path) -> None:
    stored(tmp_path, pickle.dumps(([str(number).encode() for number in range(60)], [False] * 30)))
    entry = VerificationBinSet(name="set", path="set.bin", limit=10)
    pairs = list(entry.selected_pairs(tmp_path))
    assert [pair.fold for pair in pairs] == list(range(10))
    assert {photo.id for photo in entry.selected(tmp_path)} == {
        id for pair in pairs for id in (pair.first, pair.second)
    }
