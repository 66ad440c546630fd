"""Drawn bytes on disk: whole, bounded, and never worth an error."""

import os
from pathlib import Path

import pytest

from serving.rendering.disk_cache import Kept


def test_what_was_put_is_there_after_a_new_start(tmp_path: Path) -> None:
    Kept(tmp_path / "drawn").put("a", b"picture")
    assert Kept(tmp_path / "drawn").get("a") == b"picture"
    assert Kept(tmp_path / "drawn").get("b") is None


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", None)
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        kept.put("a", b"picture")
    assert kept.get("a") is None and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = Kept(tmp_path / "file" / "drawn")
    kept.put("a", b"picture")
    assert kept.get("a") is None


def test_what_was_not_asked_for_the_longest_goes_first(tmp_path: Path) -> None:
    kept = Kept(tmp_path, most_bytes=1000)
    for number in range(10):
        kept.put(str(number), bytes(90))
        os.utime(kept._path(str(number)), (number, number))
    assert kept.get("0") is not None, "asked for again, so it stays"
    kept.put("new", bytes(200))
    assert kept.get("1") is None and kept.get("2") is None
    assert kept.get("0") is not None and kept.get("new") is not None
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
