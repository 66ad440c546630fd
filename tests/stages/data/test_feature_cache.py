"""What networks saw of pictures is kept by picture and network, and goes when it should."""

import sqlite3
from pathlib import Path

import pytest

from stages.data import feature_cache
from stages.data.feature_cache import FeatureCache

A, B, C = b"aaaa", b"bbbb", b"cccc"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return feature_cache.file_in(tmp_path)


def put(file: Path, network: str = "n", **values: bytes) -> None:
    with FeatureCache(file, network, 4) as cache:
        cache.put(values)


def get(file: Path, *pictures: str, network: str = "n") -> list[bytes | None]:
    with FeatureCache(file, network, 4) as cache:
        return cache.get(pictures)


def test_what_was_seen_is_there_for_the_next_run_of_the_same_network(file: Path) -> None:
    put(file, a=A, b=B)
    assert get(file, "b", "c", "a", "a") == [B, None, A, A]
    assert get(file, "a", network="another") == [None]


def test_a_value_of_another_length_is_none(file: Path) -> None:
    put(file, a=A[:3])
    assert get(file, "a") == [None]


def test_the_networks_used_last_stay(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "NETWORKS_KEPT", 2)
    for network in ("one", "two", "three"):
        put(file, network, a=A)
        get(file, "a", network="two")
    assert [get(file, "a", network=name) for name in ("two", "three", "one")] == [[A], [A], [None]]


def test_without_a_file_nothing_is_kept() -> None:
    with FeatureCache(None, "n", 4) as cache:
        cache.put({"a": A})
        assert cache.get(["a"]) == [None]


def test_a_damaged_file_costs_time_and_is_made_anew(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no database" * 1000)
    put(file, a=A)
    put(file, a=A)
    assert get(file, "a") == [A]


def test_only_what_is_surely_others_stays_and_nothing_of_the_rest_is_on_the_disk(file: Path) -> None:
    put(file, a=b"SEEN", b=B, c=C)
    assert feature_cache.held_besides(file, ["b", "c", "unknown"]) == (1, 4)
    feature_cache.keep_only(file, ["b", "c", "unknown"])
    assert get(file, "a", "b", "c") == [None, B, C]
    assert b"SEEN" not in file.read_bytes()


def test_what_no_run_asked_for_lately_goes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day = feature_cache.today()
    monkeypatch.setattr(feature_cache, "today", lambda: day - 10)
    put(file, a=A, b=B)
    monkeypatch.setattr(feature_cache, "today", lambda: day)
    assert get(file, "b") == [B]
    assert feature_cache.held_unused(file, 7) == (1, 4)
    feature_cache.delete_unused(file, 7)
    assert get(file, "a", "b") == [None, B]


def test_of_no_file_nothing_is_held(file: Path) -> None:
    assert feature_cache.held_unused(file, 1) == feature_cache.held_besides(file, []) == (0, 0)
    feature_cache.keep_only(file, [])
    feature_cache.delete_unused(file, 1)
    assert not file.exists()


def test_two_processes_may_use_it_at_once(file: Path) -> None:
    with FeatureCache(file, "n", 4) as one, FeatureCache(file, "m", 4) as other:
        one.put({"a": A})
        other.put({"a": B})
        assert (one.get(["a"]), other.get(["a"])) == ([A], [B])
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT count(*) FROM features").fetchone() == (2,)
