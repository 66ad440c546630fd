"""Assets that are brought up to date every day, beside whatever else is being made."""

from __future__ import annotations

from typing import Any

import dagster as dg

from orchestration.config.settings import Settings
from orchestration.storage.instance import SCAN_TAG
from orchestration.storage.project import Graph


def job(graph: Graph, name: str, asset: str, description: str) -> dg.JobDefinition | Any:
    """Makes one asset of one character creator; it takes no turn of those that train."""
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(asset),
        partitions_def=graph.characters,
        description=description,
        executor_def=dg.in_process_executor,
        tags={SCAN_TAG: "true"},
    )


def schedule(
    settings: Settings, graph: Graph, of_job: Any, name: str, cron: str, otherwise: str, description: str
) -> dg.ScheduleDefinition:
    """Runs the job for every character creator, once somebody switches it on; or from the start where `cron` says when.
    `otherwise`: when, where it does not."""

    @dg.schedule(
        name=name,
        job=of_job,
        cron_schedule=cron or otherwise,
        execution_timezone=settings.retrain_timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if cron else dg.DefaultScheduleStatus.STOPPED,
        description=description,
    )
    def every_day() -> list[dg.RunRequest]:
        return [dg.RunRequest(partition_key=character) for character in graph.characters.get_partition_keys()]

    return every_day
