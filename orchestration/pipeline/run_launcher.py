"""Dagster's default run launcher, able to say whether a run's worker still works.

A code server notices when a worker dies, but who notices when the code server died with it, as when a machine restarts?
Without this the run would stay "started" for ever, hold its slot of the device pool, and its character would never be
retrained. Dagster's run monitoring asks; it then fails the run, and run retries make it once more.
"""

from __future__ import annotations

import json

import dagster as dg

from orchestration.storage.dagster_internals import (
    GRPC_INFO_TAG,
    CheckRunHealthResult,
    WorkerStatus,
    is_known_to_code_server,
)

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
ANSWERS_WITHIN = 10  # seconds


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Asks the code server that started a worker; where that is gone, looks for the worker's process."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        if GRPC_INFO_TAG not in run.tags:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "it runs in somebody else's process, who watches it")
        server = json.loads(run.tags[GRPC_INFO_TAG])
        where = {name: server.get(name) for name in ("host", "port", "socket")}
        where["use_ssl"] = bool(server.get("use_ssl"))
        known = is_known_to_code_server(run.run_id, where, ANSWERS_WITHIN)
        if known:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if known is None and server.get("host") not in LOCAL_HOSTS:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its code server on another machine does not answer")
        if _process_lives(self._instance, run):
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its code server is gone, its own process is not")
        return CheckRunHealthResult(WorkerStatus.FAILED, "its process is gone")


def _process_lives(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process that said it works on the run is still there, and no later one with its number."""
    import psutil

    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        pid = entry.dagster_event.engine_event_data.metadata.get("pid") if entry.dagster_event else None
        if pid is None:
            continue
        try:
            process = psutil.Process(int(str(pid.value)))
            if process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= entry.timestamp:
                return True
        except (psutil.NoSuchProcess, ValueError):
            continue
    return False
