"""Moves of `production`: recorded, one after the other, and never back to what was rejected. By MLflow's own client."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.registry.aliases import AliasStore
from orchestration.registry.promotion_events import AliasState, PromotionEvent, RegistryError, now

NAME = "likeness-embedded"


@pytest.fixture
def store(settings: Settings) -> AliasStore:
    """Five registered versions, none of them promoted."""
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    client.create_registered_model(NAME)
    for number in range(1, 6):
        client.create_model_version(NAME, f"file:///{number}")
    return AliasStore.of(settings, "embedded")


def elsewhere(store: AliasStore) -> AliasStore:
    """The same registry on another machine, whose locks are others."""
    return replace(store, home=store.home / "elsewhere")


def aliases(store: AliasStore) -> dict[str, str]:
    """As MLflow's own client sees them."""
    found = MlflowClient(store.uri, store.uri).get_registered_model(NAME).aliases
    return {alias: str(version) for alias, version in found.items()}


def tags(store: AliasStore, version: str) -> dict[str, str]:
    return dict(MlflowClient(store.uri, store.uri).get_model_version(NAME, version).tags)


def test_a_promotion_says_who_when_why_from_where_and_against_which_figures(store: AliasStore) -> None:
    store.promote("1", "anna", "the first")
    move = store.promote("2", "ben", "sharper", {"likeness.similarity": {"candidate": 0.9, "production": 0.8}})
    assert move is not None
    assert aliases(store) == {"production": "2", "previous": "1"}
    ((name, record),) = tags(store, "2").items()
    assert name == f"promotion.{move.when}"
    assert json.loads(record) == {
        "who": "ben",
        "when": move.when,
        "why": "sharper",
        "from": "1",
        "against": {"likeness.similarity": {"candidate": 0.9, "production": 0.8}},
        "forced": False,
    }
    assert store.promote("2", "ben", "again") is None


def test_rollback_goes_back_step_by_step_and_never_to_what_was_rejected(store: AliasStore) -> None:
    for version in ("1", "2", "3"):
        store.promote(version, "anna", "")
    store.set_alias("candidate", "3")
    move = store.rollback("ben", "players complain")
    assert (move.before, move.after) == ("3", "2")
    assert aliases(store) == {"production": "2", "previous": "1"}, "what is rejected is no candidate"
    assert tags(store, "3")["rejected"] == "rolled back"
    record = json.loads(tags(store, "3")[f"rollback.{move.when}"])
    assert record == {"who": "ben", "when": move.when, "why": "players complain", "to": "2"}
    assert store.rollback("ben").after == "1"
    assert aliases(store) == {"production": "1"}
    with pytest.raises(RegistryError, match="no previous version to go back to"):
        store.rollback("ben")
    state = store.state()
    assert [version for version in sorted(state.tags) if state.is_rejected(version)] == ["2", "3"]


def test_after_a_rollback_and_a_new_promotion_the_rejected_one_is_skipped(store: AliasStore) -> None:
    for version in ("1", "2"):
        store.promote(version, "anna", "")
    store.rollback("anna")
    store.promote("3", "anna", "")
    assert aliases(store) == {"production": "3", "previous": "1"}
    assert store.rollback("anna").after == "1"


def test_a_rejected_version_that_was_promoted_by_hand_is_in_production_but_not_forgotten(store: AliasStore) -> None:
    for version in ("1", "2"):
        store.promote(version, "anna", "")
    store.rollback("anna")
    store.promote("2", "ben", "it was the data", forced=True)
    state = store.state()
    assert aliases(store) == {"production": "2", "previous": "1"} and "rejected" not in tags(store, "2")
    assert state.was_rolled_back("2") and not state.is_rejected("2")
    assert [move.kind for move in state.events()] == ["promotion", "promotion", "rollback", "promotion"]


def test_what_was_judged_against_another_production_does_not_move(store: AliasStore) -> None:
    store.promote("1", "anna", "")
    store.promote("2", "ben", "meanwhile")
    with pytest.raises(RegistryError, match="version 2 came into production meanwhile, 3 was judged against 1"):
        store.promote("3", "anna", "", judged_against="1")
    assert aliases(store)["production"] == "2" and not tags(store, "3")


def test_a_version_that_is_not_there_is_named(store: AliasStore) -> None:
    with pytest.raises(RegistryError, match="has no version 9"):
        store.promote("9", "anna", "")


def test_aliases_that_were_there_before_any_record_are_followed(store: AliasStore) -> None:
    client = MlflowClient(store.uri, store.uri)
    for alias, version in (("production", "2"), ("previous", "1")):
        client.set_registered_model_alias(NAME, alias, version)
    assert store.rollback("anna").after == "1"


KILLED = """
import os, sys
from pathlib import Path
from mlflow import MlflowClient
from orchestration.registry.aliases import AliasStore

set_alias = MlflowClient.set_registered_model_alias
MlflowClient.set_registered_model_alias = lambda *a: os._exit(9) if a[2] == "production" else set_alias(*a)
act, uri, home = sys.argv[1:]
found = AliasStore(uri, "likeness-embedded", Path(home))
found.promote("3", "anna", "") if act == "promote" else found.rollback("anna")
"""


