"""What runs when, on what, and where it is recorded: Dagster, DVC, MLflow and the command line.

No component may phone home. A library reads its switch when it is imported, so they are set here, first of all.
"""

import os
import time

from models.memory import collect_seldom, keep_freed_memory

BEGAN = time.time()
"""When this process started, in seconds since 1970: of a command, before its imports."""

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    DVC_NO_ANALYTICS="1",
    DAGSTER_DISABLE_TELEMETRY="yes",
    RAY_USAGE_STATS_ENABLED="0",
    GX_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    HF_HUB_OFFLINE="1",
)
# MLflow looks for git at import and warns where there is none.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Or Pydantic looks for plugins in the metadata of all installed packages, and runs what it finds.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
# A minute at the most: retry_mlflow tries again, and without MLflow's long pauses.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
# A backfill waits for a code server that is away; without this it fails for good, since its assets seem to be gone.
os.environ.setdefault("DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR", "1")

keep_freed_memory()
collect_seldom()
