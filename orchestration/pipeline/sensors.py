"""Retraining without anybody at a terminal: Dagster's daemon scans the sources and makes what follows from a change.

    weekly schedule ──┐
    folder sensor ────┴─ scan ─ records each source's md5 where it changed ─ automation conditions make what is stale

The sensor reads names, sizes and times only, so that it costs little and never hits Dagster's time limit for sensors;
the scan, a run of its own, reads the bytes. Nothing is made where the md5s say that nothing changed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from engine.errors import LikenessError
from orchestration.config.progress import into_log
from orchestration.config.settings import Settings
from orchestration.pipeline import automation, retraining
from orchestration.pipeline.retry_policy import RETRY_POLICY, only_transient_is_retried, requeue_lost_retries
from orchestration.storage import accepted_profile
from orchestration.storage.instance import AUTOMATION_TAG, PROFILE_TAG, SCAN_TAG
from orchestration.storage.project import Graph, Project, SourceMissing, title
from stages.data import source_files

SCAN = "sources_seen"
JOB, SCHEDULE, SENSOR, AUTOMATION, RETRIES = "look", "weekly_look", "changed_sources", "retrain", "lost_retries"
RUN_TAGS = {AUTOMATION_TAG: "true"}


class BadSchedule(LikenessError):
    """LIKENESS_RETRAIN_CRON or LIKENESS_RETRAIN_TIMEZONE is not one."""


@dataclass(frozen=True)
class RetrainingDefinitions:
    """What retraining adds to the definitions."""

    scan: dg.AssetsDefinition
    jobs: list[Any]
    schedules: list[dg.ScheduleDefinition]
    sensors: list[dg.SensorDefinition]


def parts(settings: Settings, graph: Graph) -> RetrainingDefinitions:
    """The source scan, its schedule and sensor, and the sensor that evaluates the conditions. Raises BadSchedule."""
    scan = scan_asset(graph)
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(scan),
        description="Look at every source, and record what changed; automation makes what follows from it.",
        executor_def=dg.in_process_executor,
        tags={SCAN_TAG: "true"},
    )
    own = [changed_sources(settings, graph, job), conditions(settings), lost_retries()]
    return RetrainingDefinitions(scan, [job], [weekly(settings, job)], own)


def scan_asset(graph: Graph) -> dg.AssetsDefinition:
    """The source scan, as an asset: its materialisations say when the sources were last scanned, and what was found."""

    @dg.asset(
        name=SCAN,
        group_name="data",
        description="When every source was last looked at, and what had changed.",
        freshness_policy=automation.SCANNED_EVERY_WEEK,
        retry_policy=RETRY_POLICY,
    )
    def scan(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with only_transient_is_retried(context.log.warning):
            return dg.MaterializeResult(metadata=scan_sources(context, graph.on(context.instance)))

    return scan


def scan_sources(context: dg.AssetExecutionContext, project: Project) -> dict[str, Any]:
    """Record every source that is in use and changed; what was found, for the asset's page. Raises SourceMissing."""
    progress, begun = into_log(context.log), retraining.id_of_run(project.instance, context.run_id)
    found: dict[str, Any] = {"changed": [], "still changing": []}
    for name, character in in_use(project):
        shown = title(name, character)
        progress.stage(f"look at {shown}")
        folder = project.source_folder(name, character)
        before = fingerprint(folder)
        project.store.md5(folder)
        if fingerprint(folder) != before:
            # Half a copy is no version; the sensor sees the rest come and asks for another scan.
            found["still changing"].append(shown)
        elif project.observe(name, character, begun):
            found["changed"].append(shown)
        if name == "photos" and (left_out := project.left_out(name)):
            found["left out"] = left_out
    if found["changed"]:
        retraining.note(project.instance, context.run_id, begun)
    return found


def in_use(project: Project) -> Iterator[tuple[str, str | None]]:
    """Sources that were recorded before: automation takes over what was made once, and begins nothing.

    None where this machine's folders do not count.
    """
    if project.settings.sources == "remote":
        return
    characters = [("character", name) for name in project.settings.character_names()]
    for name, character in [("embedded", None), ("photos", None), *characters]:
        if project.latest(name, character):
            yield name, character


