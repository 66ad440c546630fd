"""A version that failed its checks is kept and read by nobody; other rules judge it again without making it again."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from orchestration.checks import metrics, results
from orchestration.config.catalog import Stage
from orchestration.config.check_rules import MetricRule, Rules
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import runner
from orchestration.pipeline.definitions import build
from orchestration.storage.project import AssetRef, Project
from orchestration.storage.store import Store
from orchestration.storage.versions import latest
from tests.orchestration import good_tables as good
from tests.orchestration.conftest import Concatenate
from tests.orchestration.conftest import stage as fake_stage

pytestmark = pytest.mark.slow

RULE = "checks: {%s metrics: {model: {score: {baseline: trivial, margin: %s, behind_production: 1.0}}}}\n"


class Model(Concatenate):
    """A stage that trains nothing and reports the metrics that a test gives it."""

    def __init__(self, name: str, inputs: tuple[str, ...]) -> None:
        super().__init__(name, inputs)
        self.metrics = {"score": 5.0, "trivial": 2.0}

    def run(self, inputs: Any, config: Any, out: Path, context: Any) -> dict[str, float]:
        super().run(inputs, config, out, context)
        return dict(self.metrics)


class Runner:
    """`likeness run` on faces → model → after, with a profile written for the test."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings, self.instance = settings, instance
        self.lines: list[str] = []
        self.rows = [good.face(0), good.face(1)]
        faces = fake_stage("faces", ("photos",), tables=("faces",), drift=("faces",))
        faces.module.act = lambda out, context: good.write(out, "aligned_faces", self.rows) and None
        self.model = Model("model", ("faces", "character"))
        model = Stage("model", "models", (), "", by_character=True, module=self.model)
        self.stages = (faces, model, fake_stage("after", ("model", "faces"), by_character=True))
        self.faces = faces.module
        self.rule(0.5)

    def rule(self, margin: float, more: str = "") -> None:
        Path(self.settings.profile).write_text(RULE % (more, margin))

    def __call__(self, character: str = "embedded", **options: Any) -> list[str]:
        progress = Progress(self.lines.append, every=0)
        return runner.run(self.settings, self.instance, self.stages, progress, character, **options).made

    def result(self, check: str, character: str | None = "embedded") -> results.CheckResult:
        stage = self.stages[0] if check.startswith("faces") else self.stages[1]
        project = Project.of(self.settings, self.instance, self.stages)
        found = results.newest(project, AssetRef(stage, character if stage.by_character else None))
        return next(result for result in found if result.check == check)


@pytest.fixture
def run(settings: Settings, instance: dg.DagsterInstance) -> Runner:
    return Runner(settings, instance)


def test_a_bad_table_stops_the_run_and_the_line_says_check_expectation_column_count_and_how_to_see_the_rows(
    run: Runner,
) -> None:
    run.rows = [good.face(0), good.face(1, yaw=170.0)]
    with pytest.raises(runner.StageFailed) as stopped:
        run()
    assert str(stopped.value) == (
        "faces failed its check faces_table: expect_column_values_to_be_between yaw: 1 of 2 rows fail, "
        "first id: portraits/1, value: 170\nThe rows: `likeness checks faces`"
    )
    assert run.model.runs == 0


def test_ctrl_c_interrupts_and_is_no_failure_of_the_stage(run: Runner) -> None:
    begun: list[Path] = []

    def interrupted(out: Path, context: Any) -> None:
        begun.append(out)
        os.kill(os.getpid(), signal.SIGINT)

    run.faces.act = interrupted
    with pytest.raises(KeyboardInterrupt):
        run()
    assert any("faces  interrupted after" in line for line in run.lines)
    assert len(begun) == 1, "what somebody stops is not tried again"


