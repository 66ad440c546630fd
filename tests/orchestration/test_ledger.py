"""Moves of `production`: recorded, atomic, and never back to what was rejected. On MLflow's own tables."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.registry.aliases import Ledger
from orchestration.registry.books import Book, Calls, ServerBook
from orchestration.registry.promotion_events import Move, RegistryError, State, now

pytestmark = pytest.mark.slow

NAME = "likeness-embedded"


class OneByOne(MlflowClient):
    """MLflow's own client, in the place of its REST API."""

    def tags(self, name: str) -> dict[str, dict[str, str]]:
        return {str(found.version): dict(found.tags) for found in self.search_model_versions(f"name='{name}'")}

    def aliases(self, name: str) -> dict[str, str]:
        return {alias: str(version) for alias, version in self.get_registered_model(name).aliases.items()}


class OnDatabase(ServerBook):
    def calls(self) -> Calls:
        return OneByOne(self.uri, self.uri)


class CallByCall(Ledger):
    """The way of a server, on a database: one call after the other."""

    @property
    def book(self) -> Book:
        return OnDatabase(self.uri, self.name)


@pytest.fixture(params=[Ledger, CallByCall], ids=["database", "server"])
def ledger(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Ledger]:
    """Five registered versions, none of them promoted."""
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    client.create_registered_model(NAME)
    for number in range(1, 6):
        client.create_model_version(NAME, f"file:///{number}")
    yield request.param(settings.tracking_uri, NAME)


def aliases(ledger: Ledger) -> dict[str, str]:
    """As MLflow's own client sees them."""
    found = MlflowClient(ledger.uri, ledger.uri).get_registered_model(NAME).aliases
    return {alias: str(version) for alias, version in found.items()}


def tags(ledger: Ledger, version: str) -> dict[str, str]:
    return dict(MlflowClient(ledger.uri, ledger.uri).get_model_version(NAME, version).tags)


def test_a_promotion_says_who_when_why_from_where_and_against_which_figures(ledger: Ledger) -> None:
    ledger.promote("1", "anna", "the first")
    move = ledger.promote("2", "ben", "sharper", {"likeness.similarity": {"candidate": 0.9, "production": 0.8}})
    assert move is not None
    assert aliases(ledger) == {"production": "2", "previous": "1"}
    ((name, record),) = tags(ledger, "2").items()
    assert name == f"promotion.{move.when}"
    assert json.loads(record) == {
        "who": "ben",
        "when": move.when,
        "why": "sharper",
        "from": "1",
        "against": {"likeness.similarity": {"candidate": 0.9, "production": 0.8}},
        "forced": False,
    }
    assert ledger.promote("2", "ben", "again") is None


def test_rollback_goes_back_step_by_step_and_never_to_what_was_rejected(ledger: Ledger) -> None:
    for version in ("1", "2", "3"):
        ledger.promote(version, "anna", "")
    ledger.set_alias("candidate", "3")
    move = ledger.rollback("ben", "players complain")
    assert (move.before, move.after) == ("3", "2")
    assert aliases(ledger) == {"production": "2", "previous": "1"}, "what is rejected is no candidate"
    assert tags(ledger, "3")["rejected"] == "rolled back"
    record = json.loads(tags(ledger, "3")[f"rollback.{move.when}"])
    assert record == {"who": "ben", "when": move.when, "why": "players complain", "to": "2"}
    assert ledger.rollback("ben").after == "1"
    assert aliases(ledger) == {"production": "1"}
    with pytest.raises(RegistryError, match="no previous version to go back to"):
        ledger.rollback("ben")
    state = ledger.state()
    assert [version for version in sorted(state.tags) if state.is_rejected(version)] == ["2", "3"]


def test_after_a_rollback_and_a_new_promotion_the_rejected_one_is_skipped(ledger: Ledger) -> None:
    for version in ("1", "2"):
        ledger.promote(version, "anna", "")
    ledger.rollback("anna")
    ledger.promote("3", "anna", "")
    assert aliases(ledger) == {"production": "3", "previous": "1"}
    assert ledger.rollback("anna").after == "1"


def test_a_rejected_version_that_was_promoted_by_hand_is_in_production_but_not_forgotten(ledger: Ledger) -> None:
    for version in ("1", "2"):
        ledger.promote(version, "anna", "")
    ledger.rollback("anna")
    ledger.promote("2", "ben", "it was the data", forced=True)
    state = ledger.state()
    assert aliases(ledger) == {"production": "2", "previous": "1"} and "rejected" not in tags(ledger, "2")
    assert state.was_rolled_back("2") and not state.is_rejected("2")
    assert [move.kind for move in state.moves()] == ["promotion", "promotion", "rollback", "promotion"]


def test_what_was_judged_against_another_production_does_not_move(ledger: Ledger) -> None:
    ledger.promote("1", "anna", "")
    ledger.promote("2", "ben", "meanwhile")
    with pytest.raises(RegistryError, match="version 2 came into production meanwhile, 3 was judged against 1"):
        ledger.promote("3", "anna", "", judged_against="1")
    assert aliases(ledger)["production"] == "2" and not tags(ledger, "3")


