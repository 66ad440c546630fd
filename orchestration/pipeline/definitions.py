"""The graph: assets, checks, sensors and schedules of these stages under these settings."""

from collections.abc import Sequence

import dagster as dg

from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import corrections, notifications, sensors, served_photos
from orchestration.pipeline.assets import all_assets
from orchestration.pipeline.executors import executor
from orchestration.pipeline.production_encoder import PIPELINE
from orchestration.storage.project import Graph
from orchestration.storage.tracking import Tracking


def build(settings: Settings, stages: Sequence[Stage] = PIPELINE, progress: Progress | None = None) -> dg.Definitions:
    """The graph of these stages under the settings' profile. Raises ProfileError, BadSchedule or BadNotifier."""
    return define(Graph.of(settings, stages), progress)


def define(graph: Graph, progress: Progress | None = None) -> dg.Definitions:
    """What Dagster is told of a graph. Raises as `build`."""
    settings = graph.settings
    retrains, resource = sensors.parts(settings, graph), dg.ResourceDefinition.hardcoded_resource
    count, collect = served_photos.job(graph), corrections.job(graph)
    return dg.Definitions(
        assets=[*all_assets(graph), retrains.scan, served_photos.asset(graph), corrections.asset(graph)],
        jobs=[*retrains.jobs, count, collect],
        schedules=[
            *retrains.schedules,
            served_photos.schedule(settings, graph, count),
            corrections.schedule(settings, graph, collect),
        ],
        sensors=[*retrains.sensors, *notifications.sensors(settings)],
        resources={"tracking": resource(Tracking.of(settings)), "progress": resource(progress)},
        executor=executor(settings),
    )
