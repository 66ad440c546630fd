"""Sensors that tell LIKENESS_NOTIFY (orchestration/promotion/notifiers.py) what happens when nobody is looking."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import dagster as dg

from orchestration.config.settings import Settings
from orchestration.pipeline import production_encoder
from orchestration.pipeline.retry_policy import is_lost, why_it_failed
from orchestration.promotion.notifiers import FAILED, MOVED, PROMOTED, REFUSED, Notice, notifiers, tell
from orchestration.registry.aliases import AliasStore
from orchestration.registry.promotion_events import RegistryError
from orchestration.storage.dagster_internals import WILL_RETRY_TAG
from orchestration.storage.instance import is_of_command

NOTED_WITHIN = 10.0  # seconds
MOST_AT_ONCE = 100
"""Events that a tick tells of; the next one goes on."""


def sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """For failed runs, for what the gate said, and for what was done past it. Raises BadNotifier."""
    notifiers(settings)
    return [failures(settings), gate_decisions(settings), moved_outside(settings)]


def failures(settings: Settings) -> dg.SensorDefinition:
    """The sensor of failed runs."""

    @dg.run_failure_sensor(
        name="failures",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=min(30, settings.look_seconds),
        description="Tells LIKENESS_NOTIFY of every failed run that is not tried again.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        run = context.dagster_run
        if is_tried_again(context.instance, run.run_id):
            return dg.SkipReason(f"run {run.run_id[:8]} is tried again")
        events = context.get_step_failure_events()
        detail = why_it_failed(events[0]) if events else context.failure_event.message or "it said no more"
        tell(settings, failure(settings, run, detail), context.log)
        return None

    return sensor


def is_tried_again(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Dagster records a failure first, and a moment later whether the run is tried again: that moment is waited for."""
    deadline = time.monotonic() + NOTED_WITHIN
    while run := instance.get_run_by_id(run_id):
        noted = run.tags.get(WILL_RETRY_TAG)
        if noted is not None or not instance.run_retries_enabled or time.monotonic() > deadline:
            return noted == "true" or is_lost(instance, run)
        time.sleep(0.1)
    return False


def failure(settings: Settings, run: dg.DagsterRun, detail: str) -> Notice:
    """What a failed run was to make, and why it failed."""
    assets = tuple(sorted(key.to_user_string() for key in run.asset_selection or ()))
    character = run.tags.get("dagster/partition", "")
    what = ", ".join(assets) or run.job_name
    return Notice(
        FAILED,
        f"likeness: {what}{f' of {character}' if character else ''} failed",
        detail,
        assets,
        character,
        run.run_id,
        page(settings, run.run_id),
    )


def gate_decisions(settings: Settings) -> dg.SensorDefinition:
    """The sensor of what the gate decided; its cursor is the number of the last event that was told.

    Dagster's own sensor of an asset sees the newest event of a tick alone, and several characters may end in one.
    """

    @dg.sensor(
        name="verdicts",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=min(30, settings.look_seconds),
        description="Tells LIKENESS_NOTIFY which retrained encoders went into production, and which were refused why.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        told: list[str] = []
        for event in _registered_since(context.instance, context.cursor):
            run, made = context.instance.get_run_by_id(event.run_id), event.asset_materialization
            if made and run and not is_of_command(run):  # a terminal has said it
                notice = gate_notice(settings, made, run.run_id)
                tell(settings, notice, context.log)
                told.append(notice.title)
            context.update_cursor(str(event.storage_id))
        return dg.SkipReason("; ".join(told) or "nothing new but what a terminal has said")

    return sensor


def _registered_since(instance: dg.DagsterInstance, cursor: str | None) -> Sequence[dg.EventLogRecord]:
    """Encoders that were registered after that event, oldest first; the newest one where nothing was told yet."""
    key = dg.AssetKey(production_encoder.NAME)
    if cursor is None:
        return instance.fetch_materializations(key, limit=1).records
    new = dg.AssetRecordsFilter(key, after_storage_id=int(cursor))
    return instance.fetch_materializations(new, limit=MOST_AT_ONCE, ascending=True).records


def gate_notice(settings: Settings, made: dg.AssetMaterialization, run_id: str) -> Notice:
    """What became of a registered encoder, by what its materialisation says of it."""
    facts: dict[str, Any] = {name: value.value for name, value in made.metadata.items()}
    name, reasons = f"{facts.get('model')} version {facts.get('version')}", facts.get("refused_because") or []
    promoted = bool(facts.get("in_production"))
    return Notice(
        PROMOTED if promoted else REFUSED,
        f"likeness: {name} {'is in production' if promoted else 'was not promoted'}",
        "; ".join(reasons) if isinstance(reasons, Sequence) and not isinstance(reasons, str) else str(reasons),
        (production_encoder.NAME,),
        made.partition or "",
        run_id,
        page(settings, run_id),
    )


def moved_outside(settings: Settings) -> dg.SensorDefinition:
    """The sensor of moves in MLflow itself; its cursor holds what was told."""

    @dg.sensor(
        name="moved_outside",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=min(30, settings.look_seconds),
        description="Tells LIKENESS_NOTIFY when somebody moved `production` in MLflow itself, past gate and records.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        told: dict[str, str] = json.loads(context.cursor or "{}")
        try:
            states = {name: AliasStore.of(settings, name).state() for name in settings.character_names()}
        except RegistryError as error:
            return dg.SkipReason(str(error))
        found = {name: str(state.moved_outside() or "") for name, state in states.items()}
        for name, move in found.items():
            if move and told.get(name) != move:
                title = f"likeness: {AliasStore.of(settings, name).name}: production was moved past likeness"
                tell(settings, Notice(MOVED, title, move, (production_encoder.NAME,), name), context.log)
        context.update_cursor(json.dumps(found))
        return dg.SkipReason("; ".join(filter(None, found.values())) or "every move has its record")

    return sensor


def page(settings: Settings, run_id: str) -> str:
    """The run's page, "" where nobody said where pages are."""
    return f"{settings.dagster_url.rstrip('/')}/runs/{run_id}" if settings.dagster_url else ""
