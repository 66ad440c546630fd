"""The graph: assets, checks, sensors and schedules of these stages under these settings."""

from collections.abc import Sequence

import dagster as dg

from orchestration.config.catalog import STAGES, Stage
from orchestration.config.profiles import resolve, resolve_checks
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import notifications, production_encoder, sensors
from orchestration.pipeline.assets import all_assets
from orchestration.pipeline.executors import executor
from orchestration.pipeline.materialize import Workshop
from orchestration.storage.tracking import Tracking


def build(
    settings: Settings, stages: Sequence[Stage] = (*STAGES, production_encoder.STAGE), progress: Progress | None = None
) -> dg.Definitions:
    """The graph of these stages under the settings' profile. Raises ProfileError, BadSchedule or BadNotifier."""
    workshop = make_workshop(settings, stages)
    retrains = sensors.parts(settings, workshop)
    return dg.Definitions(
        assets=[*all_assets(stages, resolve(settings.profile, stages), workshop), retrains.scan],
        jobs=retrains.jobs,
        schedules=retrains.schedules,
        sensors=[*retrains.sensors, *notifications.sensors(settings)],
        resources={"tracking": Tracking.of(settings), "progress": dg.ResourceDefinition.hardcoded_resource(progress)},
        executor=executor(settings),
    )


def make_workshop(settings: Settings, stages: Sequence[Stage]) -> Workshop:
    """What the assets of these stages share. Raises ProfileError."""
    characters = dg.StaticPartitionsDefinition(settings.character_names())
    return Workshop(
        settings,
        characters,
        frozenset(stage.name for stage in stages if stage.by_character),
        {stage.name: stage for stage in stages},
        resolve_checks(settings.profile, stages),
    )
