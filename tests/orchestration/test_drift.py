"""Drift is seen where a table moved, and not where chance alone moved it."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from orchestration import checks
from orchestration.checks import drift, report
from orchestration.config.check_rules import DriftRule, Rules
from tests.orchestration import good_tables as good

COLUMNS = ("brightness", "yaw", "pitch", "sharpness")


def table(folder: Path, rows: int, seed: int, source: str = "portraits", **shift: float) -> Path:
    """A faces.parquet with normal columns of spread 1, moved by so much; only what drift reads is in it."""
    return together(folder, sample(rows, seed, source, **shift))


def sample(rows: int, seed: int, source: str = "portraits", **shift: float) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    values = {name: random.normal(shift.get(name, 0.0), 1, rows).astype(np.float32) for name in COLUMNS}
    return pd.DataFrame({**values, "source": source})


def together(folder: Path, *parts: pd.DataFrame) -> Path:
    folder.mkdir(parents=True)
    pd.concat(parts).to_parquet(folder / "faces.parquet")
    return folder


def judged(new: Path, production: Any, **rule: Any) -> dg.AssetCheckResult:
    rules = Rules(drift=DriftRule(**rule))
    context = good.context("aligned_faces", new, rules, production)
    (check,) = (check for check in checks.checks_of(context.stage, rules) if check.name == "faces_drift")
    return checks.evaluate(check, context)


def test_a_table_that_moved_is_seen_and_shows_how_by_bins(tmp_path: Path) -> None:
    old = good.MadeFrom(table(tmp_path / "old", 3000, 1))
    result = judged(table(tmp_path / "new", 3000, 2, brightness=-0.8), old)
    assert not result.passed and result.severity == dg.AssetCheckSeverity.WARN
    failed = [entry["column"] for entry in good.records(result, report.EXPECTATIONS) if not entry["ok"]]
    assert failed == ["brightness"]
    bins = [row["value"] for row in good.records(result, report.FAILING_ROWS)]
    assert len(bins) == drift.BINS and bins[0].startswith("… to") and "10% in production, 3" in bins[0]


@pytest.mark.parametrize("rows", [12, 100, 5000])
def test_chance_alone_raises_no_alarm(tmp_path: Path, rows: int) -> None:
    old = good.MadeFrom(table(tmp_path / "old", 5000, 1))
    for seed in range(5):
        result = judged(table(tmp_path / f"new{seed}", rows, seed + 10), old, divergence=1e-9)
        assert result.passed, result.description


def test_a_dozen_photos_against_a_dozen_raise_no_alarm(tmp_path: Path) -> None:
    old = good.MadeFrom(table(tmp_path / "old", 12, 1))
    assert judged(table(tmp_path / "new", 12, 2, brightness=0.5, yaw=0.5), old).passed


def test_a_small_move_is_allowed_by_default_and_seen_by_a_lower_limit(tmp_path: Path) -> None:
    old, new = good.MadeFrom(table(tmp_path / "old", 20_000, 1)), table(tmp_path / "new", 20_000, 2, pitch=0.25)
    assert judged(new, old).passed
    assert not judged(new, old, columns={"pitch": 0.01}).passed
    assert judged(new, old, columns={"yaw": 0.01}).passed


def test_an_old_source_that_changed_is_seen_beside_many_others(tmp_path: Path) -> None:
    portraits = sample(20_000, 1)
    old = good.MadeFrom(together(tmp_path / "old", portraits, sample(500, 2, "photos")))
    new = together(tmp_path / "new", portraits, sample(500, 3, "photos", sharpness=-1.5))
    failed = [e["about"] for e in good.records(judged(new, old), report.EXPECTATIONS) if not e["ok"]]
    assert len(failed) == 1 and failed[0].startswith("photos;")


def test_drift_blocks_where_the_profile_says_so(tmp_path: Path) -> None:
    old, new = good.MadeFrom(table(tmp_path / "old", 1000, 1)), table(tmp_path / "new", 1000, 2, yaw=2.0)
    assert judged(new, old, blocking=True).severity == dg.AssetCheckSeverity.ERROR
    stage = good.stage_named("aligned_faces")
    for blocking in (True, False):
        specs = checks.specs(stage, Rules(drift=DriftRule(blocking=blocking)))
        assert [spec.blocking for spec in specs if spec.name == "faces_drift"] == [blocking]


@pytest.mark.parametrize(
    ("production", "reason"), [(good.NothingInProduction(), "no version in production"), (good.MadeFrom(), "erased")]
)
def test_with_nothing_to_compare_with_it_passes_and_says_why(tmp_path: Path, production: Any, reason: str) -> None:
    result = judged(table(tmp_path / "new", 10, 1), production)
    assert result.passed and reason in str(result.description)


def test_the_same_few_values_many_times_are_no_drift(tmp_path: Path) -> None:
    few = together(tmp_path / "old", *[sample(7, 1)] * 300)
    assert judged(together(tmp_path / "new", *[sample(7, 1)] * 200), good.MadeFrom(few), divergence=1e-9).passed


def test_a_constant_column_has_no_distribution_to_drift_from() -> None:
    assert drift.quantile_bins(np.zeros(50)) is None
    assert drift.quantile_bins(np.empty(0)) is None


def test_the_allowance_is_exceeded_as_seldom_as_it_says() -> None:
    random, alarms, rounds, rows = np.random.default_rng(0), 0, 400, 300
    partition = drift.quantile_bins(random.normal(size=200_000))
    assert partition is not None
    low, high = partition["tail_weights"]
    expected = np.array([low, *partition["weights"], high])
    allowed = drift.allowance(len(expected), 200_000, rows, 0.05)
    for _ in range(rounds):
        shares = drift._counts(np.asarray(partition["bins"]), random.normal(size=rows)) / rows
        filled = shares > 0
        alarms += float((shares[filled] * np.log(shares[filled] / expected[filled])).sum()) > allowed
    assert 0.02 < alarms / rounds < 0.09