def test_a_version_that_is_not_there_is_named(ledger: Ledger) -> None:
    with pytest.raises(RegistryError, match="has no version 9"):
        ledger.promote("9", "anna", "")


def test_aliases_that_were_there_before_any_record_are_followed(ledger: Ledger) -> None:
    client = MlflowClient(ledger.uri, ledger.uri)
    for alias, version in (("production", "2"), ("previous", "1")):
        client.set_registered_model_alias(NAME, alias, version)
    assert ledger.rollback("anna").after == "1"


KILLED = """
import os, sys
from orchestration.promotion import books, ledger
from tests.orchestration.test_ledger import CallByCall

def die(*_):
    os._exit(9)


kind, act, uri = sys.argv[1:]
found = (ledger.Ledger if kind == "database" else CallByCall)(uri, "likeness-embedded")
statements, set_ = books.DatabaseBook._statements, books.ServerBook._set
moves = lambda change: change.kind == "alias" and change.name == "production"
books.DatabaseBook._statements = lambda self, change: die() if moves(change) else statements(self, change)
books.ServerBook._set = lambda self, calls, change: die() if moves(change) else set_(self, calls, change)
found.promote("3", "anna", "") if act == "promote" else found.rollback("anna")
"""


@pytest.mark.parametrize("act", ["promote", "rollback"])
def test_killed_just_before_production_moves_it_is_as_if_nothing_had_been_done(ledger: Ledger, act: str) -> None:
    for version in ("1", "2"):
        ledger.promote(version, "anna", "")
    kind = "server" if isinstance(ledger, CallByCall) else "database"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", KILLED, kind, act, ledger.uri]
    assert subprocess.run(command, env=environment, check=False).returncode == 9
    state = ledger.state()
    assert (state.production, state.previous()) == ("2", "1")
    assert [move.version for move in state.moves()] == ["1", "2"], "the unfinished move is none"
    assert not state.is_rejected("2")
    ledger.promote("4", "ben", "")
    assert aliases(ledger) == {"production": "4", "previous": "2"}
    assert ledger.rollback("ben").after == "2"


def test_promotions_at_once_end_in_one_of_them_with_another_version_as_previous(ledger: Ledger) -> None:
    ledger.promote("1", "anna", "")
    script = (
        "import sys; from orchestration.registry.aliases import Ledger\n"
        "from orchestration.registry.promotion_events import RegistryError\n"
        "from tests.orchestration.test_ledger import CallByCall\n"
        "kind, uri, version = sys.argv[1:]\n"
        "ledger = (Ledger if kind == 'database' else CallByCall)(uri, 'likeness-embedded')\n"
        "try: ledger.promote(version, version, '')\n"
        "except RegistryError: pass\n"
    )
    kind = "server" if isinstance(ledger, CallByCall) else "database"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    racing = [
        subprocess.Popen([sys.executable, "-c", script, kind, ledger.uri, version], env=environment)
        for version in ("2", "3")
    ]
    assert [process.wait(60) for process in racing] == [0, 0]
    found = aliases(ledger)
    assert found["production"] in ("2", "3") and found["previous"] != found["production"]
    assert ledger.state().moves()[-1].version == found["production"]
    assert ledger.rollback("anna").after in ("1", "2", "3")


def at_once(ledger: Ledger, *people: str) -> list[subprocess.CompletedProcess[str]]:
    """`likeness rollback` by so many people, each in a process of its own."""
    root = Path(ledger.uri.removeprefix("sqlite:///")).parents[2]
    base = {**os.environ, "PYTHONPATH": str(REPOSITORY), "LIKENESS_ROOT": str(root)}
    command = [sys.executable, "-m", "orchestration.cli.main", "rollback"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=base | {"LIKENESS_USER": who}, **pipes) for who in people]
    said = [process.communicate(timeout=120) for process in started]
    return [
        subprocess.CompletedProcess(command, process.returncode, *texts)
        for process, texts in zip(started, said, strict=True)
    ]


@pytest.mark.parametrize("people", [("anna", "ben"), ("anna", "anna")], ids=["two people", "one name"])
@pytest.mark.parametrize("ledger", [Ledger], ids=["database"], indirect=True)
def test_rollbacks_at_once_leave_one_version_and_the_other_hears_who_did_it(
    ledger: Ledger, people: tuple[str, str]
) -> None:
    for version in ("1", "2", "3"):
        ledger.promote(version, "carl", "")
    done = at_once(ledger, *people)
    assert sorted(process.returncode for process in done) == [0, 1], [process.stderr for process in done]
    assert aliases(ledger) == {"production": "2", "previous": "1"}
    state = ledger.state()
    assert [version for version in sorted(state.tags) if state.is_rejected(version)] == ["3"]
    (refused,) = [process.stderr for process in done if process.returncode]
    assert "rolled back from version 3 to 2 on 2" in refused and "`likeness rollback --from 2`" in refused
    assert next(who for who in people if who in refused)