def test_the_bad_version_is_kept_so_that_its_rows_can_be_looked_at(run: Runner) -> None:
    run.rows = [good.face(0), good.face(1, yaw=170.0)]
    with pytest.raises(runner.StageFailed):
        run()
    bad = latest(run.instance, "faces")
    assert bad is not None
    assert (Store.of(run.settings).fetch(bad.md5) / "faces.parquet").is_file()
    (row,) = run.result("faces_table").rows()
    assert (row["id"], row["column"], row["value"]) == ("portraits/1", "yaw", "170")


def test_nobody_reads_the_bad_version_not_even_one_asset_alone(run: Runner) -> None:
    run()
    run.rows = [good.face(0), good.face(1, yaw=170.0)]
    with pytest.raises(runner.StageFailed, match="faces_table"):
        run(only="faces", force=True)
    with pytest.raises(runner.StageFailed, match=r"model would read a version that must not be read: faces failed"):
        run(only="model")
    definitions = build(run.settings, run.stages, Progress(run.lines.append))
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey("after")],
        partition_key="embedded",
        instance=run.instance,
        run_config=runner.QUIET,
        raise_on_error=False,
    )
    assert not result.success, "what Dagster starts itself reads it no more than `likeness run` does"
    assert "after would read a version that must not be read" in runner.reason(result)
    assert run.model.runs == 1


def test_a_bad_version_is_not_made_again_while_nothing_changes(run: Runner) -> None:
    run.rows = [good.face(0), good.face(0)]
    with pytest.raises(runner.StageFailed):
        run()
    with pytest.raises(runner.StageFailed, match=r"(?s)be_unique id.*nothing that it is made of changed"):
        run()
    assert run.faces.runs == 1
    run.rows = [good.face(0), good.face(1)]
    (run.settings.data / "photos" / "new.txt").write_text("a photo")
    assert run() == ["faces", "model/embedded", "after/embedded"]


def test_force_makes_a_bad_version_again(run: Runner) -> None:
    run.rows = [good.face(0), good.face(0)]
    with pytest.raises(runner.StageFailed):
        run()
    run.rows = [good.face(0), good.face(1)]
    assert run(force=True) == ["faces", "model/embedded", "after/embedded"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"score": 2.1, "trivial": 2.0}, "metric_beats_baseline score: 2.1"),
        ({"score": float("nan"), "trivial": 2.0}, "metric_is_finite score"),
        ({"score": 5.0, "trivial": 2.0, "loss": float("inf")}, "metric_is_finite loss"),
        ({"score": 5.0}, "metric_beats_baseline score: not reported"),
        ({"trivial": 2.0}, "metric_is_reported score"),
    ],
)
def test_a_model_that_is_not_good_enough_stops_the_run(run: Runner, values: dict[str, float], reason: str) -> None:
    run.model.metrics = values
    with pytest.raises(runner.StageFailed, match="model failed its check metrics") as stopped:
        run()
    assert reason in str(stopped.value)
    assert run.result("metrics").blocks


def test_a_stricter_rule_judges_again_without_training_and_a_looser_one_lets_it_pass(run: Runner) -> None:
    run()
    run.rule(4.0)
    with pytest.raises(
        runner.StageFailed, match=r"(?s)score: 5, expected ≥ 6 \(trivial 2, margin 4\)\n.*It was not made again"
    ):
        run()
    assert run.result("metrics").blocks
    run.rule(3.0)
    assert run() == []
    assert run.model.runs == 1 and run.result("metrics").passed
    assert any("check metrics judged again: all" in line for line in run.lines)


def test_a_failed_model_that_passes_another_rule_goes_on_without_training(run: Runner) -> None:
    run.rule(4.0)
    with pytest.raises(runner.StageFailed):
        run()
    run.rule(1.0)
    assert run() == ["after/embedded"]
    assert run.model.runs == 1


def test_what_dagster_starts_itself_judges_its_inputs_by_the_rules_of_now(run: Runner) -> None:
    run()
    run.rule(4.0)
    with pytest.raises(runner.StageFailed, match="after would read a version that must not be read: model"):
        run(only="after", force=True)


