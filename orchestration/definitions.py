"""What `dagster dev` opens. `likeness dagster` starts it with DAGSTER_HOME set to where `likeness run` records.

Dagster names a code location by this module, and keeps what sensors and schedules remember under that name: it stays.
"""

import dagster as dg

from orchestration.config.settings import Settings
from orchestration.pipeline.definitions import build


@dg.definitions
def defs() -> dg.Definitions:
    """The graph of the project that the environment names."""
    return build(Settings())
