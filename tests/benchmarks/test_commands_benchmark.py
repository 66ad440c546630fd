"""The benchmark of commands counts what a command and its children use, and calls each checkout's own code."""

from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console

from benchmarks import commands as bench

PROGRAM = """
import os, sys, time
if sys.argv[1:] == ["fail"]:
    sys.exit("no such thing")
if sys.argv[1:] == ["child"] and (child := os.fork()):
    os.waitpid(child, 0)
    sys.exit()
began = time.process_time()
while time.process_time() - began < 0.3:
    pass
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose `likeness` does as it is told."""
    package = tmp_path / "checkout" / "orchestration"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(PROGRAM)
    return package.parent


@pytest.mark.parametrize("command", ["own", "child"])
def test_what_a_command_and_its_children_use_is_counted(checkout: Path, tmp_path: Path, command: str) -> None:
    assert 0.3 <= bench.call(checkout, tmp_path, [command]) < 10


def test_a_command_that_fails_ends_the_benchmark(checkout: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(typer.Exit):
        bench.call(checkout, tmp_path, ["fail"])
    assert "no such thing" in capsys.readouterr().err.replace("\n", " ")


def test_the_document_has_both_checkouts_and_their_ratio(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "REPOSITORY", checkout)
    (tmp_path / "data" / "photos" / "someone").mkdir(parents=True)
    (tmp_path / "data" / "photos" / "someone" / "photo.jpg").touch()
    document = bench.measured(tmp_path, checkout, 1, ["models", "render"])
    assert list(document["commands"]) == ["models", "render"]
    row = document["commands"]["models"]
    assert row["ratio"] == pytest.approx(row["seconds"] / row["beside"]["seconds"]) and 0.1 < row["ratio"] < 10
    shown = StringIO()
    bench.show(document, Console(file=shown, width=100))
    assert "models" in shown.getvalue() and f"{row['ratio']:.2f}" in shown.getvalue()


def test_costs_are_told_by_their_median() -> None:
    assert bench.cost_of([1.0, 9.0, 2.0]) == bench.Cost(2.0, 1.0, 9.0)


def test_a_project_without_photos_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(typer.Exit):
        bench.commands(tmp_path, tmp_path)
