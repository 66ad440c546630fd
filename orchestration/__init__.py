"""What runs when, on what, and where it is recorded: Dagster, DVC, MLflow and the command line.

No component may phone home. A library reads its switch when it is imported, so they are set here, first of all.
"""

import ctypes
import os

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
# A minute at the most: tracking.insist tries again, and without MLflow's long pauses.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed instead of giving it back to the kernel.

    A training step frees and takes the same few hundred megabytes, and paging them in anew each time is slow: the
    identity model's forward pass took up to twice as long. Only glibc has this switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


_keep_freed_memory()