def test_a_stricter_rule_for_tables_judges_the_rows_that_are_here(run: Runner) -> None:
    run()
    before = run.result("faces_table")
    run.rule(0.5, "pictures: 1,")
    assert run() == []
    after = run.result("faces_table")
    assert before.passed and after.passed and before.metadata["rule"] != after.metadata["rule"]
    assert run.faces.runs == 1


def test_nothing_is_judged_again_while_no_rule_changes(run: Runner) -> None:
    run()
    run.lines.clear()
    run()
    assert not [line for line in run.lines if "judged again" in line]


def test_another_character_that_passed_does_not_hide_one_that_failed(run: Runner) -> None:
    run.model.metrics = {"score": 1.0, "trivial": 2.0}
    with pytest.raises(runner.StageFailed):
        run()
    run.model.metrics = {"score": 5.0, "trivial": 2.0}
    run("other")
    assert run.result("metrics", "embedded").blocks and run.result("metrics", "other").passed
    with pytest.raises(runner.StageFailed, match="model failed its check metrics"):
        run()


def test_a_check_that_breaks_costs_nothing_that_was_made(run: Runner) -> None:
    run.faces.act = lambda out, context: None  # no table at all
    with pytest.raises(runner.StageFailed, match="check_runs"):
        run()
    assert latest(run.instance, "faces") is not None


@pytest.mark.parametrize(("value", "passes"), [(4.5, True), (3.5, False)])
def test_a_model_may_be_a_little_worse_than_production(value: float, passes: bool) -> None:
    rules = Rules(metrics={"imitator": {"psnr": MetricRule(behind_production=1.0)}})
    production = good.MadeFrom(metrics={"psnr": 5.0})
    findings, facts = metrics.evaluate(good.context("imitator", Path(), rules, production, {"psnr": value}))
    assert findings[-1].passed == passes
    assert facts["compared_with"] == "imitator of likeness-embedded 1"


@pytest.mark.parametrize(("value", "passes"), [(0.4, True), (0.6, False), (float("nan"), False)])
def test_lower_may_be_better(value: float, passes: bool) -> None:
    rules = Rules(metrics={"imitator": {"l1": MetricRule(better="lower", baseline="average", margin=0.5)}})
    context = good.context("imitator", Path(), rules, metrics={"l1": value, "average": 1.0})
    findings, _ = metrics.evaluate(context)
    assert all(finding.passed for finding in findings) == passes


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ({"portraits_r2": 0.3, "pairs_r2": -9.0}, True),
        ({"portraits_r2": -0.3, "pairs_r2": 9.0}, False),
        ({"pairs_r2": 0.3}, True),
        ({"pairs_r2": -9.0}, False),
        ({}, False),
    ],
)
def test_an_encoder_is_judged_by_renders_only_where_no_portraits_show_its_character(
    values: dict[str, float], passes: bool
) -> None:
    average = {f"{name}_average_face": 0.0 for name in values}
    findings, _ = metrics.evaluate(good.context("encoder", Path(), metrics=values | average))
    assert all(finding.passed for finding in findings) == passes


def put_in_production(run: Runner) -> str:
    """Register a version that was made from what is newest, and promote it; the md5 of its faces."""
    from orchestration.registry.registered_models import Registry
    from orchestration.storage.tracking import Tracking

    model, faces = latest(run.instance, "model", "embedded"), latest(run.instance, "faces")
    assert model is not None and faces is not None
    registry = Registry(Tracking.of(run.settings), "embedded")
    registry.client.create_registered_model(registry.name)
    tags = {"input.model": model.md5, "input.faces": faces.md5}
    registry.client.create_model_version(registry.name, source="file:///nowhere", tags=tags)
    registry.alias_store.promote("1", "a test", "to compare with it")
    return faces.md5


