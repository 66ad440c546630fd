"""What `dagster dev` opens. `likeness dagster` starts it with DAGSTER_HOME set to where `likeness run` records."""

from collections.abc import Sequence

import dagster as dg

from orchestration.assets import all_assets
from orchestration.catalog import STAGES, Stage
from orchestration.configuration import resolve, resolve_checks
from orchestration.execution.executors import executor
from orchestration.progress import Progress
from orchestration.promotion import production
from orchestration.retraining import notifications, sensors
from orchestration.settings import Settings
from orchestration.tracking import Tracking
from orchestration.workshop import Workshop


def build(
    settings: Settings, stages: Sequence[Stage] = (*STAGES, production.STAGE), progress: Progress | None = None
) -> dg.Definitions:
    """The graph of these stages under the settings' profile. Raises ProfileError, BadSchedule or BadNotifier."""
    workshop = make_workshop(settings, stages)
    retrains = sensors.parts(settings, workshop)
    return dg.Definitions(
        assets=[*all_assets(stages, resolve(settings.profile, stages), workshop), retrains.look],
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


@dg.definitions
def defs() -> dg.Definitions:
    return build(Settings())
