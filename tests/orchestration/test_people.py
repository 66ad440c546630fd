"""People who are known by a key, what each may do, and the log of who did what."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestration.cli.main import app
from orchestration.config.settings import Settings, environment_elsewhere
from orchestration.registry import audit
from orchestration.registry.people import FORGET, PEOPLE, PROMOTE, VARIABLE, NotAllowed, People


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People.of(tmp_path)


def likeness(root: Path, *arguments: str, key: str = "") -> Result:
    environment = {"LIKENESS_ROOT": str(root), "LIKENESS_USER": "whoever", VARIABLE: key}
    return CliRunner(env=environment).invoke(app, arguments)


def test_the_first_person_may_everything_and_others_what_is_said(people: People) -> None:
    assert not people
    ann, ben = people.add("ann", [PROMOTE]), people.add("ben", [PROMOTE])
    assert people.require(ann, PEOPLE) == "ann" and people.require(ben, PROMOTE) == "ben"
    with pytest.raises(NotAllowed, match="ben may not forget: ask ann"):
        people.require(ben, FORGET)
    assert ann not in people.file.read_text() and people.who_may(PROMOTE) == ["ann", "ben"]


@pytest.mark.parametrize(("key", "told"), [("", f"{VARIABLE} is missing"), ("guessed", f"{VARIABLE} is nobody's")])
def test_who_has_no_key_may_nothing(people: People, key: str, told: str) -> None:
    people.add("ann", [])
    with pytest.raises(NotAllowed, match=told):
        people.require(key, PROMOTE)


def test_a_key_that_was_taken_away_is_nobodys_at_once(people: People) -> None:
    people.add("ann", [])
    key = people.add("ben", [PROMOTE])
    people.remove("ben")
    with pytest.raises(NotAllowed, match="is nobody's"):
        people.require(key, PROMOTE)
    with pytest.raises(NotAllowed, match="nobody would be left"):
        people.remove("ann")
    with pytest.raises(NotAllowed, match="ann is known"):
        people.add("ann", [])
    with pytest.raises(NotAllowed, match="is no name"):
        people.add("ann lee", [])


def test_a_damaged_file_lets_nobody_in(people: People) -> None:
    people.add("ann", [])
    people.file.write_text("{")
    with pytest.raises(NotAllowed, match="cannot be read"):
        people.require("", PROMOTE)


def test_only_who_may_says_who_may(settings: Settings) -> None:
    ann = likeness(settings.root, "person", "add", "ann").stdout.strip()
    assert likeness(settings.root, "person", "add", "ben").exit_code == 1
    ben = likeness(settings.root, "person", "add", "ben", "--may", "promote", key=ann).stdout.strip()
    assert "may not people: ask ann" in likeness(settings.root, "person", "add", "eve", key=ben).stderr
    assert likeness(settings.root, "person", "add", "eve", "--may", "fly", key=ann).exit_code == 1
    assert likeness(settings.root, "person", "remove", "ben", key=ann).exit_code == 0
    assert likeness(settings.root, "person", "list").stdout == "ann: promote, rollback, forget, people\n"
    for command in (["promote", "1"], ["rollback"], ["forget", "x.jpg"]):
        assert VARIABLE in likeness(settings.root, *command).stderr, command
    said = [json.loads(line) for line in likeness(settings.root, "audit", "--json").stdout.splitlines()]
    assert [(each["who"], each["what"], each["person"]) for each in said] == [
        ("whoever", "person added", "ann"), ("ann", "person added", "ben"), ("ann", "person removed", "ben"),
    ]  # fmt: skip


def test_a_persons_key_goes_to_no_other_machine() -> None:
    assert VARIABLE not in environment_elsewhere({VARIABLE: "secret", "LIKENESS_PROFILE": "paper"})


def test_a_line_that_was_changed_taken_out_or_put_in_breaks_the_chain(tmp_path: Path) -> None:
    for number in range(4):
        audit.append(tmp_path, "promotion", "ann", {"version": str(number)})
    assert audit.break_in(tmp_path) == "" and len(list(audit.records(tmp_path))) == 4
    file = tmp_path / audit.FILE
    lines = file.read_text().splitlines(keepends=True)
    for changed in (
        [lines[0], lines[1].replace('"ann"', '"eve"'), *lines[2:]],
        [lines[0], *lines[2:]],
        [*lines[:2], lines[0], *lines[2:]],
        lines[1:],
    ):
        file.write_text("".join(changed))
        assert "does not follow" in audit.break_in(tmp_path)
    file.write_text("".join(lines))
    assert audit.break_in(tmp_path) == ""


def test_the_end_that_was_cut_off_is_known_to_who_kept_the_last_digest(tmp_path: Path) -> None:
    for number in range(3):
        audit.append(tmp_path, "promotion", "ann", {"version": str(number)})
    kept, file = audit.head(tmp_path), tmp_path / audit.FILE
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    assert audit.break_in(tmp_path) == "" and audit.head(tmp_path) != kept


def test_half_a_line_of_a_full_disk_is_named_and_the_next_line_is_whole(tmp_path: Path) -> None:
    audit.append(tmp_path, "promotion", "ann", {})
    with (tmp_path / audit.FILE).open("a") as file:
        file.write('{"when": "2026')
    audit.append(tmp_path, "rollback", "ben", {})
    assert audit.break_in(tmp_path) == "line 2 cannot be read"
    assert [record["what"] for record in audit.records(tmp_path)] == ["promotion", "rollback"]
