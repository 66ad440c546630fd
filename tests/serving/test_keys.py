"""API keys: shown once, kept as digests, in force at once."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestration.cli.main import app
from serving.keys import KeyProblem, Keys


def test_a_key_lets_its_owner_in_until_it_is_taken_away(tmp_path: Path) -> None:
    keys, elsewhere = Keys(tmp_path / "keys"), Keys(tmp_path / "keys")
    key = keys.add("game-server")
    assert elsewhere.owner(key) == "game-server"
    assert elsewhere.owner(key[:-1]) is None and elsewhere.owner("") is None
    assert key not in (tmp_path / "keys").read_text()
    keys.add("other")
    keys.remove("game-server")
    assert elsewhere.owner(key) is None, "a running service reads the file again"


def test_a_name_has_one_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    keys.add("me")
    for name, said in (("me", "there is a key"), ("a b", "no name"), ("", "no name")):
        with pytest.raises(KeyProblem, match=said):
            keys.add(name)
    with pytest.raises(KeyProblem, match="no key for you: there are me"):
        keys.remove("you")


def test_a_file_that_is_none_of_keys_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("no digests in here at all\n")
    for path in ("keys", "missing"):
        with pytest.raises(KeyProblem, match="likeness key add"):
            Keys(tmp_path / path).owner("x")


def test_the_command_makes_lists_and_takes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_SERVE_KEYS", str(tmp_path / "keys"))

    def call(*words: str) -> str:
        result = CliRunner().invoke(app, ["key", *words])
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    key = call("add", "ann")
    assert Keys(tmp_path / "keys").owner(key) == "ann"
    assert call("list") == "ann"
    call("remove", "ann")
    assert call("list") == ""


def test_a_public_address_without_keys_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"])
    assert result.exit_code == 1
    assert "likeness key add NAME" in " ".join(result.output.split())
