"""Errors are one clear line with what to do; `--json` prints one document and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from engine.character_json import DocumentError, read_document
from orchestration.apps.create import refuse_twins
from orchestration.cli.main import app
from orchestration.config.settings import Settings

COMMANDS = (
    "inputs",
    "run",
    "create",
    "render",
    "export",
    "scorecard",
    "ablate",
    "checks",
    "models",
    "lineage",
    "restore",
    "forget",
    "clean",
    "promote",
    "push",
    "profile",
    "rollback",
    "shadow",
    "doctor",
    "drift",
    "dagster",
    "start",
    "serve",
    "key",
)


@pytest.fixture
def call(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIKENESS_ROOT", str(settings.root))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    return invoke


def error_of(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(call, command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 4


def test_an_unknown_character_lists_those_that_exist(call) -> None:
    assert "there are: embedded, other" in error_of(call("models", "--character", "nobody"))


def test_an_unknown_profile_lists_those_that_exist(call) -> None:
    assert "paper, quickstart, smoke" in error_of(call("run", "--profile", "fast"))


def test_an_unknown_asset_lists_those_that_exist(call) -> None:
    assert "portraits, aligned_faces" in error_of(call("run", "--only", "portrait"))


def test_create_without_a_model_says_how_to_get_one(call, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    message = error_of(call("create", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")))
    assert "likeness-embedded has no version production: run `likeness run`" in message


def test_two_photos_for_one_folder_are_an_error_before_any_work(call, tmp_path: Path) -> None:
    message = error_of(call("create", "x/anna.png", "y/anna.jpg", "--out", str(tmp_path / "out")))
    assert "would both be written to anna/" in message
    assert not (tmp_path / "out").exists()
    refuse_twins([Path("anna.png"), Path("ben.png")])


def test_equal_names_in_a_folder_are_an_error_before_any_work(call, tmp_path: Path) -> None:
    for name in ("team/anna.jpg", "team/more/anna.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"photo")
    message = error_of(call("create", str(tmp_path / "team"), "--out", str(tmp_path / "out"), "--json"))
    assert "would both be written to anna/" in message and not (tmp_path / "out").exists()


def test_a_folder_without_photos_is_one_line(call, tmp_path: Path) -> None:
    message = error_of(call("create", str(tmp_path), "--out", str(tmp_path / "out")))
    assert f"{tmp_path} is a folder without photos" in message


def test_scorecard_before_any_evaluation_says_what_to_run(call) -> None:
    assert "nothing was evaluated yet for embedded: run `likeness run`" in error_of(call("scorecard", "--json"))


def test_rollback_without_a_previous_version_is_an_error(call) -> None:
    assert "no version in production to leave" in error_of(call("rollback"))


def test_json_is_one_document_on_stdout(call) -> None:
    result = call("models", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == []
    findings = json.loads(call("doctor", "--json").stdout)
    assert {"name", "ok", "level", "detail", "remedy"} == set(findings[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ('{"format": 99}', "has format 99, this version reads format 1"),
        ('{"format": 1}', "lacks character, discrete, parameters, schema_md5"),
    ],
)
def test_what_is_no_character_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "character.json"
    path.write_text(text)
    with pytest.raises(DocumentError) as error:
        read_document(path)
    assert message in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("word", ["[/x]", "[bold]", "[old] photo", "a]b[/]"])
def test_what_looks_like_markup_is_shown_as_it_is(call, word: str) -> None:
    assert word in error_of(call("models", "--character", word))


@pytest.mark.parametrize("out", [".", "..", "/", "afile/below.png"])
def test_a_place_where_no_file_can_be_written_is_one_line(call, tmp_path: Path, monkeypatch, out: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").write_text("")
    (tmp_path / "character.json").write_text("{}")
    error_of(call("render", "character.json", "--out", out))


def test_a_version_to_leave_is_a_number(call) -> None:
    assert "--from takes a version's number, not production" in error_of(call("rollback", "--from", "production"))


def test_what_a_command_tells_reaches_a_pipe_whoever_wrapped_stderr(settings: Settings) -> None:
    program = """
import os, sys
import dvc  # wraps sys.stderr where it is no terminal
from orchestration.cli import terminal
from orchestration.config.settings import Settings

assert sys.stderr is not sys.__stderr__
with terminal.libraries_into_log(Settings()):
    os.write(2, b"of a library")
    terminal.stderr_console().print("of ours")
"""
    environment = {"LIKENESS_ROOT": str(settings.root), "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert said.stderr == "of ours\n"
    assert (settings.home / "libraries.log").read_text() == "of a library"
