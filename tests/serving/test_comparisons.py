"""Comparisons are kept in files that only grow, and of which the oldest go."""

from pathlib import Path
from typing import Any

from serving.comparisons import Comparison, ComparisonLog, Served


def comparison(**numbers: Any) -> Comparison:
    return Comparison(
        production=Served(version=1, run="a"), candidate=Served(version=2, run="b"), outcome="compared", **numbers
    )


def test_what_is_added_by_several_processes_is_read_by_any(tmp_path: Path) -> None:
    one, other = ComparisonLog(tmp_path, 10**6), ComparisonLog(tmp_path, 10**6)
    for number in range(4):
        (one, other)[number % 2].add(comparison(parameters=number / 10))
    found = list(ComparisonLog(tmp_path, 10**6).read())
    assert sorted(each.parameters or 0.0 for each in found) == [0.0, 0.1, 0.2, 0.3]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_half_line_of_a_killed_process_is_passed_over(tmp_path: Path) -> None:
    log = ComparisonLog(tmp_path, 10**6)
    log.add(comparison())
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text() + file.read_text()[:40])
    assert len(list(log.read())) == 1


def test_the_oldest_go_when_there_is_no_more_room(tmp_path: Path) -> None:
    log = ComparisonLog(tmp_path, 20_000)
    for number in range(500):
        log.add(comparison(parameters=float(number)))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000
    found = [each.parameters for each in log.read()]
    assert found == [float(number) for number in range(500 - len(found), 500)] and len(found) > 50


def test_nothing_is_read_where_nothing_was_kept(tmp_path: Path) -> None:
    assert list(ComparisonLog(tmp_path / "none", 1).read()) == []
