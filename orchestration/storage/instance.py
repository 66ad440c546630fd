"""The Dagster instance: its storage in the home folder, one heavy step at a time on each device."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import yaml
from sqlalchemy.exc import InternalError, OperationalError

from engine.errors import LikenessError
from orchestration.config.database_url import engine_url
from orchestration.config.files import Timeout, lock, write_whole
from orchestration.config.settings import CLUSTERS, Settings
from orchestration.storage import inline_pictures, postgres
from orchestration.storage.dagster_internals import WorkerStatus, all_daemons_live

QUIET = """\
telemetry:
  enabled: false
nux:
  enabled: false
"""
# The second limit: what two retrains of one character share is their partition.
CONCURRENCY = """\
concurrency:
  pools:
    default_limit: 1
    granularity: op
  runs:
    max_concurrent_runs: 4
    tag_concurrency_limits:
      - key: dagster/partition
        value:
          applyLimitPerUniqueValue: true
        limit: 1
"""
# A code server that was killed is away for a moment: without this, Dagster fails for good what it was to start then.
QUEUE = """\
run_coordinator:
  module: orchestration.pipeline.run_coordinator
  class: AttributingRunCoordinator
  config:
    max_user_code_failure_retries: 60
    user_code_failure_retry_delay: 10
"""
# Steps retry by themselves (orchestration/pipeline/retry_policy.py); this is for a run whose worker died.
RECOVERY = """\
run_monitoring:
  enabled: true
  poll_interval_seconds: 30
  start_timeout_seconds: 300
  free_slots_after_run_end_seconds: 60
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
run_launcher:
  module: orchestration.pipeline.run_launcher
  class: WatchedRunLauncher
"""
DAEMON = """\
sensors:
  use_threads: true
  num_workers: 4
schedules:
  use_threads: true
  num_workers: 2
freshness:
  enabled: true
retention:
  sensor:
    purge_after_days:
      skipped: 7
      failure: 90
      success: 365
  schedule:
    purge_after_days: 365
  auto_materialize:
    purge_after_days: 30
"""
POSTGRES = """\
storage:
  postgres:
    postgres_url: {url}
"""
WRITTEN_BY_US = "# Written by likeness, and rewritten by later versions as long as it is as written ({checksum})."
# What earlier versions wrote, before the checksum stood in the file itself.
EARLIER = ("9208dee9e44e6e91", "5353376bc70fddab")
POOL = "device"
"""Steps of this pool take turns: two trainings side by side on one device take as long as one after the other."""
RUN_TAG = "likeness/run"
HOME_TAG = "likeness/home"
"""On runs of a `likeness run`: the home folder whose lock says whether it is at work."""
SCAN_TAG = "likeness/look"
AUTOMATION_TAG = "likeness/automation"
"""On runs that the daemon makes by its conditions."""
RETRAINING_TAG = "likeness/retraining"
"""The id of the retraining that a run belongs to (orchestration/pipeline/retraining.py)."""
WHY_TAG = "likeness/why"
"""What had changed, so that the first asset of a run had to be made."""
CHARACTER_TAG = "likeness/character"
"""On all runs of a `likeness run`, also on those that make what characters share."""
PROFILE_TAG = "likeness/profile"
HEARD_OF_WITHIN = 120  # seconds: a daemon that was not is gone
ASKED_FOR = 0.5
"""Seconds that the lock of a run is tried for: who only asks whether it is held takes it for an instant."""
UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


class AlreadyRunning(LikenessError):
    """Another `likeness run`, or Dagster's daemon, is at work on this project."""


class InstanceError(LikenessError):
    """dagster.yaml does not say what the settings say, and is not ours to change; or Dagster's record is locked."""


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The persistent instance, made where there is none. Raises InstanceError or DatabaseError."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    write_config(settings.dagster_home / "dagster.yaml", settings)
    if settings.database:
        postgres.require(settings.database)
    instance = dg.DagsterInstance.from_config(str(settings.dagster_home))
    limit_pool(settings, instance)
    try:
        inline_pictures.take_out(instance)
    except OperationalError as error:
        raise InstanceError(
            f"pictures that an earlier version wrote into Dagster's record are to be taken out of it ({error.orig}): "
            "stop what is at work on this project, `likeness start` too, and try again"
        ) from error
    return instance


def limit_pool(settings: Settings, instance: dg.DagsterInstance) -> None:
    """Let as many GPU steps run at once as the settings say. On one machine it stays one: nobody deals out its GPUs."""
    storage = instance.event_log_storage
    limits = {limit.name: limit.limit for limit in storage.get_pool_limits()}
    if settings.gpu_steps is not None and settings.executor in CLUSTERS:
        if limits.get(POOL) != settings.gpu_steps:
            storage.set_concurrency_slots(POOL, settings.gpu_steps)
    elif settings.database and POOL not in limits:
        # Made by two runs at once in PostgreSQL, the second run would fail (findings/dagster_first_pool_twice.sh). Here
        # the error of the second says that the pool is there by now.
        with suppress(InternalError):
            storage.initialize_concurrency_limit_to_default(POOL)


def write_config(path: Path, settings: Settings) -> None:
    """Write dagster.yaml, or bring it up to date where nobody but us wrote it.

    Raises InstanceError where somebody did and the settings name PostgreSQL, but the file no storage.
    """
    wanted, found = dagster_yaml(settings), path.read_text() if path.exists() else ""
    if found and not is_ours(found):
        if settings.database and "storage" not in (yaml.safe_load(found) or {}):
            raise InstanceError(
                f"LIKENESS_DATABASE is set, but {path} is your own: remove it, or add to it\n{_storage(settings)}"
            )
    elif found != wanted:
        write_whole(path, wanted)


