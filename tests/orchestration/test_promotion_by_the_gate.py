"""From a scorecard to production by the gate, and never by itself again once rolled back."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestration.config.settings import Settings
from orchestration.promotion import comparison, packaging, shadow
from orchestration.registry.promotion_events import RegistryError
from orchestration.storage import versions
from orchestration.storage.instance import open_instance
from orchestration.storage.store import Store
from serving.comparisons import Comparison, Served
from tests.orchestration.conftest import make_project
from tests.orchestration.faces import copy_project
from tests.orchestration.promoting import Pipeline, beside, new

__all__ = ["new"]  # fixtures
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, empty_stores: Path) -> Path:
    """A project whose encoder "a" is in production."""
    settings = make_project(tmp_path_factory.mktemp("first"), "embedded", "other")
    shutil.copytree(empty_stores, settings.home)
    with open_instance(settings) as instance, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LIKENESS_USER", "anna")
        run = Pipeline(settings, instance)
        assert run("a").refused == [] and run.scorecard.given is None
    return settings.root


@pytest.fixture
def run(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A copy of it for one test."""
    monkeypatch.setenv("LIKENESS_USER", "anna")
    copy_project(first, tmp_path)
    settings = Settings(root=tmp_path, device="cpu", profile=str(tmp_path / "profile.yaml"))
    with open_instance(settings) as instance:
        yield Pipeline(settings, instance)


def test_what_passes_is_promoted_and_what_does_not_stays_behind(run: Pipeline) -> None:
    assert run.registry.aliases() == {"newest": "1", "candidate": "1", "production": "1"}
    (move,) = run.registry.alias_store.state().events()
    assert (move.who, move.why, move.before) == ("anna", "passed the gate; nothing was in production", None)

    run.scorecard.similarity = 0.7
    outcome = run("b")
    assert "worse than production's 0.8" in outcome.refused[0]
    assert run.scorecard.given is not None, "the version in production was there to be scored"
    assert run.registry.aliases() == {"newest": "2", "candidate": "1", "production": "1"}
    first = run.registry.alias_store.state().tags["1"]["md5"]
    assert run.metadata("scorecard")["inputs"]["production"] == first
    assert "production" not in run.metadata("production_encoder")["lineage"]
    assert "| likeness.similarity | not worse than production |" in run.metadata("production_encoder")["gate"]

    run.scorecard.similarity = 0.9
    assert run("c").refused == []
    assert run.registry.aliases() == {"newest": "3", "candidate": "3", "production": "3", "previous": "1"}
    assert run("c").made == [], "that production moved makes nothing stale"


def test_the_same_networks_scored_anew_are_one_version_with_the_new_figures(run: Pipeline) -> None:
    def scored() -> tuple[float, dict[str, str]]:
        (version,) = run.registry.versions()
        value = run.registry.scorecard("1")["likeness"]["similarity"]["value"]
        return value, {name: md5 for name, md5 in version["tags"].items() if name.startswith("scored.")}

    assert scored() == (0.8, {})
    run.scorecard.similarity, other = 0.85, run.settings.data / "embedded" / "other.txt"
    other.write_text("nothing that is packed")
    run("a")
    value, tags = scored()
    assert value == 0.85 and tags["scored.scorecard"] == run.metadata("scorecard")["md5"]
    assert run.registry.aliases() == {"newest": "1", "candidate": "1", "production": "1"}
    other.unlink()
    assert run("a").made == ["production_encoder/embedded"]
    assert scored() == (0.8, {}), "the scorecard of these inputs was known"


def test_without_auto_promote_what_passes_waits_as_candidate(new: Pipeline) -> None:
    assert new("a", auto_promote=False).refused == []
    assert new.registry.aliases() == {"newest": "1", "candidate": "1"}


