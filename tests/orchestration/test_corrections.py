"""Players' corrections in the pipeline: collected, checked, told of, taken back and forgotten."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from models.features import FaceFeatures
from orchestration import checks
from orchestration.checks import report
from orchestration.cli.main import app
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.lineage import erase_corrections
from orchestration.pipeline import corrections as pipeline
from orchestration.pipeline import runner
from orchestration.pipeline.definitions import build
from orchestration.registry.registered_models import Registry
from orchestration.storage.collected_rows import ForgottenRows
from orchestration.storage.erasure_log import ErasureLog
from orchestration.storage.instance import open_instance
from orchestration.storage.store import Store, StoreError
from orchestration.storage.tracking import Tracking
from orchestration.storage.versions import VERSION_TAG, latest
from serving.character_store import Caller, new_id
from serving.comparisons import Served
from serving.corrections import Correction, CorrectionStore, Values, digest_of_player, encode_features
from stages import corrections as stage
from stages.data import tables
from tests.clock import stop_clock
from tests.orchestration import good_tables as good
from tests.orchestration.conftest import stage as fake_stage
from tests.stages.correction_rows import given, write

pytestmark = pytest.mark.slow
TODAY = datetime.now(UTC).date()
YESTERDAY, BEFORE = TODAY - timedelta(days=1), TODAY - timedelta(days=2)


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays TODAY, also where the tests run over midnight."""
    stop_clock(
        monkeypatch,
        TODAY,
        "serving.corrections",
        "orchestration.pipeline.corrections",
        "orchestration.lineage.erase_corrections",
        "orchestration.storage.collected_rows",
    )


