"""From a scorecard to production: by the gate, by hand, and never by itself again once rolled back."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from engine.schema import SCHEMA_FILE
from orchestration.cli.main import app
from orchestration.config.catalog import Stage
from orchestration.config.profiles import config_hash
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import production_encoder, runner
from orchestration.promotion import comparison, packaging, promote, shadow
from orchestration.registry import gate
from orchestration.registry.aliases import AliasStore
from orchestration.registry.people import ACTS, VARIABLE, People
from orchestration.registry.promotion_events import AliasState, RegistryError
from orchestration.registry.registered_models import Registry
from orchestration.storage import versions
from orchestration.storage.dagster_internals import SubmitRunContext
from orchestration.storage.instance import open_instance
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking
from serving.comparisons import Comparison, Served
from tests.orchestration.conftest import ORIGIN, Concatenate, make_project
from tests.orchestration.faces import copy_project

pytestmark = pytest.mark.slow

NAMES = packaging.NETWORKS


def figures(similarity: float, recovery: float = 0.3) -> dict[str, Any]:
    """Sections with two scores."""
    ends = 0.01
    return {
        "recovery": {"visible": score(recovery, 0.0, ends)},
        "likeness": {"similarity": score(similarity, 0.5, ends)},
    }


def score(value: float, baseline: float | None, ends: float) -> dict[str, Any]:
    return {"value": value, "baseline": baseline, "bound": None, "ci": [value - ends, value + ends], "n": 100}


def beside(ours: float, theirs: float, **more: Any) -> dict[str, Any]:
    """A candidate's sections, and production's from the same run."""
    difference = {"value": round(ours - theirs, 5), "ci": [ours - theirs - 0.001, ours - theirs + 0.001], "n": 100}
    same = {"value": 0.0, "ci": [0.0, 0.0], "n": 100}
    differences = {"likeness.similarity": difference, "recovery.visible": same}
    return figures(ours) | {"production": {**figures(theirs), "differences": differences, **more}}


# --- by hand


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry(Tracking.of(settings), "embedded")


@pytest.fixture
def registered(registry: Registry) -> Callable[..., str]:
    """Registers a version with these figures; its md5 is its own number."""
    client = MlflowClient(registry.tracking.uri, registry.tracking.uri)
    client.create_registered_model(registry.name)

    def register(card: Mapping[str, Any]) -> str:
        with registry.tracking.run("production_encoder", {}) as run:
            run.document(card, "scorecard.json")
        version = client.create_model_version(registry.name, "file:///nowhere", run.run_id)
        client.set_model_version_tag(registry.name, str(version.version), "md5", f"{version.version}.dir")
        return str(version.version)

    return register


@pytest.fixture
def likeness(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("LIKENESS_ROOT", str(settings.root))
    monkeypatch.setenv("LIKENESS_PROFILE", settings.profile)
    monkeypatch.setenv("LIKENESS_USER", "anna")
    return lambda *arguments: CliRunner().invoke(app, arguments)


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


# --- by more than one person


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


# --- by the gate


class Scored(Concatenate):
    """A scorecard of figures that the test gives."""

    def __init__(self) -> None:
        super().__init__("scorecard", ("embedded", "character", *NAMES))
        self.similarity, self.rival = 0.8, 0.8
        self.given: Path | None = None

    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        self.given = inputs.get("production")
        card = beside(self.similarity, self.rival) if self.given else figures(self.similarity) | {"production": None}
        (out / "scorecard.json").write_text(json.dumps(card))
        return {}


class Pipeline:
    """The end of the graph: networks that are a few bytes, a scorecard as the test wants it, and the real gate."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        (settings.data / "embedded" / "landmarks").mkdir(exist_ok=True)
        (settings.data / "embedded" / "landmarks" / "face_landmarker.task").write_text("landmarks")
        assert (settings.characters / "embedded" / SCHEMA_FILE).is_file()
        self.settings, self.instance, self.scorecard = settings, instance, Scored()
        self.registry = Registry(Tracking.of(settings), "embedded")
        self.stages = (
            *(self._network(name) for name in NAMES),
            Stage("scorecard", "evaluation", ("dvc",), "", by_character=True, compares=True, module=self.scorecard),
            production_encoder.STAGE,
        )

    def _network(self, name: str) -> Stage:
        module = Concatenate(name, ("embedded", "character"))

        def write(out: Path, context: Any) -> None:
            text = yaml.safe_load(Path(self.settings.profile).read_text()).get(name, {}).get("text", "a")
            (out / "model.safetensors").write_text(f"{name} {text}")
            (out / "meta.json").write_text("{}")

        module.act = write
        return Stage(name, "models", ("dvc",), "", by_character=True, module=module)

    def __call__(self, encoder: str = "a", force: str = "", **gate: Any) -> runner.Outcome:
        """`likeness run`, with an encoder of this name."""
        # Networks of a few bytes have no metrics to be judged by.
        checks = {"metrics": dict.fromkeys(NAMES)}
        profile = {"encoder": {"text": encoder}, "production_encoder": gate, "checks": checks}
        Path(self.settings.profile).write_text(yaml.safe_dump(profile))
        progress = Progress(lambda line: None)
        return runner.run(
            self.settings, self.instance, self.stages, progress, "embedded", force or None, bool(force)
        )  # fmt: skip

    def metadata(self, asset: str) -> Mapping[str, Any]:
        version = versions.latest(self.instance, asset, "embedded")
        assert version is not None
        return version.metadata


@pytest.fixture
def new(settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Of which nothing was made yet."""
    monkeypatch.setenv("LIKENESS_USER", "anna")
    return Pipeline(settings, instance)


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
