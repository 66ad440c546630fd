"""Promotion by more than one person: approvals, and the audit log."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from orchestration.config.profiles import config_hash
from orchestration.config.settings import Settings
from orchestration.registry import gate
from orchestration.registry.people import ACTS, VARIABLE, People
from orchestration.registry.registered_models import Registry
from tests.orchestration.promoting import beside, figures, likeness, registered, registry

__all__ = ["likeness", "registered", "registry"]  # fixtures
pytestmark = pytest.mark.slow


@pytest.fixture
def two(settings: Settings, registered: Callable[..., str], likeness: Callable[..., Result]) -> Callable[..., Result]:
    """`likeness` as a person, in a project whose gate asks for two; version 2 is better than 1, which is there."""
    registered(figures(0.8))
    assert likeness("promote", "1").exit_code == 0
    registered(beside(0.9, 0.8, md5="1.dir"))
    Path(settings.profile).write_text("production_encoder: {approvals: 2}\n")
    people = People.of(settings.home)
    keys = {name: people.add(name, ACTS) for name in ("ann", "ben", "cora")}

    def call(name: str, *arguments: str) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, keys[name])
            return likeness(*arguments)

    return call


def test_a_promotion_waits_for_another_person(registry: Registry, two: Callable[..., Result]) -> None:
    first = two("ann", "promote", "2", "--why", "sharper", "--json")
    assert first.exit_code == 3 and json.loads(first.stdout) == {
        "version": 2, "promoted": False, "approved": ["ann"], "waits_for": 1,
    }  # fmt: skip
    again = two("ann", "promote", "2")
    assert again.exit_code == 1 and "ann approved of version 2" in again.stderr and "another person" in again.stderr
    assert registry.aliases()["production"] == "1"
    record = json.loads(two("ben", "promote", "2", "--json").stdout)["record"]
    assert (record["who"], record["approved"]) == ("ben", ["ann", "ben"])
    assert registry.aliases()["production"] == "2"
    (move,) = json.loads(two("ben", "models", "2", "--json").stdout)["moves"]
    assert move["approved"] == ["ann", "ben"]


def test_an_approval_counts_for_the_production_that_it_was_given_beside(
    registry: Registry, registered: Callable[..., str], two: Callable[..., Result]
) -> None:
    assert two("ann", "promote", "2").exit_code == 3
    registered(beside(0.95, 0.8, md5="1.dir"))
    for name in ("ann", "ben"):
        two(name, "promote", "3")
    assert registry.aliases()["production"] == "3"
    assert two("ben", "rollback", "--why", "complaints").exit_code == 0, "nobody waits to go back"
    assert registry.aliases()["production"] == "1"
    assert two("cora", "promote", "2").exit_code == 3, "production has moved since ann approved"


def test_the_gate_is_asked_every_time_and_force_waits_too(
    registry: Registry, registered: Callable[..., str], two: Callable[..., Result]
) -> None:
    registered(beside(0.7, 0.8, md5="1.dir"))
    assert two("ann", "promote", "3").exit_code == 1
    assert two("ann", "promote", "3", "--force", "--why", "demo").exit_code == 3
    assert two("ben", "promote", "3").exit_code == 1, "who does not force is refused"
    assert two("ben", "promote", "3", "--force", "--why", "demo").exit_code == 0
    assert registry.aliases()["production"] == "3"


def test_approvals_of_people_whom_nobody_knows_are_refused(
    settings: Settings, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    registered(figures(0.8))
    Path(settings.profile).write_text("production_encoder: {approvals: 2}\n")
    refused = likeness("promote", "1")
    assert refused.exit_code == 1 and "likeness person add NAME" in refused.stderr


def test_the_audit_log_says_by_which_figures(settings: Settings, two: Callable[..., Result]) -> None:
    for name in ("ann", "ben"):
        two(name, "promote", "2", "--why", "sharper")
    two("cora", "rollback", "--why", "complaints")
    told = [json.loads(line) for line in two("ann", "audit", "--json").stdout.splitlines()]
    assert [(each["what"], each["who"], each["chained"]) for each in told] == [
        ("promotion", "anna", True), ("approval", "ann", True), ("approval", "ben", True), ("promotion", "ben", True),
        ("rollback", "cora", True),
    ]  # fmt: skip
    assert told[3]["against"]["likeness.similarity"]["difference"] == pytest.approx(0.1)
    assert told[3]["approved"] == ["ann", "ben"] and told[4]["why"] == "complaints"
    (settings.home / "audit.jsonl").unlink()
    told = [json.loads(line) for line in two("ann", "audit", "--json").stdout.splitlines()]
    assert [(each["what"], each["chained"]) for each in told] == [
        ("promotion", False), ("promotion", False), ("rollback", False),
    ]  # fmt: skip


def test_the_rule_makes_no_version_stale(settings: Settings) -> None:
    assert config_hash(gate.Config()) == config_hash(gate.Config(approvals=2))
