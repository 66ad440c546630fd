"""Which retraining a run of Dagster's belongs to: one id over all runs that follow from one cause.

    likeness run      one retraining, which its runs are tagged with; what failed or was interrupted is gone on with
    the daemon        makes a retraining in waves of runs that know nothing of each other: a run is of the retraining
                      that made, or saw, what changed of its assets' inputs; where nothing did, as after an upgrade of
                      the code, the runs of one tick are one
    a person          in Dagster: one launch, one backfill
    a retry           of the run that is tried again

The tag is on the run before its first asset is made; the version has the id in its metadata, its run in MLflow and a
registered version have it as a tag. Every step comes to the answer by itself, from what all machines read alike.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from orchestration.pipeline import reasons
from orchestration.storage.dagster_internals import BACKFILL_ID_TAG, ROOT_RUN_ID_TAG, TICK_ID_TAG
from orchestration.storage.instance import (
    AUTOMATION_TAG,
    CHARACTER_TAG,
    PROFILE_TAG,
    RETRAINING_TAG,
    RUN_TAG,
    WHY_TAG,
)
from orchestration.storage.project import AssetRef, Project
from orchestration.storage.versions import RETRAINING, WHY, Version

PARTITION_TAG = "dagster/partition"
BEGAN_TOGETHER = (BACKFILL_ID_TAG, TICK_ID_TAG)
"""Tags of runs of which the first one gives all others its id."""


def begin(instance: dg.DagsterInstance, character: str, profile: str) -> str:
    """The id of a `likeness run`: that of the last one of this character and profile, where it did not succeed."""
    own = dg.RunsFilter(tags={RUN_TAG: "true", CHARACTER_TAG: character})
    for last in instance.get_runs(own, limit=1):
        if last.is_failure_or_canceled and last.tags.get(PROFILE_TAG) == profile and RETRAINING_TAG in last.tags:
            return last.tags[RETRAINING_TAG]
    return _id(uuid.uuid4().hex, datetime.now(UTC))


def of_run(project: Project, run_id: str) -> str:
    """The retraining of a run, noted on the run when it is first asked for."""
    run = project.instance.get_run_by_id(run_id)
    known = run.tags.get(RETRAINING_TAG) if run else None
    if known:
        return known
    found = _cause(project, run) if run and run.tags.get(AUTOMATION_TAG) == "true" else ""
    found = found or id_of_run(project.instance, run_id)
    note(project.instance, run_id, found)
    return found


def note(instance: dg.DagsterInstance, run_id: str, retraining: str, why: str = "") -> None:
    """Tag a run with its retraining, or with why its first asset is made."""
    instance.add_run_tags(run_id, {RETRAINING_TAG: retraining} | ({WHY_TAG: why} if why else {}))


def id_of_run(instance: dg.DagsterInstance, run_id: str) -> str:
    """The id of the retraining that begins with a run, or with one that it retries or was launched together with."""
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return _id(run_id, datetime.now(UTC))
    first = _first(instance, record)
    return first.dagster_run.tags.get(RETRAINING_TAG) or _id(first.dagster_run.run_id, first.create_timestamp)


def _first(instance: dg.DagsterInstance, record: Any) -> Any:
    """The record of the run that began what this one is part of: the first attempt, the first of a backfill or tick."""
    tags = record.dagster_run.tags
    if root := instance.get_run_record_by_id(tags.get(ROOT_RUN_ID_TAG, "")):
        record, tags = root, root.dagster_run.tags
    for name in BEGAN_TOGETHER:
        if name in tags:
            wanted = dg.RunsFilter(tags={name: tags[name]})
            return next(iter(instance.get_run_records(wanted, limit=1, ascending=True)), record)
    return record


def _id(run_id: str, when: datetime) -> str:
    """Sorts by time; the end tells apart what began in one second."""
    return f"{when:%Y%m%d-%H%M%S}-{run_id[:4]}"


def _cause(project: Project, run: dg.DagsterRun) -> str:
    """The retraining that the newest of the changed inputs is of, "" where none changed, or nobody noted it."""
    changed = sorted(_changed(project, run), key=lambda version: version.when)
    return next((str(noted) for version in changed[::-1] if (noted := version.metadata.get(RETRAINING))), "")


def _changed(project: Project, run: dg.DagsterRun) -> Iterator[Version]:
    """Inputs of the run's assets that are others than when these were last made."""
    for key in run.asset_selection or ():
        if (stage := project.graph.stages.get(key.to_user_string())) is None:
            continue
        ref = AssetRef.of(stage, run.tags.get(PARTITION_TAG))
        found = {name: project.latest(name, ref.character) for name in stage.code.INPUTS}
        inputs = {name: version for name, version in found.items() if version}
        latest = project.latest_of(ref)
        for name in reasons.changed_inputs(latest, inputs) if latest else inputs:
            yield inputs[name]


def noted(project: Project, run: dg.DagsterRun, retraining: str, why: str) -> dict[str, Any]:
    """What a version says of the retraining that it is of, in its metadata; its run says it too."""
    if WHY_TAG not in run.tags:
        note(project.instance, run.run_id, retraining, why)
    url = project.settings.dagster_url.rstrip("/")
    page = {"retraining_runs": dg.MetadataValue.url(runs_page(url, retraining))} if url else {}
    return {RETRAINING: retraining, WHY: why} | page


def runs_page(dagster: str, retraining: str) -> str:
    """Dagster's page of all runs of a retraining."""
    return f"{dagster}/runs?q%5B0%5D=tag%3A{RETRAINING_TAG.replace('/', '%2F')}%3D{retraining}"