def test_a_rollback_leaves_the_version_that_was_meant_or_nothing_moves(ledger: Ledger) -> None:
    for version in ("1", "2", "3"):
        ledger.promote(version, "anna", "")
    asked = now()
    ledger.rollback("anna", "complaints")
    for meant in ({"leave": "3"}, {"asked": asked}, {"asked": now()}):
        with pytest.raises(RegistryError, match=r"version 2 is in production by now, anna rolled back from version 3"):
            ledger.rollback("ben", **meant)
    assert aliases(ledger)["production"] == "2" and not ledger.state().is_rejected("2")
    assert ledger.rollback("ben", leave="2").after == "1"


def test_what_was_promoted_since_a_rollback_was_asked_for_is_not_left(ledger: Ledger) -> None:
    for version in ("1", "2"):
        ledger.promote(version, "anna", "")
    asked = now()
    ledger.promote("3", "ben", "the mended one")
    with pytest.raises(RegistryError, match=r"ben promoted version 3 on .*the mended one.* --from 3"):
        ledger.rollback("anna", asked=asked)
    assert ledger.rollback("anna", asked=now()).after == "2", "asked after it, version 3 is meant"


def by_hand(ledger: Ledger, version: str | None) -> None:
    """What somebody does on MLflow's page."""
    client = MlflowClient(ledger.uri, ledger.uri)
    if version:
        client.set_registered_model_alias(NAME, "production", version)
    else:
        client.delete_registered_model_alias(NAME, "production")


def test_production_moved_in_mlflow_is_a_move_of_its_own_and_no_record_vanishes(ledger: Ledger) -> None:
    for version in ("1", "2"):
        ledger.promote(version, "anna", "sharper")
    assert ledger.state().moved_outside() is None
    by_hand(ledger, "1")
    state = ledger.state()
    assert [(move.kind, move.after, move.who) for move in state.history()] == [
        ("promotion", "1", "anna"),
        ("promotion", "2", "anna"),
        ("outside", "1", ""),
    ]
    assert str(state.moved_outside()).startswith(
        "production was set to version 1 in MLflow itself, some time after anna promoted version 2 on 2"
    )
    assert state.previous() == "2", "what was in production before it, though `previous` says 1"
    by_hand(ledger, None)
    assert "production was taken away in MLflow itself" in str(ledger.state().moved_outside())


def test_what_was_moved_in_mlflow_gets_its_record_by_being_promoted(ledger: Ledger) -> None:
    ledger.promote("1", "anna", "")
    by_hand(ledger, "3")
    move = ledger.promote("3", "ben", "it was meant")
    assert move is not None and (move.before, move.after, move.who) == ("1", "3", "ben")
    assert ledger.state().moved_outside() is None and aliases(ledger) == {"production": "3", "previous": "1"}
    ledger.promote("4", "ben", "")
    assert [move.kind for move in ledger.state().history()] == ["promotion"] * 3


def test_a_move_after_one_in_mlflow_leaves_both_in_the_history(ledger: Ledger) -> None:
    ledger.promote("1", "anna", "")
    by_hand(ledger, "2")
    ledger.promote("3", "ben", "")
    state = ledger.state()
    assert [(move.kind, move.before, move.after) for move in state.history()] == [
        ("promotion", None, "1"),
        ("outside", "1", "2"),
        ("promotion", "2", "3"),
    ]
    assert state.moved_outside() is None and state.previous() == "2"


def test_a_deleted_version_takes_its_records_along_and_is_no_move_of_other_hands(ledger: Ledger) -> None:
    for version in ("1", "2", "3"):
        ledger.promote(version, "anna", "")
    MlflowClient(ledger.uri, ledger.uri).delete_model_version(NAME, "2")
    assert [move.kind for move in ledger.state().history()] == ["promotion", "promotion"]
    assert ledger.rollback("anna").after == "1"
    MlflowClient(ledger.uri, ledger.uri).delete_model_version(NAME, "1")
    outside = ledger.state().moved_outside()
    assert outside is not None and outside.after is None


def test_a_registry_that_is_down_is_one_line_without_its_password(tmp_path: Path) -> None:
    for uri in ("http://127.0.0.1:9", "postgresql+psycopg2://likeness:secret@127.0.0.1:9/mlflow"):
        with pytest.raises(RegistryError) as error:
            Ledger(uri, NAME).rollback("anna")
        message = str(error.value)
        assert "127.0.0.1:9" in message and "\n" not in message and "secret" not in message
        assert "LIKENESS_MLFLOW_URI" in message
    (tmp_path / "broken.db").write_text("this is no database, and long enough to be sure of it " * 20)
    with pytest.raises(RegistryError, match="cannot be used"):
        Ledger(f"sqlite:///{tmp_path / 'broken.db'}", NAME).state()


def test_a_move_by_other_hands_than_ours_is_believed() -> None:
    record = Move("promotion", "2", "2026-01-01T00:00:00.000000Z", "anna", "", "1", "2", {}, False)
    state = State({"production": "5", "previous": "4"}, {"2": {record.tag: json.dumps(record.document())}, "4": {}})
    assert [move.version for move in state.moves()] == ["2"] and state.previous() == "4"