def test_a_model_is_compared_with_the_one_that_production_was_made_from(run: Runner) -> None:
    run()
    put_in_production(run)
    run.model.metrics = {"score": 3.5, "trivial": 2.0}
    Path(run.settings.profile).write_text(RULE % ("", 0.5) + "model: {text: b}\n")
    with pytest.raises(runner.StageFailed, match=r"metric_keeps_up_with_production score: 3.5"):
        run()
    assert run.result("metrics").facts()["compared_with"] == "model of likeness-embedded 1"


def test_faces_that_drift_from_productions_are_a_warning_and_the_run_goes_on(run: Runner) -> None:
    run.rows = [good.face(number, brightness=0.4 + number / 1500) for number in range(300)]
    run()
    put_in_production(run)
    run.rows = [good.face(number, brightness=0.6 + number / 1500) for number in range(300)]
    (run.settings.data / "photos" / "new.txt").write_text("a photo")
    assert run() == ["faces", "model/embedded", "after/embedded"]
    result = run.result("faces_drift")
    assert result.passed is False and not result.blocks
    assert result.facts()["compared_with"] == "faces of likeness-embedded 1"
    (line,) = (line for line in run.lines if "warning, check faces_drift" in line)
    assert "kl_divergence_to_be_less_than brightness" in line
    assert run() == [], "a warning is no reason to make anything again"


def test_faces_whose_reference_was_erased_pass_and_say_so(run: Runner) -> None:
    run()
    md5 = put_in_production(run)
    run.rows = [good.face(2, split="train")]
    (run.settings.data / "photos" / "new.txt").write_text("a photo")
    Store.of(run.settings).remove([md5])
    run(only="faces")
    result = run.result("faces_drift")
    assert result.passed and "faces of likeness-embedded 1 is not to be had any more" in result.description


@pytest.fixture
def likeness(settings: Settings, monkeypatch: pytest.MonkeyPatch, gathered: Path) -> Callable[..., Any]:
    """The command line on this project, with the stages of the catalogue replaced by the test's."""
    from orchestration.cli import main
    from orchestration.config import catalog

    def call(run: Runner, *arguments: str) -> Any:
        monkeypatch.setattr(catalog, "STAGES", run.stages)
        monkeypatch.setenv("LIKENESS_ROOT", str(settings.root))
        monkeypatch.setenv("LIKENESS_PROFILE", settings.profile)
        return CliRunner().invoke(main.app, ["checks", *arguments])

    return call


def test_the_command_prints_each_check_and_the_failing_rows(run: Runner, likeness: Callable[..., Any]) -> None:
    run.rows = [good.face(0), good.face(1, yaw=170.0)]
    with pytest.raises(runner.StageFailed):
        run()
    shown = likeness(run)
    assert shown.exit_code == 1
    assert "faces_table" in shown.stdout and "failing rows, 1 of 1" in shown.stdout and "portraits/1" in shown.stdout
    answer = likeness(run, "faces", "--json")
    assert answer.exit_code == 1
    (document,) = (one for one in json.loads(answer.stdout) if one["check"] == "faces_table")
    assert document["passed"] is False and document["blocking"]
    assert document["failing_rows"][0]["id"] == "portraits/1" and document["failing_count"] == 1
    assert len(document["expectations"]) > 20


def test_the_command_judges_again_by_another_rule(run: Runner, likeness: Callable[..., Any]) -> None:
    run()
    assert likeness(run).exit_code == 0
    run.rule(4.0)
    again = likeness(run, "model", "--again", "--json")
    assert again.exit_code == 1 and json.loads(again.stdout)[0]["passed"] is False
    assert run.model.runs == 1


def test_the_command_names_the_assets_that_have_checks(run: Runner, likeness: Callable[..., Any]) -> None:
    answer = likeness(run, "encoder")
    assert answer.exit_code == 1 and "faces, model" in answer.stderr
