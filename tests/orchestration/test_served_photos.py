"""Players' photos beside those that production was trained on: what is told, and what it may start."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from models.images import encode_jpeg
from orchestration.checks import served
from orchestration.checks.production import NoReference
from orchestration.cli.main import app
from orchestration.config.check_rules import ServedRule
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import runner, served_photos
from orchestration.pipeline.definitions import build
from orchestration.registry.registered_models import Registry
from orchestration.storage.instance import open_instance
from orchestration.storage.store import Store
from serving.comparisons import Served
from serving.photo_counts import DayCounts, PhotoCounts, beside_training, distributions
from tests.orchestration.test_automation import Daemon, daemon, new_photo, ran, trained
from tests.serving import support

__all__ = ["daemon", "ran", "trained"]  # fixtures
HAIR = {"choice": "short", "probabilities": {"short": 0.8, "long": 0.2}}
QUIET = Progress(lambda line: None)


def counts(photos: int, seed: int, **moved: float) -> PhotoCounts:
    """Photos of normal quantities, in which some are moved by so many of their spreads."""
    rng, found = np.random.default_rng(seed), PhotoCounts()
    spread = {"yaw": (0, 12), "pitch": (0, 8), "brightness": (0.45, 0.1), "sharpness": (150, 60)}
    for _ in range(photos):
        values = {n: float(rng.normal(mean + moved.get(n, 0) * sd, sd)) for n, (mean, sd) in spread.items()}
        found.add({**values, "face_size": 200}, [], {"hair": HAIR})
    return found


def judged(training: PhotoCounts, now: PhotoCounts, **rule: object) -> Mapping[str, bool | None]:
    return {each.name: each.ok for each in served.compare(ServedRule(**rule), training, now)}  # pyright: ignore[reportArgumentType]


def test_what_moved_is_told_and_nothing_else() -> None:
    training = counts(3000, 1)
    found = judged(training, counts(1000, 2, brightness=1.0))
    assert [name for name, ok in found.items() if ok is False] == ["brightness"]
    assert found["yaw"] and found["remarks"] and found["choices.hair"] and found["probability.hair"]
    assert judged(training, counts(1000, 3, yaw=0.3))["yaw"], "a small shift is allowed"
    assert not judged(training, counts(1000, 3, yaw=0.3), distributions={"yaw": 0.01})["yaw"]


def test_chance_and_few_photos_raise_no_alarm() -> None:
    training = counts(2000, 1)
    for seed in range(20):
        assert False not in judged(training, counts(200, seed + 10), index=1e-9).values()
    few = judged(training, counts(199, 2, brightness=3.0))
    assert set(few.values()) == {None}, "199 photos are not judged, however far they are"


def test_what_training_does_not_have_is_not_judged() -> None:
    training = counts(300, 1)
    del training.quantities["face_size"]
    by_name = {each.name: each for each in served.compare(ServedRule(), training, counts(300, 2))}
    assert by_name["face_size"].ok is None and "do not have it" in by_name["face_size"].note
    assert {name for name, _, _ in beside_training(training, counts(3, 2))} == set(by_name)


@pytest.fixture
def registry(settings: Settings) -> Registry:
    """Version 1 in production, made from a table of faces."""
    registry = support.registered(settings.home, 1)
    rng = np.random.default_rng(0)
    rows = 60
    with Store.of(settings).writing("aligned_faces") as draft:
        faces = {
            "split": ["train"] * 50 + ["test"] * 10,
            "image": [encode_jpeg(rng.integers(0, 255, (128, 128, 3)).astype(np.uint8)) for _ in range(rows)],
            "n_faces": 1,
        }
        for name, (mean, sd) in {"yaw": (0, 12), "pitch": (0, 8), "sharpness": (150, 60)}.items():
            faces[name] = rng.normal(mean, sd, rows).astype(np.float32)
        faces["brightness"] = np.float32(0.05)
        pd.DataFrame(faces).to_parquet(draft.folder / "faces.parquet")
    registry.client.set_model_version_tag(registry.name, "1", "input.aligned_faces", draft.md5)
    return registry


def serve(settings: Settings, registry: Registry, photos: PhotoCounts, days_ago: int = 0, part: str = "a") -> None:
    """What a service that read these photos leaves."""
    version = Served(version=1, run=str(registry.find("1").run_id))
    day = datetime.now(UTC).date() - timedelta(days=days_ago)
    found = DayCounts(**photos.model_dump(), day=day, version=version)
    folder = settings.home / "serving" / "embedded" / "statistics"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{day}-1-{part}.json").write_text(found.model_dump_json())


@pytest.mark.slow
def test_served_photos_beside_those_of_training(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = ServedRule(photos=50, days=3)
    with pytest.raises(NoReference, match="LIKENESS_SERVE_STATISTICS=true"):
        served.examine(settings, registry, rule, QUIET)
    for part in ("a", "b"):
        serve(settings, registry, counts(40, 2), part=part)
    serve(settings, registry, counts(40, 3), days_ago=10)
    found = served.examine(settings, registry, rule, QUIET)
    assert (found.version, found.photos) == (1, 80), "two processes of today; what is older does not count"
    by_name = {each.name: each for each in found.drifts}
    assert by_name["brightness"].ok is False and by_name["brightness"].training["up to 0.1"] == 50
    assert by_name["remarks"].training == {
        "none": 0, "several_faces": 0, "side_view": by_name["remarks"].training["side_view"], "tilted": 0,
        "blurred": by_name["remarks"].training["blurred"], "dark": 50, "overexposed": 0,
    }  # fmt: skip
    training = served.training_counts(settings, registry, registry.find("1"), QUIET)
    assert sum(training.choices["hair"].values()) == 50 and sum(training.probabilities["hair"]) == 50
    assert set(distributions(training)) > {"choices.hair", "probability.beard"}

    monkeypatch.setenv("LIKENESS_ROOT", str(settings.root))
    monkeypatch.setenv("LIKENESS_PROFILE", "smoke")
    document = json.loads(CliRunner().invoke(app, ["drift", "--json"]).stdout)
    assert document["photos"] == 80 and {each["ok"] for each in document["drifts"]} == {None}, "80 of 200"
    shown = CliRunner().invoke(app, ["drift"]).stdout
    assert "80 photos" in shown and "80 photos: from 200 on" in shown
    registry.client.delete_model_version_tag(registry.name, "1", "input.aligned_faces")
    (settings.home / "serving" / "embedded" / "statistics" / "training").rename(settings.home / "gone")
    nothing = CliRunner().invoke(app, ["drift"])
    assert nothing.exit_code == 1 and "does not say which aligned_faces" in nothing.stderr


@pytest.mark.slow
def test_dagster_has_the_days_the_figures_and_a_check_that_warns(settings: Settings, registry: Registry) -> None:
    careful = settings.root / "careful.yaml"
    careful.write_text("checks: {served: {photos: 30}}\n")
    serve(settings, registry, counts(40, 2))
    made = build(settings.model_copy(update={"profile": str(careful)}))
    with open_instance(settings) as instance:
        result = made.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[dg.AssetKey(served_photos.NAME)],
            partition_key="embedded",
            instance=instance,
            run_config=runner.QUIET,
        )
        assert result.success
        (check,) = result.get_asset_check_evaluations()
        assert (
            not check.passed and check.severity == dg.AssetCheckSeverity.WARN and "brightness" in str(check.description)
        )
        (event,) = result.get_asset_materialization_events()
        shown: Mapping[str, Any] = event.materialization.metadata
        (row,) = shown["days"].records
        assert row.data["photos"] == 40 and row.data["without a remark"] == "100%"
        assert isinstance(shown["drift of brightness"].value, float)
        assert "brightness" in served_photos.drifted(instance, "embedded", [])
        assert served_photos.drifted(instance, None, ["embedded", "other"]) and not served_photos.drifted(
            instance, "other", []
        )
        (schedule,) = (one for one in made.schedules or () if getattr(one, "name", "") == served_photos.SCHEDULE)
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
def test_retraining_may_wait_until_players_photos_are_unlike_those_of_training(trained: Daemon) -> None:
    trained.settings = trained.settings.model_copy(update={"retrain_when": "drifted"})
    new_photo(trained.settings)
    assert trained.look()["changed"] == ["photos"]
    assert trained.asks() == [], "nobody counted players' photos"
    for drifted, waves in (([], []), (["brightness"], [["faces"], ["encoder/embedded"]])):
        trained.instance.report_runless_asset_event(
            dg.AssetMaterialization(served_photos.NAME, partition="embedded", metadata={served_photos.DRIFTED: drifted})
        )
        assert trained.waves() == waves