class Project:
    """A project of one slider, with an encoder, and a service that keeps corrections."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings, self.instance = settings, instance
        self.served = CorrectionStore(settings.home / "serving" / "embedded" / "corrections")
        self.schema_md5 = stage.Schema.md5(settings.characters / "embedded")
        self.encoder = self._model(
            "encoder", {"features.mean": FaceFeatures(4).mean, "enter.weight": FaceFeatures(4).std}
        )
        self.recogniser = self._model("identity_model", {"weight": FaceFeatures(4).std})

    def _model(self, name: str, weights: Mapping[str, Any]) -> str:
        with Store.of(self.settings).writing(name, "embedded") as draft:
            save_file(dict(weights), draft.folder / "model.safetensors")
        event = dg.AssetMaterialization(name, partition="embedded", tags={VERSION_TAG: draft.md5})
        self.instance.report_runless_asset_event(event)
        return draft.md5

    def player_corrects(self, player: str, value: float | None = 0.9, **about: Any) -> str:
        """What a service leaves of a character; its id."""
        fields: dict[str, Any] = {
            "id": new_id(), "owner": "", "player": digest_of_player(player), "consent": True, "day": BEFORE,
            "changed": YESTERDAY, "version": Served(version=1, run="r"), "encoder": self.encoder,
            "recogniser": self.recogniser, "character": "embedded", "schema_md5": self.schema_md5,
            "features": encode_features(np.array([0.5, -1.0, 2.0, 0.0])),
            "before": Values(parameters={"a": 0.4}, discrete={}),
            "after": None if value is None else Values(parameters={"a": value}, discrete={}),
        }  # fmt: skip
        row = Correction(**{**fields, **about})
        self.served.add(row)
        return row.id

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """stdout of `likeness ARGUMENTS`."""
        environment = {"LIKENESS_ROOT": str(self.settings.root), "LIKENESS_PROFILE": self.settings.profile}
        done = CliRunner(env=environment).invoke(app, list(arguments))
        assert done.exit_code == status, f"{arguments}: {done.output}\n{done.exception!r}"
        return done.stdout

    def collect(self) -> str:
        """md5 of the table that is collected now."""
        return json.loads(self("corrections", "--collect", "--json"))["md5"]

    def final_rows(self) -> list[str]:
        """Whose rows would be collected now."""
        forgotten = ForgottenRows.of(ErasureLog(self.instance))
        return sorted(row["id"] for row in pipeline._final_rows(self.served, forgotten, TODAY))

    def rows(self, md5: str) -> list[str]:
        return tables.read(Store.of(self.settings).fetch(md5) / stage.FILE)["id"].tolist()

    def is_gone(self, md5: str) -> bool:
        """Whether no row of a version is anywhere any more: cache, remote, working copy, what was linked."""
        store = Store.of(self.settings)
        oid = store.listing(md5)[stage.FILE]
        assert not [place for place, sizes in store.sizes().items() if oid in sizes]
        with pytest.raises(StoreError, match="was erased: corrections of"):
            store.fetch(md5)
        return True


@pytest.fixture
def project(settings: Settings) -> Iterator[Project]:
    with open_instance(settings) as instance:
        yield Project(settings, instance)


def test_rows_that_are_final_become_a_version_that_is_checked_and_told_of(project: Project) -> None:
    assert (
        "nothing was collected yet"
        in CliRunner(env={"LIKENESS_ROOT": str(project.settings.root), "LIKENESS_PROFILE": project.settings.profile})
        .invoke(app, ["corrections"])
        .stderr
    )
    one = project.player_corrects("ann", 0.9)
    unknown = project.player_corrects("bob", 0.5, encoder="0" * 32 + ".dir")
    project.player_corrects("cat", None)
    being_changed = project.player_corrects("dan", 0.1, changed=TODAY)
    md5 = project.collect()
    folder = Store.of(project.settings).fetch(md5)
    (row,) = tables.read(folder / stage.FILE).to_dict("records")
    assert row["id"] == one and row["player"] == digest_of_player("ann") and row["day"] == BEFORE.isoformat()
    assert row["before"].tolist() == [pytest.approx(0.4)] and row["parameters"].tolist() == [pytest.approx(0.9)]
    assert row["features"].tolist() == [0.5, -1.0, 2.0, 0.0]
    recogniser = Store.of(project.settings).listing(project.recogniser)["model.safetensors"]
    assert row["recogniser"] == recogniser and (folder / "readers" / f"{project.encoder}.safetensors").is_file()
    (aside,) = tables.read(folder / stage.ASIDE).to_dict("records")
    assert aside["id"] == unknown and "nobody knows the encoder" in aside["reason"]

    made = latest(project.instance, "corrections", "embedded")
    assert made is not None and made.md5 == md5 and made.metadata["rows_corrections"] == 1
    assert "| a | 0.500 |" in str(made.metadata["corrections"])
    said = json.loads(project("checks", "corrections", "--json"))
    assert {each["check"]: each["passed"] for each in said} == {
        "corrections_table": True, "corrections_set_aside_table": True,
    }  # fmt: skip
    (version,) = json.loads(project("corrections", "--json"))["versions"]
    assert version["sliders"]["a"]["mean"] == {"value": 0.5, "ci": None, "n": 1}
    page = project.settings.root / "page.html"
    shown = project("corrections", "--html", str(page))
    assert "+0.500" in shown and "set aside: 1 rows" in shown and "Version 1" in page.read_text()
    (node,) = (n for n in json.loads(project("lineage", md5, "--json"))["nodes"] if n["asset"] == "corrections")
    assert node["rows"] == {"corrections": 1, "set_aside": 1} and node["bytes"] == ["here", "remote"]

    assert project.collect() == md5, "the same rows, the same version"
    project.served.change(being_changed, {"parameters": {"a": 0.2}, "discrete": {}}, YESTERDAY)
    assert project.final_rows() == sorted([one, unknown, being_changed])


def test_what_is_taken_back_is_erased_from_every_version_and_does_not_come_back(project: Project) -> None:
    kept, withdrawn = project.player_corrects("ann"), project.player_corrects("bob")
    old = project.served.get(withdrawn, Caller(""))
    first = project.collect()
    assert sorted(project.rows(first)) == sorted([kept, withdrawn])
    project.served.withdraw(withdrawn, Caller(""))
    second = project.collect()
    assert project.rows(second) == [kept] and project.is_gone(first)
    assert project.served.withdrawn() == []
    (entry,) = ErasureLog(project.instance).entries()
    assert entry.done and list(entry.characters) == [withdrawn] and entry.why == "consent withdrawn"
    project.served.add(old)  # out of a backup
    assert project.final_rows() == [kept] and [id for id, _ in project.served.rows()] == [kept]


def test_a_player_is_forgotten_in_service_tables_and_for_rows_that_come_late(project: Project) -> None:
    ann, bob = project.player_corrects("ann"), project.player_corrects("bob", 0.2)
    late = project.served.get(ann, Caller(""))
    first = project.collect()
    registry = Registry(Tracking.of(project.settings), "embedded")
    registry.client.create_registered_model(registry.name)
    with registry.tracking.run("production_encoder", {}) as run:
        version = registry.client.create_model_version(registry.name, f"runs:/{run.run_id}/encoder", run_id=run.run_id)
    registry.client.set_model_version_tag(registry.name, str(version.version), "input.corrections", first)

    plan = json.loads(project("forget", "ann", "--player", "--dry-run", "--json"))
    assert plan["served_rows"] == [ann] and list(plan["versions"]) == [first] and not plan["done"]
    assert [use["version"] for use in plan["models"]] == [1]
    said = project("forget", "ann", "--player", "--yes", "--why", "asked to")
    assert "forgotten" in said and "what other machines keep" in said
    assert project.is_gone(first) and [id for id, _ in project.served.rows()] == [bob]
    assert "there is nothing left to erase" in project("forget", "ann", "--player", "--yes")
    assert project.final_rows() == [bob]
    project.served.add(late)
    assert project.final_rows() == [bob], "dropped"
    assert [id for id, _ in project.served.rows()] == [bob], "and deleted"
    agreed_again = project.player_corrects("ann", day=TODAY + timedelta(days=1))
    assert project.final_rows() == sorted([agreed_again, bob])
    text = "".join(path.read_text(errors="ignore") for path in project.settings.home.glob("*.json*"))
    assert digest_of_player("ann")[:12] in text and 'ann"' not in text


def test_an_erasure_is_done_again_after_a_backup_brought_the_rows_back(project: Project, tmp_path: Path) -> None:
    ann = project.player_corrects("ann")
    row, first = project.served.get(ann, Caller("")), project.collect()
    copy = Store.of(project.settings).export(first, tmp_path / "copy")
    project("forget", "ann", "--player", "--yes")
    assert project.is_gone(first)
    assert Store.of(project.settings).put(copy) == first
    project.served.add(row)
    (entry,) = ErasureLog(project.instance).entries()
    erase_corrections.erase_again(project.settings, project.instance, entry)
    assert project.is_gone(first) and list(project.served.rows()) == []
    assert [each.id for each in ErasureLog(project.instance).entries()] == [entry.id]


def test_what_learns_from_corrections_waits_for_them_and_says_which_it_learnt_from(project: Project) -> None:
    learner = fake_stage("learner", ("character",), by_character=True)
    module: Any = learner.module
    module.inputs_of = lambda config: (*module.INPUTS, "corrections") if config.text == "learns" else module.INPUTS
    profile = Path(project.settings.profile)

    def run() -> list[str]:
        quiet = Progress(lambda line: None)
        return runner.run(project.settings, project.instance, (learner,), quiet, "embedded").made

    assert run() == ["learner/embedded"]
    made = latest(project.instance, "learner", "embedded")
    assert made is not None and "corrections" not in made.lineage
    profile.write_text("learner: {text: learns}\n")
    with pytest.raises(runner.StageFailed, match="likeness corrections --collect"):
        run()
    project.player_corrects("ann")
    profile.write_text("{}\n")
    md5 = project.collect()
    profile.write_text("learner: {text: learns}\n")
    assert run() == ["learner/embedded"]
    made = latest(project.instance, "learner", "embedded")
    assert made is not None and made.lineage["corrections"] == md5


def test_the_encoder_depends_on_corrections_where_its_configuration_says_so(settings: Settings) -> None:
    for content, depends in (("{}", False), ("encoder: {corrections: {weight: 0.2}}", True)):
        Path(settings.profile).write_text(content)
        assets = build(settings).resolve_asset_graph()
        assert (dg.AssetKey("corrections") in assets.get(dg.AssetKey("encoder")).parent_keys) == depends


def test_a_row_that_breaks_the_tables_rules_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    rows = [given(number, {"nose_width": 0.9}) for number in range(12)]
    stage.run(
        {"character": good.CHARACTER, "given": write(tmp_path / "given", rows)}, stage.Config(), folder, stage.Context()
    )
    table: list[dict[str, Any]] = pq.read_table(folder / stage.FILE).to_pylist()
    assert judged(folder) == []
    broken: Mapping[str, Mapping[str, Any]] = {
        "consent": {"consent": False}, "encoder": {"encoder": "unknown"}, "day": {"day": "2026-11-20T10:11:12"},
        "parameters_highest": {"parameters": [2.0, *table[0]["parameters"][1:]]}, "id": {"id": table[-1]["id"]},
        "before_lowest": {"before": [-1.0, *table[0]["before"][1:]]}, "discrete_outside": {"discrete": [99] * 10},
        "features_finite": {"features": [float("nan")] * 6},
        "splits_of_player": {"player": table[-1]["player"], "split": "test"},
    }  # fmt: skip
    changed = [{**row, **change} for row, change in zip(table, broken.values(), strict=False)]
    tables.write(folder / stage.FILE, [*changed, *table[len(broken) :]], stage.SCHEMA)
    assert set(broken) <= set(judged(folder))


def judged(folder: Path) -> list[str]:
    """Columns of the expectations that fail."""
    context = good.context("corrections", folder)
    (check,) = (one for one in checks.checks_of(context.stage, context.rules) if one.name == "corrections_table")
    result = checks.evaluate(check, context)
    return [entry["column"] for entry in good.records(result, report.EXPECTATIONS) if not entry["ok"]]
