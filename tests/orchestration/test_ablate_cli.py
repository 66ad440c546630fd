"""Variants of a graph: what is made again, what is reused, and that the pipeline's own results stay as they are."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from orchestration.apps import ablation
from orchestration.apps.ablation import EXPERIMENT, AblationError, AblationResult
from orchestration.cli.main import app
from orchestration.config.catalog import STAGES, Stage
from orchestration.config.profiles import profile_names, resolve
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import production_encoder, runner
from orchestration.storage.tracking import Tracking
from tests.orchestration.conftest import Concatenate

pytestmark = pytest.mark.slow

VARIANTS = """
scorecard: {text: short}
variants:
  full: {about: All of it.}
  other_faces: {about: Other faces., changes: {faces: {text: other}}}
  other_encoder: {about: Another encoder., changes: {encoder: {text: other}}}
  same: {about: Changes nothing., changes: {encoder: {text: a}}}
  search: {about: No training., scores: {likeness.similarity: search.similarity}}
  rare: {about: Only when asked for., slow: true, changes: {encoder: {text: rare}}}
"""


class Scorecard(Concatenate):
    """Scores by the length of all texts."""

    def run(self, inputs: Any, config: Any, out: Path, context: Any) -> dict[str, float]:
        metrics = super().run(inputs, config, out, context)
        value = float(len((out / "content.txt").read_text()))
        one = {"value": value, "baseline": 0.0, "bound": None, "ci": [value - 1, value + 1], "n": 3}
        card = {"recovery": {"visible": one}, "search": {"similarity": {**one, "value": 0.5}}}
        (out / "scorecard.json").write_text(json.dumps(card))
        return metrics


@pytest.fixture
def graph(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    module = Scorecard("scorecard", ("photos", "faces", "encoder"))
    after = Concatenate("after", ("scorecard",))
    return (
        *stages,
        Stage("scorecard", "data", ("dvc",), "scorecard", by_character=True, module=module),
        Stage("after", "data", ("dvc",), "after", by_character=True, module=after),
    )


def silent() -> Progress:
    return Progress(lambda line: None)


@pytest.fixture
def run(
    ablate: Callable[..., AblationResult], settings: Settings, instance: dg.DagsterInstance, graph: tuple[Stage, ...]
):
    """`likeness ablate` after `likeness run`."""
    runner.run(settings, instance, graph, silent(), "other")
    return ablate


@pytest.fixture
def ablate(settings: Settings, instance: dg.DagsterInstance, graph: tuple[Stage, ...]) -> Callable[..., AblationResult]:
    """`likeness ablate` where nothing was ever made."""
    path = settings.root / "variants.yaml"

    def ablate(*names: str, text: str = VARIANTS) -> AblationResult:
        path.write_text(text)
        return ablation.ablate(settings, instance, graph, silent(), "other", names, path)

    return ablate


def code(graph: Sequence[Stage], name: str) -> Any:
    return next(stage.module for stage in graph if stage.name == name)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file's time and bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_what_a_change_leads_to_is_made_again_and_the_rest_reused(run, graph) -> None:
    before = {stage.name: stage.module.runs for stage in graph}
    result = run()
    assert result.made == [
        "full/scorecard", "other_faces/faces", "other_faces/encoder", "other_faces/scorecard",
        "other_encoder/encoder", "other_encoder/scorecard",
    ]  # fmt: skip
    assert result.left_out.keys() == {"same"} and not result.failed
    assert [row.name for row in result.rows] == ["full", "other_faces", "other_encoder", "search"]
    assert code(graph, "portraits").runs == before["portraits"] and code(graph, "pairs").runs == before["pairs"]
    text = (result.scorecards["other_faces"] / "content.txt").read_text()
    assert text.startswith("short+") and "other+data/photos" in text
    assert result.rows[-1].scores["likeness.similarity"]["value"] == 0.5
    assert result.rows[0].seconds is not None, "the encoder of the last run"


def test_what_was_made_once_is_found_again_and_a_new_configuration_is_not(run, graph) -> None:
    run()
    runs = code(graph, "encoder").runs, code(graph, "scorecard").runs
    again = run()
    assert again.made == [] and (code(graph, "encoder").runs, code(graph, "scorecard").runs) == runs
    assert len(again.rows) == 4
    other = run("other_encoder", text=VARIANTS.replace("{text: short}", "{text: shorter}"))
    assert other.made == ["full/scorecard", "other_encoder/scorecard"]


def test_artifacts_dagster_and_the_pipelines_own_runs_stay_as_they_are(run, settings, instance, graph) -> None:
    before = contents(settings.root / "artifacts")
    records = len(instance.all_asset_keys()), instance.get_runs_count()
    run()
    assert contents(settings.root / "artifacts") == before
    assert (len(instance.all_asset_keys()), instance.get_runs_count()) == records
    client = Tracking.of(settings, EXPERIMENT).client()
    experiments = {found.name: found.experiment_id for found in client.search_experiments()}
    tracked = client.search_runs([experiments[ablation.EXPERIMENT]])
    assert {found.data.tags["ablation"] for found in tracked} == {"full", "other_faces", "other_encoder"}
    assert all(found.info.status == "FINISHED" for found in tracked)
    own = client.search_runs([experiments["likeness"]])
    assert own and not any("ablation" in found.data.tags for found in own)
    assert runner.run(settings, instance, graph, silent(), "other").made == []


def test_a_variant_that_fails_is_told_and_the_others_go_on(run, graph) -> None:
    def fail(out: Path, context: Any) -> None:
        raise RuntimeError("no such face")

    code(graph, "faces").act = fail
    result = run()
    assert "faces failed: RuntimeError: no such face" in result.failed["other_faces"]
    details = Path(result.failed["other_faces"].rpartition("details: ")[2].rstrip(")"))
    assert "Traceback" in details.read_text()
    assert [row.name for row in result.rows] == ["full", "other_encoder", "search"]


def test_an_interrupted_stage_goes_on_from_its_checkpoint(run, graph) -> None:
    seen = []

    def stop(out: Path, context: Any) -> None:
        seen.append(sorted(path.name for path in context.checkpoints.iterdir()))
        if len(seen) == 1:
            (context.checkpoints / "step").write_text("7")
            raise KeyboardInterrupt

    code(graph, "encoder").act = stop
    with pytest.raises(KeyboardInterrupt):
        run("other_encoder")
    result = run("other_encoder")
    assert seen == [[], ["step"]]
    assert result.made == ["other_encoder/encoder", "other_encoder/scorecard"]
    assert result.rows[-1].seconds is None, "nobody knows how long all of it took"


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        (VARIANTS, ["nothing"], "no variant is called nothing; variants: full, other_faces"),
        (
            VARIANTS.replace("{encoder: {text: a}}", "{decoder: {}}"),
            [],
            "no stage is called decoder; stages: portraits",
        ),
        (VARIANTS.replace("{text: a}", "{test: a}"), [], "variant same, stage encoder: test: Extra inputs"),
        (VARIANTS.replace("  full:", "  whole:"), [], "has no variant `full`"),
        (VARIANTS, [], "portraits is not what profile"),
        (VARIANTS + "  - broken", [], "has not the form of ablations.yaml"),
    ],
)
def test_what_cannot_be_run_is_one_line_with_what_there_is(ablate, text: str, names: list[str], message: str) -> None:
    with pytest.raises(AblationError) as error:
        ablate(*names, text=text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_the_profile_would_make_anew_cannot_be_compared_with(run, settings: Settings) -> None:
    Path(settings.profile).write_text("encoder: {text: new}\n")
    with pytest.raises(AblationError, match=r"encoder/other is not what profile .* makes .*: run `likeness run --prof"):
        run()


def test_a_source_that_changed_since_is_read_as_the_last_run_read_it(run, settings: Settings) -> None:
    first = run()
    (settings.data / "photos" / "someone" / "new.txt").write_text("new")
    again = run()
    assert again.made == [] and again.rows == first.rows


@pytest.mark.parametrize("profile", profile_names())
def test_every_variant_fits_the_stages_configurations(profile: str) -> None:
    base = resolve(profile, (*STAGES, production_encoder.STAGE))
    found = ablation.read_variants()
    for name, variant in found.variants.items():
        configs = ablation.configure(name, variant.changes, base, STAGES)
        again = [stage.name for stage in ablation.made_again(STAGES, base, configs)]
        assert not again or again[-1] == "scorecard", name
    full = ablation.merged({"scorecard": found.scorecard}, found.variants["full"].changes)
    configs = ablation.configure("full", full, base, STAGES)
    assert [stage.name for stage in ablation.made_again(STAGES, base, configs)] == ["scorecard"]


def test_the_command_has_help_and_says_what_is_missing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_ROOT", str(settings.root))
    assert "--variant" in CliRunner().invoke(app, ["ablate", "--help"]).stdout
    result = CliRunner().invoke(app, ["ablate", "--variant", "nothing"])
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.startswith("error: no variant is called nothing; variants: full, no_identity")
