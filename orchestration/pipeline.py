"""`likeness run`: look at the sources, then make what is missing or stale, parents first, one Dagster run an asset."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from orchestration import lineage
from orchestration.catalog import Stage
from orchestration.checks import verdicts
from orchestration.definitions import build, make_workshop
from orchestration.instance import RUN_TAG, only_runner
from orchestration.progress import Progress, duration
from orchestration.settings import Settings
from orchestration.staleness import why_stale
from orchestration.workshop import Workshop, title

# Dagster's own console log repeats what the progress line says; everything is in its event log.
QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class StageFailed(Exception):
    """A stage raised; what was made before it stays."""


class UnknownAsset(Exception):
    """No such asset."""


@dataclass
class Outcome:
    """What one `likeness run` did."""

    made: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(
    settings: Settings,
    instance: dg.DagsterInstance,
    stages: Sequence[Stage],
    progress: Progress,
    character: str,
    only: str | None = None,
    force: bool = False,
) -> Outcome:
    """Bring every asset (or `only` one) up to date for a character; `force` makes them whether stale or not.

    Raises AlreadyRunning, UnknownAsset, SourceMissing, ProfileError or StageFailed.
    """
    began, outcome = time.monotonic(), Outcome()
    chosen = [stage for stage in stages if only in (None, stage.name)]
    if not chosen:
        raise UnknownAsset(f"no asset is called {only}; assets: {', '.join(stage.name for stage in stages)}")
    definitions, workshop = build(settings, stages, progress), make_workshop(settings, stages)
    with only_runner(settings, instance):
        observe_sources(settings, instance, stages, character)
        for number, stage in enumerate(chosen, 1):
            partition = character if stage.by_character else None
            name = title(stage.name, partition)
            if not force and not why_stale(definitions, instance, stage.name, partition):
                require_passed(instance, stage, partition, workshop, progress)
                outcome.fresh.append(name)
                continue
            _make(definitions, instance, stage, partition, progress, f"[{number}/{len(chosen)}] {name}")
            outcome.made.append(name)
            outcome.refused += refusals(instance, stage.name, partition)
    outcome.seconds = time.monotonic() - began
    return outcome


def require_passed(
    instance: dg.DagsterInstance, stage: Stage, partition: str | None, workshop: Workshop, progress: Progress
) -> None:
    """Judge a version that need not be made again under the rules of now. Raises StageFailed when it is blocked: the
    same inputs would give the same again.
    """
    name = title(stage.name, partition)
    for verdict in verdicts.judge_again(instance, stage, partition, workshop):
        progress.end(f"{name}  check {verdict.check} judged again: {verdict.description}")
    failed = [verdict for verdict in verdicts.newest(instance, stage, partition, workshop) if verdict.blocks]
    if failed:
        raise StageFailed(
            f"{failed[0]}\nThe rows: `likeness checks {stage.name}`. It was not made again, since nothing that it is "
            "made of changed: change that, or the rule (`checks` in the profile), or make it again with --force"
        )


def observe_sources(
    settings: Settings, instance: dg.DagsterInstance, stages: Sequence[Stage], character: str
) -> list[str]:
    """Record every source whose content changed since it was last seen; their names. Raises SourceMissing."""
    workshop = make_workshop(settings, stages)
    sources = dict.fromkeys(_sources(stages, character))
    return [title(name, who) for name, who in sources if workshop.observe(instance, name, who)]


def _sources(stages: Sequence[Stage], character: str) -> Iterator[tuple[str, str | None]]:
    for stage in stages:
        for name in stage.code.INPUTS:
            if name in ("embedded", "photos"):
                yield name, None
            elif name == "character":
                yield name, character if stage.by_character else "embedded"


def _make(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    stage: Stage,
    partition: str | None,
    progress: Progress,
    name: str,
) -> None:
    """One Dagster run, in this process, that makes one asset. Raises StageFailed."""
    began = time.monotonic()
    progress.stage(name)
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(stage.name)],
        partition_key=partition,
        instance=instance,
        run_config=QUIET,
        tags={RUN_TAG: "true"},
        raise_on_error=False,
    )
    failed = [evaluation for evaluation in result.get_asset_check_evaluations() if not evaluation.passed]
    if not result.success:
        progress.end(f"{name}  failed after {duration(time.monotonic() - began)}")
        blocking = next((evaluation for evaluation in failed if blocks(evaluation)), None)
        if blocking:
            raise StageFailed(
                f"{stage.name} failed its check {blocking.check_name}: {blocking.description}\n"
                f"The rows: `likeness checks {stage.name}`"
            )
        raise StageFailed(f"{stage.name} failed: {reason(result)}")
    for evaluation in failed:
        progress.end(f"{name}  warning, check {evaluation.check_name}: {evaluation.description}")
    progress.end(f"{name}  done in {duration(time.monotonic() - began)}")


def blocks(evaluation: dg.AssetCheckEvaluation) -> bool:
    return bool(evaluation.blocking) and evaluation.severity == dg.AssetCheckSeverity.ERROR


def reason(result: dg.ExecuteInProcessResult) -> str:
    """The innermost error of a failed run, on one line."""
    for event in result.all_events:
        if event.is_step_failure and (error := event.step_failure_data.error):
            if failure := event.step_failure_data.user_failure_data:
                return failure.description or "it said no more"
            while error.cause:
                error = error.cause
            return " ".join(f"{error.cls_name}: {error.message.removeprefix(f'{error.cls_name}:').strip()}".split())
    return f"see run {result.run_id} in `likeness dagster`"


def refusals(instance: dg.DagsterInstance, asset: str, character: str | None) -> list[str]:
    """Why the newest registered model did not become production."""
    version = lineage.latest(instance, asset, character)
    return list(version.metadata.get("refused_because") or []) if version else []