@pytest.mark.slow
@pytest.mark.parametrize("act", ["promote", "rollback"])
def test_killed_just_before_production_moves_it_is_as_if_nothing_had_been_done(store: AliasStore, act: str) -> None:
    for version in ("1", "2"):
        store.promote(version, "anna", "")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", KILLED, act, store.uri, str(store.home)]
    assert subprocess.run(command, env=environment, check=False).returncode == 9
    state = store.state()
    assert (state.production, state.previous()) == ("2", "1")
    assert [move.version for move in state.events()] == ["1", "2"], "the unfinished move is none"
    assert not state.is_rejected("2")
    store.promote("4", "ben", "")
    assert aliases(store) == {"production": "4", "previous": "2"}
    assert store.rollback("ben").after == "2"


@pytest.mark.slow
@pytest.mark.parametrize("homes", [("", ""), ("", "elsewhere")], ids=["one machine", "two machines"])
def test_promotions_at_once_end_in_one_of_them_with_another_version_as_previous(
    store: AliasStore, homes: tuple[str, str]
) -> None:
    store.promote("1", "anna", "")
    script = (
        "import sys; from pathlib import Path; from orchestration.registry.aliases import AliasStore\n"
        "from orchestration.registry.promotion_events import RegistryError\n"
        "uri, home, version = sys.argv[1:]\n"
        "try: AliasStore(uri, 'likeness-embedded', Path(home)).promote(version, version, '')\n"
        "except RegistryError as error: print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    racing = [
        subprocess.Popen([sys.executable, "-c", script, store.uri, str(store.home / home), version], env=environment)
        for home, version in zip(homes, ("2", "3"), strict=True)
    ]
    assert [process.wait(120) for process in racing] == [0, 0]
    found = aliases(store)
    assert found["production"] in ("2", "3") and found["previous"] != found["production"]
    assert store.state().events()[-1].version == found["production"]
    assert store.rollback("anna").after in ("1", "2", "3")


