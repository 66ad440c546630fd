"""The cache of arrays gives what making them gives, whatever happens to its files."""

from pathlib import Path

import numpy as np
import pytest

from engine import cache


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIKENESS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "source.txt"
    path.write_text("one")
    return path


def made_of(source: Path, settings: str, calls: list[str]) -> dict[str, np.ndarray]:
    calls.append(settings)
    return {"bytes": np.frombuffer((source.read_text() + settings).encode(), np.uint8)}


def ask(source: Path, calls: list[str], settings: str = "") -> str:
    found = cache.arrays("thing", [source], settings, lambda: made_of(source, settings, calls))
    return bytes(found["bytes"]).decode()


def test_the_same_sources_and_settings_are_made_once(source: Path) -> None:
    calls: list[str] = []
    assert [ask(source, calls), ask(source, calls)] == ["one", "one"]
    assert len(calls) == 1


def test_a_changed_source_or_setting_is_made_again(source: Path) -> None:
    calls: list[str] = []
    ask(source, calls)
    assert ask(source, calls, "x") == "onex"
    source.write_text("two")
    assert ask(source, calls) == "two"
    assert len(calls) == 3


def test_a_broken_file_is_made_again(source: Path) -> None:
    calls: list[str] = []
    ask(source, calls)
    (kept,) = cache.folder().glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:40])
    assert [ask(source, calls), ask(source, calls)] == ["one", "one"]
    assert len(calls) == 2


def test_a_folder_that_cannot_be_written_only_costs_time(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_CACHE", str(source / "below-a-file"))
    calls: list[str] = []
    assert [ask(source, calls), ask(source, calls)] == ["one", "one"]
    assert len(calls) == 2


def test_only_a_few_versions_are_kept(source: Path) -> None:
    for number in range(cache.KEPT + 3):
        ask(source, [], str(number))
    assert len(list(cache.folder().glob("*.npz"))) == cache.KEPT