def dagster_yaml(settings: Settings) -> str:
    """The instance's configuration as this version and these settings want it."""
    body = "".join((QUIET, CONCURRENCY, QUEUE, RECOVERY, DAEMON)) + _storage(settings)
    return f"{WRITTEN_BY_US.format(checksum=_checksum(body))}\n{body}"


def _storage(settings: Settings) -> str:
    return POSTGRES.format(url=engine_url(settings.database)) if settings.database else ""


def is_ours(text: str) -> bool:
    """Whether nobody has changed this dagster.yaml since likeness wrote it."""
    first, _, body = text.partition("\n")
    return first == WRITTEN_BY_US.format(checksum=_checksum(body)) or _checksum(text) in EARLIER


def missing_sections(settings: Settings) -> list[str]:
    """Sections of our dagster.yaml that a person's own lacks."""
    config = settings.dagster_home / "dagster.yaml"
    wanted = yaml.safe_load(dagster_yaml(settings))
    has = yaml.safe_load(config.read_text()) if config.exists() else wanted
    return sorted(set(wanted) - set(has or {}))


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lock_file(settings: Settings) -> Path:
    """Locked by the `likeness run` that is at work."""
    return settings.home / "run.lock"


def home_id(settings: Settings) -> str:
    """What tells this home folder from others that share its database. A machine's name would not: a container gets
    another one each time.
    """
    file = settings.home / "locks" / "home.id"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, uuid.uuid4().hex)
    return file.read_text()


@contextmanager
def only_runner(settings: Settings, instance: dg.DagsterInstance, moved: bool = False) -> Iterator[None]:
    """One `likeness run` at a time, and none beside a run of Dagster's daemon; what an interrupted one left is closed.

    A process that was killed cannot give its slot of the device pool back, and the next run would wait for it for ever.
    Of one on another machine that shares the database nobody here can tell whether it was killed: it is left alone,
    unless the records `moved` here from where it was. Raises AlreadyRunning.
    """
    running = lock(lock_file(settings), ASKED_FOR)
    try:
        running.acquire()
    except Timeout as error:
        raise AlreadyRunning("another `likeness run` is at work here: wait for it, or stop it") from error
    try:
        run = daemon_run(instance)
        unfinished = instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)))
        elsewhere = [] if moved else [run for run in unfinished if is_elsewhere(settings, run)]
        if run := run or next(iter(elsewhere), None):
            assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or run.job_name
            who = "A `likeness run` on another machine" if run in elsewhere else "Dagster"
            raise AlreadyRunning(
                f"{who} makes {assets} (run {run.run_id[:8]}, {run.status.value.lower()}): wait for it, or cancel it "
                "on its page, `likeness dagster`"
            )
        # Only these: another machine may have begun one since.
        _close_dead_runs(instance, unfinished)
        yield
    finally:
        running.release()


@contextmanager
def keeping_files(settings: Settings, patience: float = ASKED_FOR) -> Iterator[None]:
    """Nothing is deleted for as long as the block takes, since a backup copies it; and nothing is copied of what is
    being deleted. patience: seconds to wait for another such block. Raises AlreadyRunning.
    """
    held = lock(settings.home / "locks" / "files.lock", patience)
    try:
        held.acquire()
    except Timeout as error:
        raise AlreadyRunning(
            "a `likeness backup`, `clean`, `forget` or `corrections --collect` is at work here: wait for it, or stop it"
        ) from error
    try:
        yield
    finally:
        held.release()


def is_of_command(run: dg.DagsterRun) -> bool:
    """Whether a `likeness run` makes it, at a terminal. Its tag alone proves nothing: who launches a run on Dagster's
    pages gives it any tags. But all that they and the daemon launch has an origin, which a command's run has not.
    """
    return RUN_TAG in run.tags and run.remote_job_origin is None


def is_elsewhere(settings: Settings, run: dg.DagsterRun) -> bool:
    """Whether a `likeness run` of another home folder makes it. Without a database to share, records are of one home;
    runs of earlier versions do not say of which they are, and count as this one's.
    """
    own = home_id(settings) if settings.database else ""
    return bool(own) and is_of_command(run) and run.tags.get(HOME_TAG, own) != own


def daemon_run(instance: dg.DagsterInstance) -> dg.DagsterRun | None:
    """A run that another process makes or is about to make, None where there is none; a look disturbs nobody."""
    for run in instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED))):
        if not is_of_command(run) and SCAN_TAG not in run.tags and _is_alive(instance, run):
            return run
    return None


def _is_alive(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a daemon is there to start it, or to close it when it died; without one, whether its worker works."""
    if all_daemons_live(instance, heartbeat_tolerance_seconds=HEARD_OF_WITHIN):
        return True
    if run.status != dg.DagsterRunStatus.STARTED:
        return False
    launcher = instance.run_launcher
    # One that cannot be asked may live; a person can cancel it.
    return not launcher.supports_check_run_worker_health or (
        launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    )


def _close_dead_runs(instance: dg.DagsterInstance, unfinished: Iterable[dg.DagsterRun]) -> None:
    """Close what nobody works on any more of these, and give back its slots.

    What a daemon left is cancelled and not failed, so that the next daemon does not retry it: this run makes it.
    """
    for run in unfinished:
        if is_of_command(run):
            instance.report_run_failed(run, "its process ended before it did")
        elif SCAN_TAG not in run.tags and not _is_alive(instance, run):
            instance.report_run_canceled(run, "neither its process nor Dagster's daemon is there any more")
        else:
            continue
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


if __name__ == "__main__":
    # For servers that start before any other command has: python -m orchestration.storage.instance
    with open_instance(Settings()) as opened:
        print(opened.root_directory)
