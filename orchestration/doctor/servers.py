"""Dagster's storage, daemon, webserver and pools; MLflow's server or database."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import dagster as dg

from orchestration.config import addresses
from orchestration.config.files import is_locked
from orchestration.config.settings import Settings
from orchestration.doctor.diagnosis import Diagnosis

SECONDS, BEATS_WITHIN, SKEW = 4.0, 120.0, 60.0


def dagster(settings: Settings) -> Iterator[Diagnosis]:
    """Dagster's storage, its configuration, its daemon and its pools."""
    from orchestration.storage.instance import InstanceError, missing_sections, open_instance
    from orchestration.storage.postgres import DatabaseError

    if not (settings.dagster_home / "dagster.yaml").exists():
        yield Diagnosis.ok("Dagster", f"{settings.dagster_home}: the first `likeness run` makes it")
        return
    try:
        opened = open_instance(settings)
    except InstanceError as error:
        yield Diagnosis.error("Dagster", *str(error).split(": ", 1))
        return
    except DatabaseError as error:
        yield Diagnosis.error("Dagster", *str(error).rsplit(": ", 1))
        return
    with opened as instance:
        if sections := missing_sections(settings):
            detail = f"{settings.dagster_home / 'dagster.yaml'} is your own and says nothing of {', '.join(sections)}"
            yield Diagnosis.warning(
                "dagster.yaml", detail, "add them as you want them, or remove the file: it is made anew"
            )
        yield _storage(settings, instance)
        yield _daemon(settings, instance)
        yield from _pools(settings, instance)


def profile(settings: Settings) -> Iterator[Diagnosis]:
    """Whether commands and daemon would make nearly everything again."""
    from orchestration.pipeline.production_encoder import PIPELINE
    from orchestration.storage import accepted_profile
    from orchestration.storage.instance import InstanceError, open_instance
    from orchestration.storage.postgres import DatabaseError

    name, known = accepted_profile.name_of(settings), ""
    if (settings.dagster_home / "dagster.yaml").exists():
        try:
            with open_instance(settings) as instance:
                known = accepted_profile.before(settings, instance, PIPELINE)
        except (InstanceError, DatabaseError):
            return  # which is what "Dagster" tells
    if known:
        remedy = accepted_profile.remedy(settings, known, "likeness run")
        yield Diagnosis.warning("profile", accepted_profile.question(settings, known, PIPELINE), remedy)
    else:
        yield Diagnosis.ok("profile", name)


def executor(settings: Settings) -> Iterator[Diagnosis]:
    """Whether the steps of a run can be executed where the settings say."""
    from orchestration.pipeline.executors import ExecutorError, require_reachable

    if settings.executor == "ray":
        try:
            require_reachable(settings)
        except ExecutorError as error:
            yield Diagnosis.error("executor", *str(error).rsplit(": ", 1))
            return
    yield Diagnosis.ok("executor", settings.executor)


def _storage(settings: Settings, instance: dg.DagsterInstance) -> Diagnosis:
    runs = instance.get_runs_count()
    parts = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
    versions = [part.alembic_version() for part in parts if part]
    old = [version for version in versions if version and version[0] != version[1]]
    where = f"{type(instance.run_storage).__name__}, {runs} runs"
    remedy = f"DAGSTER_HOME={settings.dagster_home} dagster instance migrate"
    return Diagnosis.of("Dagster", not old, f"{where}, tables of an older version" if old else where, remedy)


def _daemon(settings: Settings, instance: dg.DagsterInstance) -> Diagnosis:
    """Heartbeats of every daemon that the instance needs, where one should run."""
    statuses = [status for status in instance.get_daemon_statuses().values() if status.required]
    beats = {status.daemon_type: status.last_heartbeat for status in statuses}
    ages = {name: time.time() - beat.timestamp if beat else float("inf") for name, beat in beats.items()}
    silent = sorted(name for name, age in ages.items() if age > BEATS_WITHIN)
    errors = [error.message for beat in beats.values() if beat for error in beat.errors or []]
    if not silent:
        detail = f"alive, heard {max(ages.values(), default=0):.0f} s ago"
        if errors:
            return Diagnosis.warning("daemon", f"{detail}; {' '.join(errors[0].split())[:200]}", "see its log")
        return Diagnosis.ok("daemon", detail)
    if addresses.running(settings):
        logs = settings.home / "logs" / "dagster-daemon.log"
        return Diagnosis.error("daemon", f"nothing heard of {', '.join(silent)}", f"see {logs}")
    if on := _switched_on(instance):
        return Diagnosis.warning("daemon", f"not running, but {', '.join(on)} would be started by it", "likeness start")
    return Diagnosis.ok("daemon", "not running; `likeness start` runs it")


def _switched_on(instance: dg.DagsterInstance) -> list[str]:
    """Schedules and sensors that somebody turned on."""
    return sorted(
        state.origin.instigator_name for state in instance.all_instigator_state() if state.status.value == "RUNNING"
    )


