"""What the checks said of the newest version of an asset, and judging it again under other rules.

Dagster keeps a version whose blocking check failed, and calls it fresh. Here is what keeps others from reading it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import AssetCheckEvaluation, EventLogRecord

from orchestration import checks
from orchestration.checks import report
from orchestration.checks.context import CheckContext
from orchestration.checks.production import Production, numbers
from orchestration.config.catalog import Stage
from orchestration.registry.registered_models import Registry
from orchestration.storage.dagster_internals import AssetCheckEvaluationTargetMaterializationData
from orchestration.storage.project import EMBEDDED, AssetRef, Project
from orchestration.storage.run_pictures import RunPictures
from orchestration.storage.tracking import Tracking
from orchestration.storage.versions import VERSION_TAG, Version, newest_record, version_of

HISTORY = 5
"""Results of a check that are read at once: the newest is nearly always the one, unless other characters were busy."""


@dataclass(frozen=True)
class CheckResult:
    """The newest result of one check on the newest version of its asset."""

    asset: str
    character: str | None
    md5: str
    check: str
    blocking: bool
    """Does it stop the pipeline when it fails?"""
    passed: bool | None
    """None: not judged yet."""
    description: str
    metadata: Mapping[str, Any]
    rule: str = ""
    """What is asked for now."""

    @property
    def outdated(self) -> bool:
        """Was it judged by other rules than those of now?"""
        return self.passed is not None and self.metadata.get(report.RULE) != self.rule

    @property
    def blocks(self) -> bool:
        """Whether it keeps others from reading the version."""
        return self.blocking and self.passed is False

    def rows(self) -> list[dict[str, Any]]:
        """Failing rows that were kept."""
        return _records(self.metadata.get(report.FAILING_ROWS))

    def expectations(self) -> list[dict[str, Any]]:
        """Every expectation with what was observed."""
        return _records(self.metadata.get(report.EXPECTATIONS))

    def facts(self) -> dict[str, Any]:
        """The rest of what the check tells: how much it looked at, with what it compared."""
        return {name: value for name, value in self.metadata.items() if isinstance(value, str | int | float)}

    def __str__(self) -> str:
        return f"{self.asset} failed its check {self.check}: {self.description}"


def _records(value: Any) -> list[dict[str, Any]]:
    """The rows of a table in metadata, their columns in its order: Dagster stores them sorted by name."""
    if not value:
        return []
    names = [column.name for column in value.schema.columns]
    return [{name: record.data[name] for name in names} for record in value.records]


def newest(project: Project, ref: AssetRef) -> list[CheckResult]:
    """What is recorded of each check of the newest version; empty where the asset was never made."""
    made = newest_record(project.instance, ref.name, ref.character)
    if made is None:
        return []
    found = []
    for check in checks.checks_of(ref.stage, project.graph.rules):
        evaluation = evaluation_of(project.instance, dg.AssetCheckKey(dg.AssetKey(ref.name), check.name), made)
        found.append(_result(check, evaluation, ref, made))
    return found


def evaluate_again(project: Project, ref: AssetRef, every: bool = False) -> list[CheckResult]:
    """Put those checks to the newest version that never were, that were under other rules, or that it failed; all of
    them with `every`. What comes of it is recorded; nothing is made.

    Returns the results that are new.
    """
    made = newest_record(project.instance, ref.name, ref.character)
    version = version_of(made) if made else None
    if made is None or version is None:
        return []
    context, new = check_context(project, ref.stage, version), []
    for check in checks.checks_of(ref.stage, project.graph.rules):
        before = evaluation_of(project.instance, dg.AssetCheckKey(dg.AssetKey(ref.name), check.name), made)
        if before and _fact(before, report.RULE) == check.rule and not every and (before.passed or not check.blocking):
            continue
        after = as_evaluation(checks.evaluate(check, context), check, made)
        if before and _told(before) == _told(after):
            continue
        project.instance.report_runless_asset_event(after)
        new.append(_result(check, after, ref, made))
    return new


def blocking(project: Project, ref: AssetRef) -> list[CheckResult]:
    """Why nothing may be made from the newest version; judged again first where the rules are others now."""
    evaluate_again(project, ref)
    return [result for result in newest(project, ref) if result.blocks]


def check_context(project: Project, stage: Stage, version: Version) -> CheckContext:
    """A version that was made before, as a check looks at it."""
    inputs = version.metadata.get("inputs", {})
    character = inputs.get("character")
    drawn_with = Version("character", version.character or EMBEDDED, character) if character else None
    return CheckContext(
        stage,
        version.character,
        version.md5,
        project.graph.rules,
        production_of(project, version.character),
        version.metadata.get("config") or {},
        numbers(version.metadata),
        lambda: project.fetch(stage.name, version),
        (lambda: project.fetch("character", drawn_with)) if drawn_with else None,
        RunPictures.of(version, Tracking.of(project.settings)),
        (lambda name: project.fetch(name, Version(name, version.character, inputs[name]))) if inputs else None,
        project.settings.cache,
        project.settings.pick_device,
    )


def production_of(project: Project, character: str | None) -> Production:
    """The version in production that an asset is compared with: what all characters share, with the embedded one's."""
    registry = Registry(Tracking.of(project.settings), character or EMBEDDED)
    return Production(project.instance, project.store, registry)


def evaluation_of(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, made: EventLogRecord
) -> AssetCheckEvaluation | None:
    """The newest result of a check on exactly this materialisation: those of other characters do not count."""
    cursor = None
    while records := instance.event_log_storage.get_asset_check_execution_history(check, HISTORY, cursor):
        for record in records:
            # One that is planned has no result yet.
            evaluation = record.evaluation if isinstance(record.evaluation, AssetCheckEvaluation) else None
            target = evaluation.target_materialization_data if evaluation else None
            if target and target.storage_id == made.storage_id:
                return evaluation
        if records[-1].create_timestamp < made.timestamp:
            return None
        cursor = records[-1].id
    return None


def _result(
    check: checks.Check,
    evaluation: AssetCheckEvaluation | None,
    ref: AssetRef,
    made: EventLogRecord,
) -> CheckResult:
    event = made.event_log_entry.asset_materialization
    md5 = (event.tags or {}).get(VERSION_TAG, "") if event else ""
    if evaluation is None:
        return CheckResult(ref.name, ref.character, md5, check.name, check.blocking, None, "not judged yet", {})
    values = {name: value.value for name, value in evaluation.metadata.items()}
    return CheckResult(
        ref.name,
        ref.character,
        md5,
        check.name,
        check.blocking,
        evaluation.passed,
        evaluation.description or "",
        values,
        check.rule,
    )


def _fact(evaluation: AssetCheckEvaluation, name: str) -> Any:
    fact = evaluation.metadata.get(name)
    return fact.value if fact else None


def _told(evaluation: AssetCheckEvaluation) -> tuple[Any, ...]:
    """What would make a new record worth while."""
    facts = [_fact(evaluation, name) for name in (report.RULE, report.REFERENCE)]
    return evaluation.passed, evaluation.description, evaluation.severity, *facts


def as_evaluation(result: dg.AssetCheckResult, check: checks.Check, made: EventLogRecord) -> AssetCheckEvaluation:
    """A result as Dagster records it about a materialisation that is there already."""
    assert result.asset_key is not None
    return AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=check.name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        blocking=check.blocking,
        target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
            storage_id=made.storage_id, run_id=made.event_log_entry.run_id, timestamp=made.timestamp
        ),
    )
