"""Drawn bytes on disk: whole, bounded, and never worth an error."""

import os
from pathlib import Path

import pytest

from serving.rendering.disk_cache import DiskCache


def test_what_was_put_is_there_after_a_new_start(tmp_path: Path) -> None:
    DiskCache(tmp_path / "drawn").put("a", b"picture")
    assert DiskCache(tmp_path / "drawn").get("a") == b"picture"
    assert DiskCache(tmp_path / "drawn").get("b") is None


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", None)
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        cache.put("a", b"picture")
    assert cache.get("a") is None and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = DiskCache(tmp_path / "file" / "drawn")
    cache.put("a", b"picture")
    assert cache.get("a") is None


def test_what_was_not_asked_for_the_longest_goes_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, most_bytes=1000)
    for number in range(10):
        cache.put(str(number), bytes(90))
        os.utime(cache._path(str(number)), (number, number))
    assert cache.get("0") is not None, "asked for again, so it stays"
    cache.put("new", bytes(200))
    assert cache.get("1") is None and cache.get("2") is None
    assert cache.get("0") is not None and cache.get("new") is not None
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
