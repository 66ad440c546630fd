"""Whether a model is good enough by its own validation metrics for others to be made from it.

The validation data may differ from version to version, so production is compared with loosely here; the scorecard
compares both on the same people.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from orchestration.checks.context import CheckContext
from orchestration.checks.gx import ExpectationResult
from orchestration.checks.production import NoReference, compared, compared_with_nothing, require_other
from orchestration.config.check_rules import MetricRule

NOT_REPORTED = "not reported: there was nothing to measure it on"


def evaluate(context: CheckContext) -> tuple[list[ExpectationResult], dict[str, Any]]:
    """A finding for each thing that a rule asks of a metric."""
    reference, facts = _production(context)
    rules = context.rules.metrics_of(context.stage.name)
    findings = list(_finite(context.metrics))
    for name, rule in rules.items():
        if name in context.metrics:
            if rule.unless not in context.metrics:
                findings += _evaluate(name, rule, context.metrics, reference)
        elif not (rule.optional or rule.unless in context.metrics):
            findings.append(ExpectationResult("metric_is_reported", name, False, "a number", NOT_REPORTED))
    return findings, facts


def _production(context: CheckContext) -> tuple[Mapping[str, float], dict[str, Any]]:
    """Production's metrics, and what to say of them."""
    production, asset = context.production, context.stage.name
    try:
        require_other(production, asset, context.md5)
        found = production.metrics(asset, context.character)
    except NoReference as reason:
        return {}, compared_with_nothing(reason)
    return found, compared(production, asset)


def _finite(metrics: Mapping[str, float]) -> Iterator[ExpectationResult]:
    """All metrics in one, or each that is not finite."""
    broken = {name: value for name, value in metrics.items() if not math.isfinite(value)}
    if not broken:
        yield ExpectationResult("metrics_are_finite", "", True, "finite numbers", f"{len(metrics)} metrics")
    for name, value in broken.items():
        yield ExpectationResult("metric_is_finite", name, False, "a finite number", str(value))


def _evaluate(
    name: str, rule: MetricRule, metrics: Mapping[str, float], production: Mapping[str, float]
) -> Iterator[ExpectationResult]:
    value, sign = metrics[name], 1 if rule.better == "higher" else -1

    def finding(expectation: str, worst: float, origin: str) -> ExpectationResult:
        # Written so that a value that is not a number passes nothing.
        passed = sign * value >= sign * worst
        return ExpectationResult(
            expectation, name, passed, f"{'≥' if sign > 0 else '≤'} {worst:.4g} ({origin})", f"{value:.4g}"
        )

    if rule.limit is not None:
        yield finding("metric_keeps_limit", rule.limit, "limit")
    if rule.baseline and rule.baseline not in metrics:
        yield ExpectationResult(
            "metric_beats_baseline", name, False, f"{rule.baseline}, {rule.margin:+g}", NOT_REPORTED
        )
    elif rule.baseline:
        origin = f"{rule.baseline} {metrics[rule.baseline]:.4g}, margin {rule.margin:g}"
        yield finding("metric_beats_baseline", metrics[rule.baseline] + sign * rule.margin, origin)
    if rule.behind_production is not None and name in production:
        origin = f"production {production[name]:.4g}, at most {rule.behind_production:g} behind"
        yield finding("metric_keeps_up_with_production", production[name] - sign * rule.behind_production, origin)
