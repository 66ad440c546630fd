"""What players' photos are like, day by day, and how far they are from those that production was trained on.

The asset reads the counts that services keep (`LIKENESS_SERVE_STATISTICS`): no photo comes here. It is no part of what
models are made from; its check only warns, and automation may wait for it (`LIKENESS_RETRAIN_WHEN=drifted`).
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import dagster as dg

from orchestration.checks import served
from orchestration.checks.production import NoReference
from orchestration.config.progress import into_log
from orchestration.config.settings import Settings
from orchestration.pipeline import daily
from orchestration.pipeline.retry_policy import RETRY_POLICY, only_transient_is_retried
from orchestration.registry.registered_models import Registry
from orchestration.storage import dagster_metadata
from orchestration.storage.project import Graph
from orchestration.storage.tracking import Tracking
from orchestration.storage.versions import newest_record
from serving.photo_counts import DayCounts, PhotoCounts

NAME, CHECK, JOB, SCHEDULE = "served_photos", "like_training", "count_served_photos", "daily_served_photos"
DRIFTED = "drifted"
"""Metadata of a materialisation: what was not like training any more."""
DAYS = 90
"""Days that the asset's page shows."""


def asset(graph: Graph) -> dg.AssetsDefinition:
    """The daily statistics of one character's photos, and the check that holds them against training's."""

    @dg.asset(
        name=NAME,
        partitions_def=graph.characters,
        group_name="production",
        kinds={"statistics"},
        description="What the photos of players are like, day by day: light, pose, remarks, choices. No photo is kept.",
        check_specs=[dg.AssetCheckSpec(CHECK, asset=NAME, description="Are they like those of training?")],
        retry_policy=RETRY_POLICY,
    )
    def count(
        context: dg.AssetExecutionContext, tracking: dg.ResourceParam[Tracking], progress: dg.ResourceParam[Any]
    ) -> dg.MaterializeResult:
        settings = graph.settings.model_copy(update={"character": context.partition_key})
        shown = progress or into_log(context.log)
        with only_transient_is_retried(shown.show):
            registry = Registry(tracking, settings.character)
            try:
                found, why = served.examine(settings, registry, graph.rules.served, shown), ""
            except NoReference as error:
                found, why = None, str(error)
        drifted = found.drifted if found else []
        metadata = {"days": days_table(served.daily(settings)), DRIFTED: [each.name for each in drifted]}
        return dg.MaterializeResult(
            metadata=metadata | (_figures(found) if found else {"not compared": why}),
            check_results=[_check(drifted, why or f"{found.photos if found else 0} photos")],
        )

    return count


def job(graph: Graph) -> dg.JobDefinition | Any:
    """Counts the photos of one character, beside whatever else is being made."""
    return daily.job(graph, JOB, NAME, "Hold the photos that services read against those of training.")


def schedule(settings: Settings, graph: Graph, of_job: Any) -> dg.ScheduleDefinition:
    """Every day, once somebody switches it on."""
    about = "Counts what players' photos are like. LIKENESS_SERVED_CRON says when, and switches it on."
    return daily.schedule(settings, graph, of_job, SCHEDULE, settings.served_cron, "0 4 * * *", about)


def drifted(instance: dg.DagsterInstance, character: str | None, characters: Sequence[str]) -> list[str]:
    """What was not like training any more when the photos of a character were last counted; None: of any character."""
    found: list[str] = []
    for name in characters if character is None else [character]:
        record = newest_record(instance, NAME, name)
        event = record.asset_materialization if record else None
        if event is not None and DRIFTED in event.metadata:
            found += event.metadata[DRIFTED].value  # pyright: ignore[reportOperatorIssue]
    return found


def days_table(counts: Sequence[DayCounts]) -> dg.TableMetadataValue:
    """A row for each day and version: how many photos, the share without a remark, the commonest remark."""

    def key(each: DayCounts) -> tuple[Any, int]:
        return each.day, each.version.version

    rows = []
    for (day, version), parts in groupby(sorted(counts, key=key), key):
        total = sum(parts, PhotoCounts())
        remarks = {code: count for code, count in total.remarks.items() if code != "none"}
        often = max(remarks, key=lambda code: remarks[code], default="")
        rows.append(
            {
                "day": str(day),
                "version": version,
                "photos": total.photos,
                "without a remark": f"{total.remarks.get('none', 0) / total.photos:.0%}",
                "commonest remark": f"{often} {remarks[often] / total.photos:.0%}" if often else "",
            }
        )
    return dagster_metadata.table_of(rows[-DAYS:])


def _figures(found: served.ServedPhotos) -> dict[str, Any]:
    """Dagster draws what is a number over time."""
    lines = ["| distribution | index | limit | photos | |", "|---|---|---|---|---|"]
    mark = {True: "ok", False: "drifted", None: ""}
    for each in found.drifts:
        index, limit = ("–" if value is None else f"{value:.3f}" for value in (each.index, each.limit))
        lines.append(f"| {each.name} | {index} | {limit} | {each.photos} | {mark[each.ok] or each.note} |")
    return {
        "compared with": f"training of {found.model} {found.version}",
        "photos": found.photos,
        "drift": dg.MetadataValue.md("\n".join(lines)),
        "distributions": dg.MetadataValue.json(found.document()["drifts"]),
        **{f"drift of {each.name}": each.index for each in found.drifts if each.index is not None},
    }


def _check(drifted: Sequence[served.Drift], otherwise: str) -> dg.AssetCheckResult:
    said = (f"{each.name} {each.index:.2f}, limit {each.limit:.2f}" for each in drifted)
    return dg.AssetCheckResult(
        check_name=CHECK,
        asset_key=NAME,
        passed=not drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(said) or otherwise,
    )
