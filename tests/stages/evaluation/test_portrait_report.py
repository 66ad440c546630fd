"""The report on portraits: its scores say what they should on embeddings whose answer is known, and on real ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.context import Context
from stages.evaluation import portrait_report
from stages.evaluation.portrait_report import ScoredPairs, gap, verification

ROOT = Path(__file__).resolve().parents[3]


def _people(rng: np.random.Generator, count: int, scatter: float) -> tuple[NDArray, NDArray[np.float32]]:
    """Three embeddings [3·count,32] of each of some people, `scatter` apart."""
    centres = rng.normal(size=(count, 32)).repeat(3, axis=0)
    names = np.array([f"p{k}" for k in range(count)]).repeat(3)
    return names, (centres + rng.normal(size=centres.shape) * scatter).astype(np.float32)


@pytest.mark.parametrize(("scatter", "low", "high"), [(0.1, 1.0, 1.0), (1.0, 0.85, 0.99), (50.0, 0.4, 0.6)])
def test_the_farther_pictures_of_one_person_scatter_the_harder_is_verification(
    scatter: float, low: float, high: float
) -> None:
    pairs = ScoredPairs.of(*_people(np.random.default_rng(0), 30, scatter))
    scores = verification(pairs, pairs.threshold())
    auc, interval = scores["auc"]["value"], scores["auc"]["ci"]
    assert auc is not None and low <= auc <= high
    assert interval is None if auc == 1.0 else interval is not None and interval[0] <= auc <= interval[1]


def test_auc_and_accuracy_agree_with_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    pairs = ScoredPairs.of(*_people(np.random.default_rng(1), 20, 1.2))
    once, threshold = np.ones(len(pairs.same)), pairs.threshold()
    assert pairs.auc(once) == pytest.approx(roc_auc_score(pairs.same, pairs.similarity), abs=1e-6)
    told = pairs.similarity >= threshold
    assert pairs.accuracy(once, threshold) == pytest.approx(balanced_accuracy_score(pairs.same, told))
    others = [pairs.accuracy(once, float(t)) for t in np.linspace(-1, 1, 101)]
    assert pairs.accuracy(once, threshold) >= max(others) - 1e-9


def test_photos_of_different_people_alone_have_no_score() -> None:
    pairs = ScoredPairs.of(np.array(["a", "b", "c"]), np.eye(3, dtype=np.float32))
    assert all(entry["value"] is None for entry in verification(pairs, 0.5).values())


def test_a_gap_between_the_domains_is_seen_and_none_is_not() -> None:
    rng = np.random.default_rng(2)
    names, vectors = _people(rng, 40, 0.3)
    real = np.arange(len(names)) < 30
    common = rng.normal(size=32).astype(np.float32) * 2
    none = gap(vectors + common, names, real)
    apart = gap(vectors + np.where(real[:, None], -common, common), names, real)
    assert float(none["means"]["value"] or 0) > 0.9 and float(none["means"]["bound"] or 0) > 0.9
    assert float(apart["means"]["value"] or 0) < 0.0 and float(apart["classifier"]["value"] or 0) > 0.99
    assert float(none["classifier"]["value"] or 1) < 0.75


@pytest.mark.slow
def test_report_on_real_portraits_and_photos(tmp_path: Path) -> None:
    inputs = {
        "embedded": ROOT / "data" / "embedded",
        "photos": ROOT / "data" / "photos",
        "character": ROOT / "characters" / "embedded",
    }
    report = portrait_report.run(inputs, portrait_report.PortraitReportConfig(people=12, size=160), tmp_path, Context())
    assert report == json.loads((tmp_path / "portraits.json").read_text())
    assert report["portraits"]["aligned"]["value"] > 0.7
    assert report["portraits"]["same"]["value"] > report["portraits"]["different"]["value"] + 0.1
    assert report["photos"]["auc"]["n"] == 21
    assert (tmp_path / "portraits.png").read_bytes()[:4] == b"\x89PNG"