def fingerprint(folder: Path) -> str:
    """A digest of the names, sizes and times of all files but those that programs left: no byte of theirs is read."""
    digest = hashlib.sha256()
    for path in source_files.counted(folder, source_files.anything):
        try:
            status = path.stat()
        except FileNotFoundError:  # gone since it was listed: the next fingerprint is another one
            continue
        digest.update(f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def weekly(settings: Settings, job: Any) -> dg.ScheduleDefinition:
    """A scan at the weekly time, whatever the sensor saw. Raises BadSchedule."""
    try:
        return dg.ScheduleDefinition(
            name=SCHEDULE,
            job=job,
            cron_schedule=settings.retrain_cron,
            execution_timezone=settings.retrain_timezone,
            description="Looks at every source; what failed before is tried again. Where nothing changed, nothing is "
            "made. LIKENESS_RETRAIN_CRON and LIKENESS_RETRAIN_TIMEZONE say when.",
            default_status=_schedule_status(settings),
        )
    except (dg.DagsterInvalidDefinitionError, dg.DagsterInvariantViolationError) as error:
        raise BadSchedule(
            f"LIKENESS_RETRAIN_CRON={settings.retrain_cron!r} with LIKENESS_RETRAIN_TIMEZONE="
            f"{settings.retrain_timezone!r} is no time: write it like '0 3 * * 1' and 'Europe/Berlin'"
        ) from error


def changed_sources(settings: Settings, graph: Graph, job: Any) -> dg.SensorDefinition:
    """Asks for a scan when a source's files changed and then stayed the same from one tick to the next."""

    @dg.sensor(
        name=SENSOR,
        job=job,
        minimum_interval_seconds=settings.look_seconds,
        default_status=_sensor_status(settings),
        description="New photos, a changed character: a look starts once the files have stopped changing.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        project = graph.on(context.instance)
        try:
            now = {
                title(name, character): fingerprint(project.source_folder(name, character))
                for name, character in in_use(project)
            }
        except SourceMissing as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        return decide(now, context.cursor)

    return sensor


def decide(now: Mapping[str, str], cursor: str | None) -> dg.SensorResult:
    """The sensor's answer to the fingerprints of now; its cursor holds those last seen, and those last scanned."""
    seen, scanned = json.loads(cursor) if cursor else ({}, {})
    changed = sorted(name for name in now if now[name] != scanned.get(name))
    if not changed:
        nothing = "nothing changed" if now else "no source was ever looked at: start with `likeness run`"
        return dg.SensorResult(skip_reason=nothing, cursor=json.dumps([now, scanned]))
    if any(now[name] != seen.get(name) for name in changed):
        waiting = f"{', '.join(changed)} changed: waiting until two looks see the same"
        return dg.SensorResult(skip_reason=waiting, cursor=json.dumps([now, scanned]))
    request = dg.RunRequest(tags={"likeness/changed": ", ".join(changed)})
    return dg.SensorResult(run_requests=[request], cursor=json.dumps([now, now]))


def conditions(settings: Settings) -> dg.SensorDefinition:
    """Evaluates every asset's automation condition; without it nothing is made by itself."""
    return dg.AutomationConditionSensorDefinition(
        AUTOMATION,
        target=dg.AssetSelection.all(),
        run_tags=RUN_TAGS | {PROFILE_TAG: accepted_profile.name_of(settings)},
        default_status=_sensor_status(settings),
        minimum_interval_seconds=min(30, settings.look_seconds),
        description="Makes what is not up to date, one wave of assets after the other.",
        # A backfill would retry and queue by other rules than runs do.
        emit_backfills=False,
        # Our conditions are Python, which only the code server has.
        use_user_code_server=True,
    )


def lost_retries() -> dg.SensorDefinition:
    """Gives runs back to Dagster's daemon whose retry it lost. It needs a code server, so it runs when one is there."""

    @dg.sensor(
        name=RETRIES,
        # More often than Dagster checks its backfills, which end when they see a failed run without a retry.
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs that were to be tried again when no code server answered are tried again once one does.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        given = requeue_lost_retries(context.instance)
        return dg.SkipReason(f"tried again: {', '.join(run[:8] for run in given)}" if given else "no retry was lost")

    return sensor


def _sensor_status(settings: Settings) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if settings.automation == "on" else dg.DefaultSensorStatus.STOPPED


def _schedule_status(settings: Settings) -> dg.DefaultScheduleStatus:
    return dg.DefaultScheduleStatus.RUNNING if settings.automation == "on" else dg.DefaultScheduleStatus.STOPPED