@pytest.mark.parametrize("late", [False, True], ids=["before our look", "between our look and our move"])
def test_another_machine_that_was_faster_is_not_overtaken_and_our_record_is_taken_back(
    store: AliasStore, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    store.promote("1", "anna", "")
    faster, set_alias, set_tag = (
        elsewhere(store),
        MlflowClient.set_registered_model_alias,
        MlflowClient.set_model_version_tag,
    )

    def once(call: Any) -> Any:
        def meanwhile(*arguments: Any) -> Any:
            if arguments[2] == "production" or "pending" in str(arguments[-1]):
                monkeypatch.setattr(MlflowClient, "set_registered_model_alias", set_alias)
                monkeypatch.setattr(MlflowClient, "set_model_version_tag", set_tag)
                faster.promote("2", "ben", "")
            return call(*arguments)

        return meanwhile

    method = "set_registered_model_alias" if late else "set_model_version_tag"
    monkeypatch.setattr(MlflowClient, method, once(set_alias if late else set_tag))
    with pytest.raises(RegistryError, match=r"version 2 is in production by now, ben promoted .* nothing was moved"):
        store.promote("3", "anna", "")
    assert aliases(store) == {"production": "2", "previous": "1"} and not tags(store, "3")
    assert [event.kind for event in store.state().history()] == ["promotion", "promotion"]


def at_once(store: AliasStore, *people: str) -> list[subprocess.CompletedProcess[str]]:
    """`likeness rollback` by so many people, each in a process of its own."""
    root = store.home.parent
    base = {**os.environ, "PYTHONPATH": str(REPOSITORY), "LIKENESS_ROOT": str(root)}
    command = [sys.executable, "-m", "orchestration.cli", "rollback"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=base | {"LIKENESS_USER": who}, **pipes) for who in people]
    said = [process.communicate(timeout=120) for process in started]
    return [
        subprocess.CompletedProcess(command, process.returncode, *texts)
        for process, texts in zip(started, said, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("people", [("anna", "ben"), ("anna", "anna")], ids=["two people", "one name"])
def test_rollbacks_at_once_leave_one_version_and_the_other_hears_who_did_it(
    store: AliasStore, people: tuple[str, str]
) -> None:
    for version in ("1", "2", "3"):
        store.promote(version, "carl", "")
    done = at_once(store, *people)
    assert sorted(process.returncode for process in done) == [0, 1], [process.stderr for process in done]
    assert aliases(store) == {"production": "2", "previous": "1"}
    state = store.state()
    assert [version for version in sorted(state.tags) if state.is_rejected(version)] == ["3"]
    (refused,) = [process.stderr for process in done if process.returncode]
    assert "rolled back from version 3 to 2 on 2" in refused and "`likeness rollback --from 2`" in refused
    assert next(who for who in people if who in refused)


def test_a_rollback_leaves_the_version_that_was_meant_or_nothing_moves(store: AliasStore) -> None:
    for version in ("1", "2", "3"):
        store.promote(version, "anna", "")
    asked = now()
    store.rollback("anna", "complaints")
    for meant in ({"leave": "3"}, {"asked": asked}, {"asked": now()}):
        with pytest.raises(RegistryError, match=r"version 2 is in production by now, anna rolled back from version 3"):
            store.rollback("ben", **meant)
    assert aliases(store)["production"] == "2" and not store.state().is_rejected("2")
    assert store.rollback("ben", leave="2").after == "1"


def test_what_was_promoted_since_a_rollback_was_asked_for_is_not_left(store: AliasStore) -> None:
    for version in ("1", "2"):
        store.promote(version, "anna", "")
    asked = now()
    store.promote("3", "ben", "the mended one")
    with pytest.raises(RegistryError, match=r"ben promoted version 3 on .*the mended one.* --from 3"):
        store.rollback("anna", asked=asked)
    assert store.rollback("anna", asked=now()).after == "2", "asked after it, version 3 is meant"


def by_hand(store: AliasStore, version: str | None) -> None:
    """What somebody does on MLflow's page."""
    client = MlflowClient(store.uri, store.uri)
    if version:
        client.set_registered_model_alias(NAME, "production", version)
    else:
        client.delete_registered_model_alias(NAME, "production")


def test_production_moved_in_mlflow_is_a_move_of_its_own_and_no_record_vanishes(store: AliasStore) -> None:
    for version in ("1", "2"):
        store.promote(version, "anna", "sharper")
    assert store.state().moved_outside() is None
    by_hand(store, "1")
    state = store.state()
    assert [(move.kind, move.after, move.who) for move in state.history()] == [
        ("promotion", "1", "anna"),
        ("promotion", "2", "anna"),
        ("outside", "1", ""),
    ]
    assert str(state.moved_outside()).startswith(
        "production was set to version 1 in MLflow itself, some time after anna promoted version 2 on 2"
    )
    assert state.previous() == "2", "what was in production before it, though `previous` says 1"
    by_hand(store, None)
    assert "production was taken away in MLflow itself" in str(store.state().moved_outside())


def test_what_was_moved_in_mlflow_gets_its_record_by_being_promoted(store: AliasStore) -> None:
    store.promote("1", "anna", "")
    by_hand(store, "3")
    move = store.promote("3", "ben", "it was meant")
    assert move is not None and (move.before, move.after, move.who) == ("1", "3", "ben")
    assert store.state().moved_outside() is None and aliases(store) == {"production": "3", "previous": "1"}
    store.promote("4", "ben", "")
    assert [move.kind for move in store.state().history()] == ["promotion"] * 3


def test_a_move_after_one_in_mlflow_leaves_both_in_the_history(store: AliasStore) -> None:
    store.promote("1", "anna", "")
    by_hand(store, "2")
    store.promote("3", "ben", "")
    state = store.state()
    assert [(move.kind, move.before, move.after) for move in state.history()] == [
        ("promotion", None, "1"),
        ("outside", "1", "2"),
        ("promotion", "2", "3"),
    ]
    assert state.moved_outside() is None and state.previous() == "2"


def test_a_deleted_version_takes_its_records_along_and_is_no_move_of_other_hands(store: AliasStore) -> None:
    for version in ("1", "2", "3"):
        store.promote(version, "anna", "")
    MlflowClient(store.uri, store.uri).delete_model_version(NAME, "2")
    assert [move.kind for move in store.state().history()] == ["promotion", "promotion"]
    assert store.rollback("anna").after == "1"
    MlflowClient(store.uri, store.uri).delete_model_version(NAME, "1")
    outside = store.state().moved_outside()
    assert outside is not None and outside.after is None


@pytest.mark.slow
def test_a_registry_that_is_down_is_one_line_without_its_password(tmp_path: Path) -> None:
    for uri in ("http://127.0.0.1:9", "postgresql+psycopg2://likeness:secret@127.0.0.1:9/mlflow"):
        with pytest.raises(RegistryError) as error:
            AliasStore(uri, NAME, tmp_path).rollback("anna")
        message = str(error.value)
        assert "127.0.0.1:9" in message and "\n" not in message and "secret" not in message
        assert "LIKENESS_MLFLOW_URI" in message
    (tmp_path / "broken.db").write_text("this is no database, and long enough to be sure of it " * 20)
    with pytest.raises(RegistryError, match="cannot be used"):
        AliasStore(f"sqlite:///{tmp_path / 'broken.db'}", NAME, tmp_path).state()


def test_a_move_by_other_hands_than_ours_is_believed() -> None:
    record = PromotionEvent("promotion", "2", "2026-01-01T00:00:00.000000Z", "anna", "", "1", "2", {}, False)
    state = AliasState(
        {"production": "5", "previous": "4"}, {"2": {record.tag: json.dumps(record.document())}, "4": {}}
    )
    assert [move.version for move in state.events()] == ["2"] and state.previous() == "4"
