"""API keys: shown once, kept as digests, in force at once."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestration.cli.main import app
from serving.keys import KeyProblem, Keys


def owner(keys: Keys, key: str) -> str | None:
    found = keys.find(key)
    return found and found.name


def test_a_key_lets_its_owner_in_until_it_is_taken_away(tmp_path: Path) -> None:
    keys, elsewhere = Keys(tmp_path / "keys"), Keys(tmp_path / "keys")
    key = keys.add("game-server")
    assert owner(elsewhere, key) == "game-server"
    assert owner(elsewhere, key[:-1]) is None and owner(elsewhere, "") is None
    assert key not in (tmp_path / "keys").read_text()
    keys.add("other")
    keys.remove("game-server")
    assert owner(elsewhere, key) is None, "a running service reads the file again"


def test_a_file_that_changed_within_a_tick_of_the_clock_is_read_again(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    key = keys.add("me")
    assert owner(keys, key) == "me"
    status = keys.path.stat()
    keys.path.write_text("")
    os.utime(keys.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert keys.path.stat().st_ino == status.st_ino and owner(keys, key) is None


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
            Keys(tmp_path / path).find("x")


def test_a_file_of_before_is_read(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    key = keys.add("me")
    name, digest, *_ = keys.path.read_text().split()
    keys.path.write_text(f"{name} {digest}\n")
    known = Keys(keys.path).find(key)
    assert known is not None and known.may("create") and known.may("players") and known.created is None


def test_a_key_that_expired_lets_nobody_in(tmp_path: Path) -> None:
    keys, now = Keys(tmp_path / "keys"), datetime.now(UTC)
    soon, over = keys.add("soon", now + timedelta(minutes=1)), keys.add("over", now)
    assert owner(keys, soon) == "soon" and owner(keys, over) is None and keys.named("over") is None


def test_a_rotated_key_stays_the_same_owners_and_the_old_one_is_good_for_a_while(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    keys.add("other")
    first = keys.add("game", scopes=("create",), per_minute=60, photos_per_day=9)
    second = keys.rotate("game", timedelta(days=1))
    newest = keys.find(second)
    assert newest is not None and (newest.scopes, newest.per_minute, newest.photos_per_day) == (("create",), 60, 9)
    assert keys.named("game") == newest and owner(keys, first) == owner(keys, second) == "game"
    third = keys.rotate("game", timedelta(0))
    assert [owner(keys, key) for key in (first, second, third)] == [None, None, "game"], "a leaked key is out at once"


def test_the_command_makes_lists_rotates_and_takes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_SERVE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path))

    def call(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["key", *words])
        assert result.exit_code == code, result.output
        return result.output.strip()

    key = call("add", "ann", "--scope", "draw", "--expires", "90d", "--photos-per-day", "5")
    assert owner(Keys(tmp_path / "keys"), key) == "ann"
    assert call("list").startswith("ann, created 20")
    (row,) = json.loads(call("list", "--json"))
    assert (row["name"], row["for"], row["photos_per_day"], row["last_use"]) == ("ann", ["draw"], 5, None)
    assert owner(Keys(tmp_path / "keys"), call("rotate", "ann")) == "ann"
    call("remove", "ann")
    assert call("list") == ""
    assert "there is no scope fly" in call("add", "bob", "--scope", "fly", code=1)
    assert "is over" in call("add", "bob", "--expires", "2020-01-01", code=1)


def test_a_public_address_without_keys_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"])
    assert result.exit_code == 1
    assert "likeness key add NAME" in " ".join(result.output.split())