def test_what_has_to_be_seen_in_service_first_waits_as_candidate(new: Pipeline) -> None:
    asked: dict[str, Any] = {"shadow": {"photos": 10, "parameters_differ": 0.1}}
    assert new("a", **asked).refused == [], "nothing is in production to be compared with"
    new.scorecard.similarity = 0.9
    assert "0 of 10 photos were read beside production" in new("b", **asked).refused[0]
    assert new.registry.aliases() == {"newest": "2", "candidate": "2", "production": "1"}
    assert "| shadow.photos | like production in service |" in new.metadata("production_encoder")["gate"]
    before, after = (Served(version=n, run=str(new.registry.find(str(n)).run_id)) for n in (1, 2))
    for _ in range(10):
        shadow.comparisons(new.registry).add(
            Comparison(production=before, candidate=after, outcome="compared", parameters=0.05)
        )
    assert new("b", force="production_encoder", **asked).refused == []
    assert new.registry.aliases()["production"] == "2"


def test_what_was_rolled_back_is_never_promoted_again_by_itself(run: Pipeline) -> None:
    run.scorecard.similarity = 0.9
    run("b")
    run.registry.alias_store.rollback("anna", "complaints")
    assert run.registry.aliases() == {"newest": "2", "production": "1"}
    outcome = run("b", force="production_encoder")
    assert outcome.refused == ["version 2 was rolled back: `likeness promote 2 --force --why REASON` if you are sure"]
    assert run.registry.aliases() == {"newest": "2", "production": "1"}


def test_the_same_content_is_no_rival_of_its_own(run: Pipeline) -> None:
    run("a", force="scorecard")
    assert run.scorecard.given is None


def test_the_gate_judges_against_production_of_now_when_it_moved_since_the_scorecard(
    run: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("b", auto_promote=False)
    run("c", auto_promote=False)
    md5 = {version: tags["md5"] for version, tags in run.registry.alias_store.state().tags.items()}
    run.registry.alias_store.promote("2", "ben", "by hand")
    asked: list[tuple[str, ...]] = []

    def again(_: Any, candidate: versions.Version, production: versions.Version, __: Any) -> dict[str, Any]:
        asked.append((candidate.md5, production.md5))
        return beside(0.7, 0.8, md5=md5["2"])

    monkeypatch.setattr(comparison, "again", again)
    outcome = run("c", force="production_encoder")
    assert asked == [(md5["3"], md5["2"])], "version 3 with version 2, although the scorecard has version 1"
    assert "worse than production's 0.8" in outcome.refused[0]
    card = run.registry.card_against("3", md5["2"])
    assert card is not None and card["production"]["version"] == 2


def test_a_production_whose_files_are_gone_is_not_replaced_by_itself(run: Pipeline) -> None:
    client = MlflowClient(run.registry.tracking.uri, run.registry.tracking.uri)
    client.set_model_version_tag(run.registry.name, "1", "md5", "0" * 32 + ".dir")
    outcome = run("b")
    assert "no score could be compared with production's" in outcome.refused[0]
    assert "neither in the cache nor in the remote" in outcome.refused[0]
    assert run.registry.aliases()["production"] == "1"


def test_what_was_deleted_in_mlflow_is_registered_again(run: Pipeline) -> None:
    client, name = run.registry.client, run.registry.name
    client.delete_model_version(name, "1")
    assert run("a").made == ["production_encoder/embedded"]
    assert run.registry.aliases() == {"newest": "2", "candidate": "2", "production": "2"}
    client.rename_registered_model(name, "mine")
    assert run("a").made == ["production_encoder/embedded"]
    assert run.registry.aliases()["production"] == "1" and run("a").made == []


def test_a_version_whose_files_are_gone_is_replaced_by_the_same_content(run: Pipeline) -> None:
    shutil.rmtree(run.settings.model_files / "models")
    with pytest.raises(RegistryError, match=r"the files of version 1 are gone .* registers the same content anew"):
        run.registry.load("production")
    assert run("a").made == ["production_encoder/embedded"]
    assert run.registry.aliases()["production"] == "2" and run.registry.lost("2") == ""
    move = run.registry.alias_store.state().events()[-1]
    assert move.why == "the content of version 1, of which something is gone"


def test_a_packed_folder_is_known_by_what_it_was_made_of(run: Pipeline) -> None:
    inputs = dict(run.metadata("production_encoder")["inputs"])
    packed, store = run.metadata("production_encoder")["md5"], Store.of(run.settings)
    assert packaging.is_made_of(store, packed, inputs)
    assert not packaging.is_made_of(store, packed, {**inputs, "encoder": inputs["imitator"]})
