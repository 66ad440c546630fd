"""What must hold for a version before others are made from it: suites of Great Expectations on every table, drift
against the data that production was made from, and validation metrics of each model.

A version that fails stays in the store, so that its rows can be looked at, but nothing reads it (`results`). What is
asked for is configuration: the section `checks` of a profile (config/check_rules.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from orchestration.checks import budget, metrics, report
from orchestration.checks.context import CheckContext
from orchestration.checks.gx import ExpectationResult
from orchestration.config.catalog import Stage
from orchestration.config.check_rules import Rules, as_text
from orchestration.storage.dagster_metadata import decoration
from orchestration.storage.run_pictures import FAILING_FOLDER

METRICS, BUDGET, DUPLICATES = "metrics", "budget", "duplicates"
Evaluate = Callable[[CheckContext], tuple[list[ExpectationResult], dict[str, Any]]]
"""Gives what came of each expectation, and facts to be shown beside them."""
WARNINGS = {
    "copies": "Whether a photo is there under two people, or in two splits.",
    "unusable": "Whether many photos of a source are in quarantine: unreadable, without a face, too small.",
}
"""What the suites ask that stop nothing."""


@dataclass(frozen=True)
class Check:
    """One check of an asset under the present rules."""

    name: str
    description: str
    blocking: bool
    rule: str
    """All that its result depends on beside the version itself, and what was in production when it was made."""
    evaluate: Evaluate
    table: str = ""


def checks_of(stage: Stage, rules: Rules) -> list[Check]:
    """Every check of a stage's asset, in the order in which they are shown."""
    tables = [_table_check(table, rules) for table in stage.tables]
    warnings = [_warning(suite, rules) for suite in stage.warnings]
    warnings += [_duplicates_check(rules)] if stage.duplicates and rules.duplicates else []
    drift = [_drift_check(table, rules) for table in stage.drift]
    metrics = [_metrics_check(stage, rules)] if stage.group == "models" and rules.metrics_of(stage.name) else []
    costs = [_budget_check(stage, rules)] if stage.name in rules.budget else []
    return [*tables, *warnings, *drift, *metrics, *costs]


def specs(stage: Stage, rules: Rules) -> list[dg.AssetCheckSpec]:
    """The checks that Dagster lists for the asset."""
    return [
        dg.AssetCheckSpec(check.name, asset=stage.name, blocking=check.blocking, description=check.description)
        for check in checks_of(stage, rules)
    ]


def run_all(context: CheckContext) -> list[dg.AssetCheckResult]:
    """Put every check of its stage to a version."""
    return [evaluate(check, context) for check in checks_of(context.stage, context.rules)]


def evaluate(check: Check, context: CheckContext) -> dg.AssetCheckResult:
    """Put one check to a version. A check that breaks is a failed one: it must not cost what the stage has made."""
    began = time.monotonic()
    try:
        findings, facts = check.evaluate(context)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        findings, facts = [ExpectationResult("check_runs", "", False, "a result", problem)], {}
    shown = report.metadata(findings, check.rule, facts)
    passed = all(finding.passed for finding in findings)
    if check.table and not passed:
        shown |= _failing_pictures(check, context, findings)
    return dg.AssetCheckResult(
        check_name=check.name,
        asset_key=context.stage.name,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        description=report.description(findings, facts),
        metadata=shown | {"seconds": time.monotonic() - began},
    )


def _suite(name: str) -> Evaluate:
    """What evaluates a suite of Great Expectations, which takes seconds to load."""

    def evaluate(context: CheckContext) -> tuple[list[ExpectationResult], dict[str, Any]]:
        from orchestration.checks import suites

        return suites.evaluate(suites.SUITES[name], context)

    return evaluate


def _table_check(table: str, rules: Rules) -> Check:
    asked = rules.model_dump(include={"quarantined", "quarantined_from", "one_photo_two_people", "pictures"})
    about = f"Columns, types, ranges, uniqueness and pictures of the table {table}, by Great Expectations."
    return Check(f"{table}_table", about, True, as_text({"version": TABLES_VERSION, **asked}), _suite(table), table)


def _warning(suite: str, rules: Rules) -> Check:
    rule = as_text({"version": TABLES_VERSION, **rules.model_dump(include={"unusable"})})
    return Check(suite, WARNINGS[suite], False, rule, _suite(suite), suite)


def _duplicates_check(rules: Rules) -> Check:
    def evaluate(context: CheckContext) -> tuple[list[ExpectationResult], dict[str, Any]]:
        from orchestration.checks import duplicates

        return duplicates.evaluate(context)

    assert rules.duplicates is not None
    about = "Whether a face is there under two people, a photo in two splits, or two people under one name."
    rule = as_text({"version": DUPLICATES_VERSION, **rules.duplicates.model_dump(mode="json")})
    return Check(DUPLICATES, about, False, rule, evaluate, "faces")


def _drift_check(table: str, rules: Rules) -> Check:
    def evaluate(context: CheckContext) -> tuple[list[ExpectationResult], dict[str, Any]]:
        from orchestration.checks import drift, suites

        return drift.evaluate(suites.SUITES[table], context)

    about = f"Whether the table {table} still looks like the one that the model in production was made from."
    rule = as_text({"version": DRIFT_VERSION, **rules.drift.model_dump()})
    return Check(f"{table}_drift", about, rules.drift.blocking, rule, evaluate)


def _metrics_check(stage: Stage, rules: Rules) -> Check:
    asked = {name: rule.model_dump() for name, rule in rules.metrics_of(stage.name).items()}
    about = "Validation metrics: finite, better than a trivial model, not far behind production."
    return Check(METRICS, about, True, as_text({"version": METRICS_VERSION, **asked}), metrics.evaluate)


def _budget_check(stage: Stage, rules: Rules) -> Check:
    about = "Whether making it cost more than the profile's budget; what it made is as good as any."
    return Check(BUDGET, about, False, as_text(rules.budget[stage.name].model_dump()), budget.evaluate)


TABLES_VERSION, DRIFT_VERSION, METRICS_VERSION, DUPLICATES_VERSION = 1, 1, 1, 1
"""Bumped when what a check asks for changes in the code: versions that are there are then judged again."""


@decoration
def _failing_pictures(check: Check, context: CheckContext, findings: list[ExpectationResult]) -> dict[str, Any]:
    """The link to a picture of the first failing rows."""
    from orchestration.checks import suites

    sheet = report.contact_sheet(context, suites.SUITES[check.table].file, findings) if context.pictures else None
    if context.pictures is None or sheet is None:
        return {}
    return {"pictures": context.pictures.add(f"{FAILING_FOLDER}/{check.name}.png", sheet)}
