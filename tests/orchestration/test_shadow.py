"""What a version did in production's shadow: its report, and what the gate asks of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from orchestration.config.profiles import config_hash
from orchestration.config.settings import Settings
from orchestration.promotion import shadow
from orchestration.registry.gate import Config, ShadowRule, evaluate
from orchestration.registry.registered_models import Registry
from serving.comparisons import Comparison, Served
from tests.orchestration.promoting import beside, figures, likeness, registered, registry
from tests.orchestration.test_gate import card, gate

__all__ = ["likeness", "registered", "registry"]  # fixtures


def compare(registry: Registry, production: str, candidate: str, photos: int, **numbers: Any) -> None:
    """So many photos of both versions, of which every tenth differs in one of two choices."""
    versions = [registry.find(version) for version in (production, candidate)]
    one, other = (Served(version=int(found.version), run=str(found.run_id)) for found in versions)
    log = shadow.comparisons(registry)
    for number in range(photos):
        found = {
            "outcome": "compared", "parameters": 0.02, "largest": 0.1, "seconds": 0.3, "production_seconds": 0.2,
            "choices": {"hair": number % 10 == 0, "beard": False}, "similarity": 0.95, "drawn_by": "engine",
        }  # fmt: skip
        log.add(Comparison(production=one, candidate=other, **{**found, **numbers}))


@pytest.mark.slow
def test_the_gate_waits_for_photos_where_it_is_asked_to(
    settings: Settings,
    registry: Registry,
    registered: Callable[..., str],
    likeness: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = tmp_path / "careful.yaml"
    profile.write_text("production_encoder: {shadow: {photos: 50, choices_differ: 0.1, slower: 2}}\n")
    monkeypatch.setenv("LIKENESS_PROFILE", str(profile))
    registered(figures(0.8))
    assert likeness("promote", "1").exit_code == 0, "with nothing in production there is nothing to be beside of"
    registered(beside(0.9, 0.8, md5="1.dir"))
    refused = likeness("promote", "2")
    assert refused.exit_code == 1 and "shadow.photos" in refused.stdout
    assert "0 of 50 photos were read beside production" in refused.stderr
    compare(registry, "1", "2", 60)
    assert likeness("promote", "2").exit_code == 0
    (move,) = json.loads(likeness("models", "2", "--json").stdout)["moves"]
    assert move["against"]["shadow.choices_differ"]["ok"] and move["against"]["shadow.photos"]["candidate"] == 60
    assert "shadow.slower" in likeness("models", "2").stdout
    logged = registry.client.list_artifacts(str(registry.find("2").run_id))
    assert shadow.FILE in {each.path for each in logged}


@pytest.mark.slow
def test_the_report_says_how_the_versions_differ(
    registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    for _ in range(3):
        registered(figures(0.8))
    nothing = likeness("shadow")
    assert nothing.exit_code == 0 and "nothing was compared yet" in nothing.stderr and not nothing.stdout
    compare(registry, "1", "2", 40)
    compare(registry, "1", "2", 2, outcome="unread", choices=None, parameters=None, similarity=None)
    compare(registry, "1", "3", 3, similarity=0.5, drawn_by="imitator")
    found = {report["candidate"]: report for report in json.loads(likeness("shadow", "--json").stdout)}
    assert set(found) == {2, 3}
    report = found[2]
    assert report["photos"] == {"compared": 40, "unread": 2, "late": 0, "failed": 0}
    assert report["choices_differ"]["value"] == pytest.approx(0.05) and report["groups"]["hair"]["value"] == 0.1
    assert report["unread"]["value"] == pytest.approx(2 / 42, abs=1e-4) and report["unread"]["ci"][1] > 0.1
    assert report["slower"]["value"] == pytest.approx(1.5)
    assert report["similarity"]["by"] == "engine" and found[3]["similarity"]["by"] == "imitator"
    assert found[3]["similarity"]["ci"] is None, "three photos have no interval"
    shown = likeness("shadow", "2").stdout
    assert "version 2 beside version 1" in shown and "40 compared, 2 unread" in shown and "hair 10%" in shown
    assert "version 3" not in shown


def test_the_worse_end_of_the_interval_decides() -> None:
    rule = gate().model_copy(update={"shadow": ShadowRule(photos=100, choices_differ=0.1, similarity=0.9)})

    def refusals(choices: tuple[float, float], similarity: tuple[float, float], photos: int = 100) -> list[str]:
        found = {
            "photos": {"compared": photos},
            "choices_differ": {"value": float(np.mean(choices)), "ci": choices},
            "similarity": {"value": float(np.mean(similarity)), "ci": similarity},
        }
        return evaluate(rule, card(), found).refusals

    assert not refusals((0.05, 0.1), (0.9, 0.95))
    (one,) = refusals((0.05, 0.11), (0.9, 0.95))
    assert one.startswith("shadow.choices_differ") and "above 0.1" in one
    (one,) = refusals((0.05, 0.1), (0.89, 0.95))
    assert one.startswith("shadow.similarity") and "below 0.9" in one
    assert len(refusals((0.05, 0.1), (0.9, 0.95), photos=99)) == 1
    result = evaluate(rule, card(), {})
    assert result.by_shadow == result.refusals and not result.by_scorecard, "it may be the candidate meanwhile"
    assert not evaluate(gate(), card(), {}).refusals, "it is not asked for by default"


def test_who_does_not_ask_for_it_has_the_configuration_of_before() -> None:
    assert "shadow" not in Config().model_dump()
    assert config_hash(Config()) != config_hash(Config(shadow=ShadowRule()))


def test_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = [np.array(shadow.mean(rng.beta(2, 5, 60))["ci"]) for _ in range(300)]
    assert 0.92 < np.mean([low <= 2 / 7 <= high for low, high in held]) < 0.98
    assert shadow.share([False] * 200)["ci"][1] > 0.01, "none of 200 does not mean never"
    assert shadow.mean([0.5] * 20)["ci"] == [0.5, 0.5]
