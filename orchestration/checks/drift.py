"""Whether a table still looks like the one that the model in production was made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from great_expectations.expectations.expectation import Expectation
from scipy import stats

from orchestration.checks.context import CheckContext
from orchestration.checks.gx import DataBatch, ExpectationResult, validate
from orchestration.checks.production import NoReference, compared, compared_with_nothing, require_other
from orchestration.checks.suites import Suite
from orchestration.config.check_rules import DriftRule

BINS = 10
"""Bins that hold equal shares of the reference."""
ALL = "all rows"


def evaluate(suite: Suite, context: CheckContext) -> tuple[list[ExpectationResult], dict[str, Any]]:
    """Findings on each column, of all rows and of each source that both versions have. None, with the reason, where
    there is nothing to compare with.
    """
    asset, production = context.stage.name, context.production
    try:
        require_other(production, asset, context.md5)
        reference = _columns(production.folder(asset) / suite.file, suite)
    except NoReference as reason:
        return [], compared_with_nothing(reason)
    now = _columns(context.folder / suite.file, suite)
    findings = [
        finding
        for name, old, new in _parts(reference, now)
        for finding in _compare(name, old, new, suite.drift, context.rules.drift)
    ]
    return findings, compared(production, asset) | {"rows": len(now), "reference_rows": len(reference)}


def _columns(path: Any, suite: Suite) -> pd.DataFrame:
    known = set(pq.read_schema(path).names)
    return pq.read_table(path, columns=[name for name in (*suite.drift, "source") if name in known]).to_pandas()


def _parts(old: pd.DataFrame, new: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """All rows; then, where there are several, each source that both have: a new photo set shifts the whole rightfully,
    an old one that changed is news.
    """
    yield ALL, old, new
    if "source" in old and "source" in new and new["source"].nunique() > 1:
        for source in sorted(set(old["source"]) & set(new["source"])):
            yield str(source), old[old["source"] == source], new[new["source"] == source]


def _compare(
    part: str, old: pd.DataFrame, new: pd.DataFrame, columns: tuple[str, ...], rule: DriftRule
) -> list[ExpectationResult]:
    frame = pd.DataFrame({name: new[name].astype(np.float64) for name in columns if name in new}).dropna()
    expectations, shares = [], {}
    for name in columns if len(frame) else []:
        if name in frame and name in old and (partition := quantile_bins(old[name].dropna().to_numpy(np.float64))):
            allowed = allowance(len(partition["weights"]) + 2, len(old), len(frame), rule.chance)
            expectations.append(_expectation(name, partition, rule.limit(name) + allowed, allowed))
            shares[name] = bins(partition, frame[name].to_numpy())
    found = validate(DataBatch(frame, expectations, part)) if expectations else []
    return [
        finding if finding.passed else ExpectationResult(**{**vars(finding), "rows": shares[finding.column]})
        for finding in found
    ]


def quantile_bins(reference: np.ndarray) -> dict[str, Any] | None:
    """The reference's distribution as Great Expectations takes it: bins between its deciles, tails beyond them. None
    where it has hardly any values.

    No bin is empty, for one value in an empty one would be infinitely unlikely.
    """
    inner = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1])) if len(reference) else np.empty(0)
    if len(inner) < 2:
        return None
    counts = _counts(inner, reference) + 0.5
    shares = (counts / counts.sum()).tolist()
    return {"bins": inner.tolist(), "weights": shares[1:-1], "tail_weights": [shares[0], shares[-1]]}


def _counts(inner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values in each bin and in the tails, which have no value that lies on an edge: Great Expectations' own way."""
    inside = np.histogram(values, inner)[0]
    return np.concatenate([[(values < inner[0]).sum()], inside, [(values > inner[-1]).sum()]])


def allowance(bins: int, old: int, new: int, chance: float) -> float:
    """The divergence that two samples of one distribution exceed as seldom as `chance`: twice the divergence times the
    sample's size follows a chi-squared distribution with one degree of freedom less than bins. So a dozen photos raise
    no alarm, and 20,000 have next to no allowance.
    """
    return float(stats.chi2.ppf(1 - chance, bins - 1) * (1 / max(old, 1) + 1 / max(new, 1)) / 2)


def _expectation(column: str, partition: dict[str, Any], limit: float, allowed: float) -> Expectation:
    return gxe.ExpectColumnKLDivergenceToBeLessThan(
        column=column, partition_object=partition, threshold=limit, meta={"about": f"{allowed:.2g} of it for chance"}
    )


def bins(partition: dict[str, Any], values: np.ndarray) -> list[dict[str, Any]]:
    """Each bin with its share in production's data and now."""
    inner = np.asarray(partition["bins"])
    low, high = partition["tail_weights"]
    before, now = [low, *partition["weights"], high], _counts(inner, values) / len(values)
    ends = ["…", *(f"{end:.3g}" for end in inner), "…"]
    return [
        {"value": f"{ends[k]} to {ends[k + 1]}: {share:.0%} in production, {now[k]:.0%} now"}
        for k, share in enumerate(before)
    ]