def _pools(settings: Settings, instance: dg.DagsterInstance) -> Iterator[Diagnosis]:
    """Slots that ended runs still hold."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    for pool in sorted(storage.get_concurrency_keys()):
        holders = {slot.run_id for slot in storage.get_concurrency_info(pool).claimed_slots}
        stale = [run for run in holders if _is_dead(settings, instance.get_run_by_id(run))]
        if stale:
            detail = f"held by {', '.join(run[:8] for run in stale)}, which ended without giving it back"
            yield Diagnosis.warning(
                f"pool {pool}", detail, "the next `likeness run` frees it, and the daemon after a minute"
            )
        else:
            yield Diagnosis.ok(f"pool {pool}", f"{len(holders)} slots in use")


def _is_dead(settings: Settings, run: dg.DagsterRun | None) -> bool:
    from orchestration.storage.instance import is_elsewhere, is_of_command

    if run is None or run.is_finished:
        return True
    if is_elsewhere(settings, run):
        return False  # its lock is where it is
    return is_of_command(run) and not is_locked(settings.home / "run.lock")


def webserver(settings: Settings) -> Iterator[Diagnosis]:
    """The pages of `likeness start`, where it runs."""
    listening = addresses.running(settings)
    if not listening:
        yield Diagnosis.ok("services", "not started; `likeness start` runs Dagster's and MLflow's servers")
        return
    try:
        about, _ = _get(f"{listening['dagster']}/server_info")
    except OSError as error:
        log = settings.home / "logs" / "dagster-webserver.log"
        yield Diagnosis.error(
            "webserver", f"{listening['dagster']}: {error}", f"it is started again by itself; see {log}"
        )
        return
    version = json.loads(about)["dagster_webserver_version"]
    same = version == dg.__version__
    detail = f"{listening['dagster']}, version {version}"
    yield (
        Diagnosis.ok("webserver", detail)
        if same
        else Diagnosis.warning("webserver", detail, "restart `likeness start`")
    )


def mlflow(settings: Settings) -> Iterator[Diagnosis]:
    """MLflow's server, or its database."""
    listening = addresses.running(settings).get("mlflow", "")
    if settings.mlflow_server:
        yield from _mlflow_server(settings.mlflow_uri.rstrip("/"), "start it, or correct LIKENESS_MLFLOW_URI")
        return
    if listening:
        yield from _mlflow_server(listening, f"it is started again by itself; see {settings.home}/logs/mlflow.log")
    yield _mlflow_database(settings)


def _mlflow_server(url: str, remedy: str) -> Iterator[Diagnosis]:
    import importlib.metadata

    try:
        version, headers = _get(f"{url}/version")
    except OSError as error:
        yield Diagnosis.error("MLflow server", f"{url}: {error}", remedy)
        return
    own = importlib.metadata.version("mlflow")
    detail = f"{url}, version {version}"
    if version.split(".")[0] != own.split(".")[0]:
        yield Diagnosis.error(
            "MLflow server", f"{detail}, this is {own}", "install the same major version on both sides"
        )
    elif version != own:
        yield Diagnosis.warning("MLflow server", f"{detail}, this is {own}", "install the same version on both sides")
    else:
        yield Diagnosis.ok("MLflow server", detail)
    skew = abs(parsedate_to_datetime(headers["Date"]).timestamp() - time.time()) if headers.get("Date") else 0.0
    if skew > SKEW:
        yield Diagnosis.warning(
            "clock", f"{skew:.0f} s apart from {url}", "synchronise both (chrony, systemd-timesyncd)"
        )


def _mlflow_database(settings: Settings) -> Diagnosis:
    from orchestration.storage import mlflow_files
    from orchestration.storage.tracking import Tracking

    if mlflow_files.is_unmade(settings.tracking_uri):
        file = settings.tracking_uri.removeprefix(mlflow_files.SQLITE)
        return Diagnosis.ok("MLflow", f"{file}: the first `likeness run` makes it")
    try:
        # It compares the tables' version with its own, too.
        why_not = Tracking.of(settings).why_no_experiment()
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        remedy = f"correct LIKENESS_MLFLOW_URI, or: mlflow db upgrade {settings.tracking_uri}"
        return Diagnosis.error("MLflow", f"{settings.tracking_uri}: {reason}", remedy)
    if why_not:
        return Diagnosis.error("MLflow", *why_not.split(": ", 1))
    if others := mlflow_files.others(settings.tracking_uri, settings.model_files):
        detail = f"{settings.tracking_uri} keeps files in {others[0]}, not in this home's {settings.model_files}"
        remedy = "a project of its own has a database of its own: LIKENESS_DATABASE, LIKENESS_MLFLOW_URI"
        return Diagnosis.warning("MLflow", detail, remedy)
    return Diagnosis.ok("MLflow", settings.tracking_uri)


def _get(url: str) -> tuple[str, Any]:
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        return answer.read().decode(), answer.headers
