"""Rows of old runs that are erased, and room that databases give back.

MLflow's public way, `mlflow gc`, also erases every experiment and logged model that somebody deleted and may want back,
so one run is erased as that command erases it. Dagster deletes a run and its events, and leaves what checks found in
it. tests/orchestration/test_retention.py says what both must do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.config.settings import Settings
from orchestration.storage.dagster_internals import AssetCheckExecutionsTable, RunsTable, RunTagsTable, SqlRunStorage
from orchestration.storage.mlflow_client import open_client
from orchestration.storage.version_index import VersionIndex


def erase_tracked(settings: Settings, run: str) -> None:
    """Erase a run of MLflow's with its metrics, parameters and tags. A server's own it can only mark as deleted, until
    `mlflow gc` is called where the server is.
    """
    if settings.mlflow_server:
        open_client(settings.tracking_uri).delete_run(run)
    else:
        _store(settings.tracking_uri, settings.model_files.as_uri())._hard_delete_run(run)


def erase_runs(instance: dg.DagsterInstance, runs: Sequence[str]) -> None:
    """Erase runs of Dagster's, their events, and what checks found in them, in two transactions for all of them.

    In SQLite each run has a database of its own besides, a file that is the caller's to delete: Dagster's `delete_run`
    would bring the tables of each up to date first.
    """
    storage, checks = VersionIndex(instance).storage, AssetCheckExecutionsTable
    with storage.index_connection() as connection:
        connection.execute(checks.delete().where(checks.c.run_id.in_(runs)))
        for run in runs:
            storage.delete_events_for_run(connection, run)
    run_storage = instance.run_storage
    assert isinstance(run_storage, SqlRunStorage), "every storage of Dagster's that outlives a process is SQL"
    with run_storage.connect() as connection:
        for table in (RunTagsTable, RunsTable):
            connection.execute(table.delete().where(table.c.run_id.in_(runs)))


@cache
def _store(uri: str, files: str) -> Any:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(uri, files)


def compact(file: Path) -> int:
    """Give back to the disk what deleted rows of an SQLite database took; bytes. 0 where somebody is at work in it."""
    before = file.stat().st_size
    try:
        with closing(sqlite3.connect(file, timeout=5)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError:
        return 0
    return max(before - file.stat().st_size, 0)
