"""When Dagster makes an asset by itself: the conditions of its declarative automation, and the freshness policy.

Dagster's `eager()` answers events: it retrains when a parent was made again although its bytes are the same, forgets a
photo that arrives while the faces are being aligned, and starts what a person has just cancelled. The question here is
the one that `likeness run` asks, "is it up to date?", so that the daemon does all the time what the command does once,
one wave of assets a tick.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
from dagster import AutomationCondition

from orchestration.checks.staleness import Staleness
from orchestration.config.catalog import Stage
from orchestration.config.files import is_locked
from orchestration.config.settings import Settings
from orchestration.pipeline import served_photos
from orchestration.registry.aliases import AliasStore
from orchestration.registry.promotion_events import RegistryError
from orchestration.storage import accepted_profile
from orchestration.storage.instance import lock_file
from orchestration.storage.versions import latest

SCANNED_EVERY_WEEK = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=8), warn_window=timedelta(days=7.5))
"""Of the scan of the sources, not of models: a model that nothing has changed for may be old and right."""


class _Condition(AutomationCondition):
    """A condition that asks a question about each partition; Dagster evaluates it in the code server."""

    DESCRIPTION: ClassVar[str] = ""

    @property
    def description(self) -> str:
        return self.DESCRIPTION

    @property
    def requires_cursor(self) -> bool:
        return False

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        answer, candidates = self.question(context), context.candidate_subset
        chosen = {partition for partition in _partitions(candidates) if answer(partition)}
        if candidates.is_partitioned:
            return dg.AutomationResult(context, candidates.compute_intersection_with_partition_keys(chosen))
        return dg.AutomationResult(context, candidates if chosen else context.get_empty_subset())

    @abstractmethod
    def question(self, context: dg.AutomationContext) -> Callable[[str | None], bool]:
        """What to ask about a partition, or about None for an asset that has none."""


def _staleness_now(context: dg.AutomationContext) -> Staleness:
    return Staleness(context.asset_graph_view.instance, context.asset_graph)


def _staleness(context: dg.AutomationContext) -> Staleness:
    """By the records that Dagster fetched when it began to evaluate."""
    view = context.asset_graph_view
    return Staleness(view.instance, context.asset_graph, view)


def _newest_run(context: dg.AutomationContext, partition: str | None) -> dg.DagsterRun | None:
    """The run that was last to make it, as it is now."""
    instance = context.asset_graph_view.instance
    planned = instance.event_log_storage.get_latest_planned_materialization_info(context.key, partition)
    return instance.get_run_by_id(planned.run_id) if planned else None


class NotFresh(_Condition):
    """Missing, made from other data or by other code than there is now, or refused by a blocking check."""

    DESCRIPTION = "Missing, or made from other data or by other code than there is now"

    def question(self, context: dg.AutomationContext) -> Callable[[str | None], bool]:
        staleness = _staleness(context)

        def not_fresh(partition: str | None) -> bool:
            # Dagster fetches records before it asks which runs are at work. A run that began since is not in those
            # records, nor is what a run that ended since has made: only newer ones can say that something has to be
            # made, the run's first, so that whatever it made is found by the second question.
            if not staleness.why(context.key, partition):
                return False
            run = _newest_run(context, partition)
            return (run is None or run.is_finished) and bool(_staleness_now(context).why(context.key, partition))

        return not_fresh


@dataclass(frozen=True)
class NotRegistered(_Condition):
    """The registry has no version of what was made last: it was deleted in MLflow.

    Asked of the tables alone: MLflow's client takes longer to import than Dagster waits for a sensor on a busy machine.
    """

    settings: Settings

    __hash__ = AutomationCondition.__hash__

    DESCRIPTION = "The registry does not have what was made last"

    def question(self, context: dg.AutomationContext) -> Callable[[str | None], bool]:
        instance = context.asset_graph_view.instance

        def lacks(partition: str | None) -> bool:
            made = latest(instance, context.key.to_user_string(), partition)
            if made is None or partition is None:
                return False
            try:
                tags = AliasStore.of(self.settings, partition).state().tags
                return made.md5 not in {known.get("md5") for known in tags.values()}
            except RegistryError as error:  # nobody can tell before it answers, and the other assets can be judged
                context.log.warning(str(error))
                return False

        return lacks


class UpstreamNotFresh(_Condition):
    """Any ancestor, not only a parent, has yet to be made: what follows from it would be made twice."""

    DESCRIPTION = "Something it comes from has yet to be made"

    def question(self, context: dg.AutomationContext) -> Callable[[str | None], bool]:
        staleness, graph = _staleness(context), context.asset_graph
        known: dict[tuple[dg.AssetKey, str | None], bool] = {}

        def waits(one: Any) -> bool:
            """Whether anything above this subset, one partition of an asset or all of one that has none, is stale."""
            for key in graph.get(one.key).parent_keys:
                parents = one.compute_parent_subset(key)
                for partition in _partitions(parents):
                    if (key, partition) not in known:
                        known[key, partition] = bool(staleness.why(key, partition)) or waits(_only(parents, partition))
                    if known[key, partition]:
                        return True
            return False

        return lambda partition: waits(_only(context.candidate_subset, partition))


def _partitions(subset: Any) -> set[Any]:
    if subset.is_partitioned:
        return set(subset.expensively_compute_partition_keys())
    return set() if subset.is_empty else {None}


def _only(subset: Any, partition: str | None) -> Any:
    return subset if partition is None else subset.compute_intersection_with_partition_keys({partition})


class LastRunNotSucceeded(_Condition):
    """The newest run that was to make it failed, a person cancelled it, or it began a moment ago."""

    DESCRIPTION = "The last run that was to make it has not succeeded"

    def question(self, context: dg.AutomationContext) -> Callable[[str | None], bool]:
        def not_succeeded(partition: str | None) -> bool:
            run = _newest_run(context, partition)
            return run is not None and not run.is_success

        return not_succeeded


@dataclass(frozen=True)
class RunByHand(_Condition):
    """A `likeness run` is at work on this project; it makes what is stale itself."""

    lock: Path

    __hash__ = AutomationCondition.__hash__

    DESCRIPTION = "A `likeness run` is at work"

    def question(self, context: dg.AutomationContext) -> Callable[[str | None], bool]:
        at_work = is_locked(self.lock)
        return lambda partition: at_work


@dataclass(frozen=True)
class ProfileNotConfirmed(_Condition):
    """The daemon was started under another profile than the project is made with: nobody said that all is to be made
    again.
    """

    settings: Settings
    stages: tuple[Stage, ...]

    __hash__ = AutomationCondition.__hash__

    @property
    def description(self) -> str:
        return f"The project is made with another profile than {accepted_profile.name_of(self.settings)}"

    def question(self, context: dg.AutomationContext) -> Callable[[str | None], bool]:
        known = accepted_profile.before(self.settings, context.asset_graph_view.instance, self.stages)
        return lambda partition: bool(known)


@dataclass(frozen=True)
class ServedDrifted(_Condition):
    """Players' photos were not like those of training any more when they were last counted. What is made for all
    characters is asked for by any of them."""

    settings: Settings

    __hash__ = AutomationCondition.__hash__

    DESCRIPTION = "Players' photos are unlike those that production was trained on"

    def question(self, context: dg.AutomationContext) -> Callable[[str | None], bool]:
        instance, names = context.asset_graph_view.instance, self.settings.character_names()
        return lambda partition: bool(served_photos.drifted(instance, partition, names))


NOT_FRESH, UPSTREAM_NOT_FRESH, LAST_RUN_NOT_SUCCEEDED = NotFresh(), UpstreamNotFresh(), LastRunNotSucceeded()


def worth_another_try(settings: Settings) -> AutomationCondition:
    """Something changed since it was last tried, or it is the weekly time."""
    changed = AutomationCondition.any_deps_match(AutomationCondition.data_version_changed())
    weekly = AutomationCondition.cron_tick_passed(settings.retrain_cron, settings.retrain_timezone)
    return (changed | AutomationCondition.code_version_changed() | weekly).since(
        AutomationCondition.newly_requested() | AutomationCondition.newly_updated()
    )


def retrain(settings: Settings, stages: Collection[Stage], why: AutomationCondition = NOT_FRESH) -> AutomationCondition:
    """Make what is not fresh, parents first, once; again after a failure only when there is a reason to.

    An asset whose sources were never recorded is left alone: automation takes over what was made once.
    """
    if settings.retrain_when == "drifted":
        why &= ServedDrifted(settings)
    return (
        ~AutomationCondition.any_deps_missing()
        & ~AutomationCondition.any_deps_in_progress()
        # Before it is asked what is fresh (NotFresh says why).
        & ~AutomationCondition.in_progress()
        & why
        & (~LAST_RUN_NOT_SUCCEEDED | worth_another_try(settings))
        & ~UPSTREAM_NOT_FRESH
        & ~RunByHand(lock_file(settings))
        & ~ProfileNotConfirmed(settings, tuple(stages))
    ).with_label("retrain")
