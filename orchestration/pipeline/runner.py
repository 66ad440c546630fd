"""`likeness run`: look at the sources, then make what is missing or stale, parents first, one Dagster run an asset."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from engine.errors import LikenessError
from orchestration.checks import budget, results
from orchestration.checks.staleness import Staleness
from orchestration.config.catalog import Stage
from orchestration.config.check_rules import RUN, Budget
from orchestration.config.declarations import declare
from orchestration.config.garbage import collect_as_usual
from orchestration.config.progress import Progress, duration
from orchestration.config.settings import Settings
from orchestration.pipeline import executors, production_encoder, retraining
from orchestration.pipeline.definitions import define
from orchestration.pipeline.retraining import PARTITION_TAG
from orchestration.pipeline.retry_policy import INTERRUPTS, innermost, why_it_failed
from orchestration.pipeline.run_cache import FORCE_TAG, told
from orchestration.registry.aliases import user
from orchestration.storage import accepted_profile
from orchestration.storage.costs import Cost
from orchestration.storage.instance import (
    CHARACTER_TAG,
    HOME_TAG,
    PROFILE_TAG,
    RETRAINING_TAG,
    RUN_TAG,
    home_id,
    only_runner,
)
from orchestration.storage.project import AssetRef, Graph, Project, title
from orchestration.storage.versions import REUSED, STARTED, Version

USER_TAG = "user"
LAUNCH_TAG = "likeness/launch"
"""By which the run of this very call is found."""
FOLLOW_EVERY = 2.0
"""Seconds."""
LONGEST = 800
"""Characters of an error."""
# Dagster's own console log repeats what the progress line says; everything is in its event log.
QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class StageFailed(LikenessError):
    """A stage raised; what was made before it stays."""


@dataclass
class Outcome:
    """What one `likeness run` did."""

    made: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    """Taken from the run cache: something changed, but nothing that the stage reads."""
    fresh: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    over_budget: list[str] = field(default_factory=list)
    """Limits of the budget `run` that all of it together did not keep."""
    retraining: str = ""
    """The id by which its runs are found; empty where nothing had to be made."""
    cost: dict[str, float] = field(default_factory=dict)
    """Of what was made, summed; orchestration/storage/costs.py has the names."""
    seconds: float = 0.0


def chosen_stages(settings: Settings, stages: Sequence[Stage], only: str | None) -> list[Stage]:
    """The stages that a run is about. Raises LikenessError for an asset that there is not; ProfileError."""
    declare(settings, stages)
    chosen = [stage for stage in stages if only in (None, stage.name)]
    if not chosen:
        raise LikenessError(f"no asset is called {only}; assets: {', '.join(stage.name for stage in stages)}")
    return chosen


def run(
    settings: Settings,
    instance: dg.DagsterInstance,
    stages: Sequence[Stage],
    progress: Progress,
    character: str,
    only: str | None = None,
    force: bool = False,
) -> Outcome:
    """Bring every asset (or `only` one) up to date for a character; `force` makes them whether stale or not, and known
    or not.

    Raises LikenessError for an asset that there is not; AlreadyRunning, SourceMissing, ProfileError, CodeChanged,
    ExecutorError, StageFailed.
    """
    began, outcome, costs = time.monotonic(), Outcome(), list[Cost]()
    chosen = chosen_stages(settings, stages, only)
    executors.require_reachable(settings)
    graph = Graph.of(settings, stages)
    definitions, project = define(graph, progress), graph.on(instance)
    with only_runner(settings, instance), ExitStack() as looking:
        looking.enter_context(project.store.opened())
        accepted_profile.accept(settings, instance)
        profile = accepted_profile.name_of(settings)
        progress.end(f"profile {profile}, character {character}")
        tags = _tags(instance, character, profile, force) | {HOME_TAG: home_id(settings)}
        observe_sources(project, stages, character, tags[RETRAINING_TAG])
        reads_photos = "photos" in (name for name, _ in sources_of(graph, chosen, character))
        if reads_photos and (left_out := project.left_out("photos")):
            progress.end(left_out)
        staleness = Staleness.of(instance, definitions)
        for number, stage in enumerate(chosen, 1):
            ref = AssetRef.of(stage, character)
            if not force and is_fresh(project, staleness, ref, progress):
                outcome.fresh.append(str(ref))
                continue
            looking.close()
            load_stages(graph)
            outcome.retraining = tags[RETRAINING_TAG]
            made = _make(project, definitions, ref, progress, f"[{number}/{len(chosen)}] {ref}", tags)
            staleness = Staleness.of(instance, definitions)
            (outcome.made if made else outcome.reused).append(str(ref))
            version = project.latest_of(ref)
            outcome.refused += refusals(version)
            costs += [cost] if made and version and (cost := Cost.of(version.metadata)) else []
    outcome.seconds, total = time.monotonic() - began, Cost.total(costs)
    outcome.cost = total.figures("") if costs else {}
    limits = budget.findings(project.graph.rules.budget.get(RUN, Budget()), total)
    outcome.over_budget = [str(limit) for limit in limits if not limit.passed]
    return outcome


def is_fresh(project: Project, staleness: Staleness, ref: AssetRef, progress: Progress) -> bool:
    """Whether the newest version is to be taken as it is; where only its files are gone, that is said.

    Raises StageFailed where it is blocked.
    """
    if staleness.stale(dg.AssetKey(ref.name), ref.character):
        return False
    if gone := why_gone(project, ref):
        progress.end(f"{ref}  {gone}: made again")
        return False
    require_passed(project, ref, progress)
    return True


def load_stages(graph: Graph) -> None:
    """Import every stage now: what somebody edits in the hours of a run counts for the next one.

    Raises ProfileError, CodeChanged.
    """
    for declared in graph.declarations.values():
        declared.config()
    collect_as_usual()


def why_gone(project: Project, ref: AssetRef) -> str:
    """Why the newest version is not to be had any more, "" where it is: Dagster knows its md5, not whether the cache or
    the remote still has its files, nor whether the registry still has the model.
    """
    if ref.stage is production_encoder.STAGE and ref.character:
        why = production_encoder.why_unregistered_now(project.settings, project.instance, ref.character)
        if why:
            return why
    version = project.latest_of(ref)
    if version is None or not project.store.is_lost(version.md5):
        return ""
    return f"its files ({version.md5[:12]}) are neither in the cache nor, undamaged, in the remote"


def require_passed(project: Project, ref: AssetRef, progress: Progress) -> None:
    """Judge a version that need not be made again under the rules of now. Raises StageFailed when it is blocked: the
    same inputs would give the same again.
    """
    for result in results.evaluate_again(project, ref):
        progress.end(f"{ref}  check {result.check} judged again: {result.description}")
    failed = [result for result in results.newest(project, ref) if result.blocks]
    if failed:
        raise StageFailed(
            f"{failed[0]}\nThe rows: `likeness checks {ref.name}`. It was not made again, since nothing that it is "
            "made of changed: change that, or the rule (`checks` in the profile), or make it again with --force"
        )


def _tags(instance: dg.DagsterInstance, character: str, profile: str, force: bool) -> dict[str, str]:
    """Those of every run of this `likeness run`."""
    tags = {RUN_TAG: "true", USER_TAG: user(), CHARACTER_TAG: character, PROFILE_TAG: profile}
    tags[RETRAINING_TAG] = retraining.begin(instance, character, profile)
    return tags | ({FORCE_TAG: "true"} if force else {})


def observe_sources(project: Project, stages: Sequence[Stage], character: str, belongs_to: str = "") -> list[str]:
    """Record every source whose content changed since it was last seen; their names. Raises SourceMissing.

    belongs_to: the retraining that begins with it.
    """
    sources = dict.fromkeys(sources_of(project.graph, stages, character))
    with project.store.opened():
        return [title(name, who) for name, who in sources if project.observe(name, who, belongs_to)]


def sources_of(graph: Graph, stages: Sequence[Stage], character: str) -> Iterator[tuple[str, str | None]]:
    """The sources that stages read, as stages call them, and for whom; some more than once."""
    for stage in stages:
        for name in graph.declarations[stage.name].inputs:
            if name in ("embedded", "photos"):
                yield name, None
            elif name == "character":
                yield name, character if stage.by_character else "embedded"


def _make(
    project: Project,
    definitions: dg.Definitions,
    ref: AssetRef,
    progress: Progress,
    name: str,
    tags: dict[str, str],
) -> bool:
    """One Dagster run that makes one asset, or takes its known result, which is False. Raises StageFailed."""
    began = time.monotonic()
    progress.stage(name)
    if project.settings.executor == "ray":
        result = _execute_elsewhere(project, ref, tags, lambda line: progress.show(f"{name}  {line}"))
    else:
        result = _execute_here(project.instance, definitions, ref, tags)
    failed = [evaluation for evaluation in result.get_asset_check_evaluations() if not evaluation.passed]
    if not result.success:
        if _was_interrupted(result):
            progress.end(f"{name}  interrupted after {duration(time.monotonic() - began)}")
            raise KeyboardInterrupt
        progress.end(f"{name}  failed after {duration(time.monotonic() - began)}")
        if blocking := next(filter(blocks, failed), None):
            raise StageFailed(
                f"{ref.name} failed its check {blocking.check_name}: {blocking.description}\n"
                f"The rows: `likeness checks {ref.name}`"
            )
        raise StageFailed(f"{ref.name} failed: {reason(result)}")
    for evaluation in failed:
        progress.end(f"{name}  warning, check {evaluation.check_name}: {evaluation.description}")
    version = project.latest_of(ref)
    reused = version.metadata.get(REUSED) if version else None
    started = version.metadata.get(STARTED) if version and not reused else None
    done = told(reused) if reused else f"done, begun {started}," if started else "done"
    progress.end(f"{name}  {done} in {duration(time.monotonic() - began)}")
    return not reused


def blocks(evaluation: dg.AssetCheckEvaluation) -> bool:
    """Whether nothing may be made from the version while this check fails."""
    return bool(evaluation.blocking) and evaluation.severity == dg.AssetCheckSeverity.ERROR


def _execute_here(
    instance: dg.DagsterInstance, definitions: dg.Definitions, ref: AssetRef, tags: dict[str, str]
) -> dg.ExecuteInProcessResult:
    """In this process, whose progress line the stage moves."""
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(ref.name)],
        partition_key=ref.character,
        instance=instance,
        run_config=QUIET,
        tags=tags,
        raise_on_error=False,
    )


def _execute_elsewhere(
    project: Project, ref: AssetRef, tags: dict[str, str], show: Callable[[str], None]
) -> dg.JobExecutionResult:
    """In a process that the executor starts; what its log says is shown."""
    # The other process has the environment alone, not this command's options.
    os.environ["LIKENESS_PROFILE"] = project.settings.profile
    launch = {LAUNCH_TAG: uuid.uuid4().hex}
    tags = tags | launch | ({PARTITION_TAG: ref.character} if ref.character else {})
    with _followed(project.instance, launch, show):
        return executors.execute(project.instance, [ref.name], run_config=QUIET, tags=tags)


@contextmanager
def _followed(instance: dg.DagsterInstance, launch: dict[str, str], show: Callable[[str], None]) -> Iterator[None]:
    """Show the last line of a run's log, every few seconds, for the length of the block."""
    over = threading.Event()

    def follow() -> None:
        run: dg.DagsterRun | None = None
        cursor: str | None = None
        while not over.wait(FOLLOW_EVERY):
            run = run or next(iter(instance.get_runs(dg.RunsFilter(tags=launch), limit=1)), None)
            if run is None:
                continue
            found = instance.get_records_for_run(run.run_id, cursor)
            cursor = found.cursor
            if found.records:
                entry = found.records[-1].event_log_entry
                show((entry.user_message or entry.message).splitlines()[0])

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def reason(result: dg.ExecuteInProcessResult | dg.JobExecutionResult) -> str:
    """The innermost error of a failed run, on one line."""
    for event in result.all_events:
        if event.is_step_failure:
            return _in_short(why_it_failed(event))
        if event.is_job_failure and (told := innermost(event.job_failure_data.error)):
            return _in_short(told)  # between steps, so of Dagster or its database
    return f"see run {result.run_id} in `likeness dagster`"


def _was_interrupted(result: dg.ExecuteInProcessResult | dg.JobExecutionResult) -> bool:
    """Whether Ctrl-C ended it: Dagster makes an error of its own of that, in this process and in others."""
    return any(
        event.is_step_failure and why_it_failed(event).startswith(tuple(kind.__name__ for kind in INTERRUPTS))
        for event in result.all_events
    )


def _in_short(message: str) -> str:
    """Its begin and its end: a cluster puts the last thousands of characters of a job's log between them."""
    return message if len(message) <= LONGEST else f"{message[: LONGEST // 2]} … {message[-LONGEST // 2 :]}"


def refusals(version: Version | None) -> list[str]:
    """Why the newest registered model did not become production."""
    return list(version.metadata.get("refused_because") or []) if version else []
