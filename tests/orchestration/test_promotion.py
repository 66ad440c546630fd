"""Promotion by hand: figures, reasons, and never again by itself once rolled back."""

import json
import shutil
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from typer.testing import Result

from orchestration.config.settings import Settings
from orchestration.pipeline import production_encoder
from orchestration.promotion import promote
from orchestration.registry import gate
from orchestration.registry.aliases import AliasStore
from orchestration.registry.promotion_events import AliasState, RegistryError
from orchestration.registry.registered_models import Registry
from orchestration.storage.dagster_internals import SubmitRunContext
from tests.orchestration.conftest import ORIGIN
from tests.orchestration.promoting import beside, figures, likeness, registered, registry

__all__ = ["likeness", "registered", "registry"]  # fixtures
pytestmark = pytest.mark.slow


def test_a_better_version_is_promoted_with_its_figures(
    registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    registered(figures(0.8))
    assert likeness("promote", "1").exit_code == 0
    registered(beside(0.9, 0.8, md5="1.dir"))
    done = json.loads(likeness("promote", "2", "--why", "sharper", "--json").stdout)
    record = done["record"]
    assert (record["who"], record["why"], record["from"], record["forced"]) == ("anna", "sharper", "1", False)
    assert record["against"]["likeness.similarity"]["difference"] == pytest.approx(0.1)
    assert registry.aliases() == {"production": "2", "previous": "1"}
    assert "is in production already" in likeness("promote", "2").stdout


def test_a_worse_version_is_refused_with_a_table_that_says_where(
    registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    registered(figures(0.9))
    registry.alias_store.promote("1", "anna", "")
    registered(beside(0.8, 0.9, md5="1.dir"))
    refused = likeness("promote", "2")
    assert refused.exit_code == 1
    (row,) = [line for line in refused.stdout.splitlines() if "NO" in line]
    for cell in ("likeness.similarity", "0.8000", "0.9000", "-0.1000", "-0.1010 to -0.0990", "0.01 by interval"):
        assert cell in row
    assert "worse than production's 0.9 by more than 0.01" in refused.stderr
    document = json.loads(likeness("promote", "2", "--json").stdout)
    assert not document["promoted"] and document["refusals"]
    assert registry.aliases() == {"production": "1"}


def test_force_needs_a_reason_and_is_recorded_as_such(
    registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    registered(figures(0.9))
    registry.alias_store.promote("1", "anna", "")
    registered(beside(0.8, 0.9, md5="1.dir"))
    assert "--force needs a reason" in likeness("promote", "2", "--force").stderr
    assert likeness("promote", "2", "--force", "--why", "a demo").exit_code == 0
    (move,) = json.loads(likeness("models", "2", "--json").stdout)["moves"]
    assert (move["kind"], move["forced"], move["why"], move["who"]) == ("promotion", True, "a demo", "anna")
    assert move["against"]["likeness.similarity"]["ok"] is False
    shown = likeness("models", "2").stdout
    assert "forced" in shown and "a demo" in shown and "likeness.similarity" in shown
    assert "forced" in likeness("models").stdout


def test_figures_against_another_production_decide_nothing(
    registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    registered(figures(0.8))
    registered(beside(0.9, 0.8, md5="1.dir"))
    registered(beside(0.9, 0.8, md5="1.dir"))
    registry.alias_store.promote("2", "anna", "")
    stale = likeness("promote", "3").stderr
    assert "version 3 was never compared with version 2" in stale and "likeness promote 3 --compare" in stale
    registry.log_card("3", beside(0.95, 0.9, md5="2.dir"), "comparison.json")
    assert likeness("promote", "3").exit_code == 0


def test_a_version_that_was_rolled_back_comes_back_by_force_and_a_reason_alone(
    registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    registered(figures(0.8))
    registry.alias_store.promote("1", "anna", "")
    registered(beside(0.9, 0.8, md5="1.dir"))
    registry.alias_store.promote("2", "anna", "")
    document = json.loads(likeness("rollback", "--why", "complaints", "--json").stdout)
    assert (document["left"], document["now"]) == (2, 1) and document["record"]["why"] == "complaints"
    assert "version 2 was rolled back" in likeness("promote", "2").stderr
    assert "rejected" in likeness("models").stdout
    assert likeness("promote", "2", "--force", "--why", "it was the data").exit_code == 0
    versions = json.loads(likeness("models", "--json").stdout)
    assert [move["kind"] for move in versions[0]["moves"]] == ["promotion", "rollback", "promotion"]
    assert not versions[0]["rejected"]


@pytest.fixture
def rolled_back_after_a_look(registry: Registry, registered: Callable[..., str]) -> Iterator[None]:
    """Version 2 is in production, and ben rolls it back right after the first look at it."""
    for number in (registered(figures(0.8)), registered(figures(0.8))):
        registry.alias_store.promote(number, "anna", "")
    look = AliasStore.state

    def then_rolled_back(store: AliasStore) -> AliasState:
        monkeypatch.setattr(AliasStore, "state", look)
        found = store.state()
        store.rollback("ben", "complaints")
        return found

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(AliasStore, "state", then_rolled_back)
        yield


@pytest.mark.usefixtures("rolled_back_after_a_look")
def test_to_keep_what_is_in_production_undoes_no_rollback_of_the_same_moment(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="1 came into production meanwhile"):
        promote.promote(registry, "2", gate.Config())
    assert registry.aliases()["production"] == "1"


@pytest.mark.usefixtures("rolled_back_after_a_look")
def test_the_same_content_registered_anew_undoes_no_rollback_of_the_same_moment(
    registry: Registry, registered: Callable[..., str]
) -> None:
    registry.client.set_model_version_tag(registry.name, registered(figures(0.8)), "md5", "2.dir")
    config, run = gate.Config(), dg.DagsterRun("job", "0" * 8, tags={"user": "anna"})
    result = gate.evaluate(config, figures(0.8) | {"production": None})
    context: Any = SimpleNamespace(run=run, run_id=run.run_id)
    with pytest.raises(RegistryError, match="1 came into production meanwhile"):
        production_encoder._decide(context, registry, config, "3", "2", result)
    assert registry.aliases()["production"] == "1"


@pytest.mark.parametrize(
    ("tags", "origin", "person"),
    [
        ({"likeness/run": "true", "user": "anna"}, None, "anna of the terminal"),
        ({"likeness/run": "true", "user": "olga"}, ORIGIN, "olga"),
        ({"dagster/sensor_name": "verdicts", "user": "olga"}, ORIGIN, "olga"),
        ({"dagster/sensor_name": "retrain"}, ORIGIN, "sensor retrain"),
        ({}, ORIGIN, "dagster run 00000000"),
    ],
)
def test_no_tag_of_a_run_that_dagster_launched_hides_who_started_it(
    monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], origin: Any, person: str
) -> None:
    monkeypatch.setenv("LIKENESS_USER", "anna of the terminal")
    run = dg.DagsterRun("job", "0" * 8, tags=tags, remote_job_origin=origin)
    context: Any = SimpleNamespace(run=run, run_id=run.run_id)
    assert production_encoder.who(context) == person


def test_a_backfill_has_no_person_whomever_it_was_said_to_be_of(instance: dg.DagsterInstance) -> None:
    tags = {"dagster/backfill": "abc", "user": "olga"}
    run = instance.add_run(dg.DagsterRun("job", "0" * 8, tags=tags, remote_job_origin=ORIGIN))
    daemons: Any = None
    queued = instance.run_coordinator.submit_run(SubmitRunContext(run, daemons))
    assert queued.tags["user"] == "backfill abc"


def test_what_is_done_by_hand_is_told_with_who_did_it(
    settings: Settings, registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    registered(figures(0.8))
    registry.alias_store.promote("1", "ben", "")
    registered(beside(0.9, 0.8, md5="1.dir"))
    likeness("promote", "2", "--why", "sharper")
    likeness("rollback", "--why", "complaints")
    assert [likeness(*refused).exit_code for refused in (("promote", "2"), ("rollback",))] == [1, 1]
    lines = (settings.home / "notifications.log").read_text().splitlines()
    told = [(line["event"], line["title"], line["detail"][:23]) for line in map(json.loads, lines)]
    assert told == [
        ("promoted", "likeness: likeness-embedded version 2 was promoted by hand", "anna promoted version 2"),
        ("rolled_back", "likeness: likeness-embedded version 1 is back in production", "anna rolled back from v"),
    ]


def test_without_production_the_remedy_is_the_one_that_helps(
    registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    def remedy() -> str:
        with pytest.raises(RegistryError) as error:
            registry.find("production")
        return str(error.value)

    assert "has no version production: run `likeness run`" in remedy()
    registered(figures(0.4))
    assert "the gate refuses version 1 (" in remedy() and "`likeness promote 1 --force --why REASON`" in remedy()
    assert likeness("promote", "1", "--force", "--why", "a demo").exit_code == 0
    registered(figures(0.8))
    registry.alias_store.promote("2", "anna", "")
    registry.client.delete_registered_model_alias(registry.name, "production")
    assert "some time after anna promoted version 2" in remedy()
    assert remedy().endswith("`likeness promote 2` puts version 2 there")
    assert likeness("promote", "2").exit_code == 0
    assert registry.find("production").version in (2, "2")
    for wanted in ("7", "newest"):
        with pytest.raises(RegistryError, match=r"has no version .*there are 1, 2, see `likeness models`"):
            registry.find(wanted)


def test_production_moved_in_mlflow_is_shown_as_that(
    registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    for _ in range(2):
        registry.alias_store.promote(registered(figures(0.8)), "ben", "the record")
    registry.client.set_registered_model_alias(registry.name, "production", "1")
    shown = likeness("models")
    assert "warning: likeness-embedded: production was set to version 1 in MLflow itself" in shown.stderr
    newest, moved = json.loads(likeness("models", "--json").stdout)
    assert [move["who"] for move in newest["moves"]] == ["ben"]
    assert [move["kind"] for move in moved["moves"]] == ["promotion", "outside"]
    assert likeness("promote", "1", "--why", "it was meant").exit_code == 0
    assert "warning" not in likeness("models").stderr


def test_the_models_of_a_character_whose_folder_was_removed_are_still_there(
    settings: Settings, registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    registered(figures(0.8))
    shutil.rmtree(settings.characters / "embedded")
    assert json.loads(likeness("models", "--json").stdout)[0]["version"] == 1
    assert likeness("promote", "1").exit_code == 0
    assert "`likeness restore embedded/1 --out DIR` brings it back, as DIR/character" in likeness("scorecard").stderr
    assert "there is no character nobody" in likeness("models", "--character", "nobody").stderr
