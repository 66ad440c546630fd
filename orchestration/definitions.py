"""What `dagster dev` opens. `likeness dagster` starts it with DAGSTER_HOME set to where `likeness run` records."""

from collections.abc import Sequence

import dagster as dg

from orchestration import production
from orchestration.assets import all_assets
from orchestration.catalog import STAGES, Stage
from orchestration.configuration import resolve, resolve_checks
from orchestration.progress import Progress
from orchestration.settings import Settings
from orchestration.tracking import Tracking
from orchestration.workshop import Workshop

# Imported once in the parent of every step: a step then starts in a tenth of a second.
PRELOADED = ["orchestration.definitions", "torch", "mlflow", "dvc.repo"]


def build(
    settings: Settings, stages: Sequence[Stage] = (*STAGES, production.STAGE), progress: Progress | None = None
) -> dg.Definitions:
    """The graph of these stages under the settings' profile. Raises ProfileError."""
    workshop = make_workshop(settings, stages)
    return dg.Definitions(
        assets=all_assets(stages, resolve(settings.profile, stages), workshop),
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


def executor(settings: Settings) -> dg.ExecutorDefinition:
    """How runs that Dagster launches itself execute their steps."""
    if settings.executor == "in_process":
        return dg.in_process_executor
    start = {"forkserver": {"preload_modules": PRELOADED}}
    return dg.multiprocess_executor.configured({"max_concurrent": 2, "start_method": start})


@dg.definitions
def defs() -> dg.Definitions:
    return build(Settings())
