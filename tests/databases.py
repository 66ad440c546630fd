"""SQLite as tests can afford it: real files, without waiting for the disk, and without opening them anew each time.

MLflow and Dagster commit after every line of theirs, and each commit would wait for the disk for some hundredths of a
second; a test's database outlives a killed process, and need not outlive the machine. Dagster makes an SQLAlchemy
engine and a connection for every single query: the engine forgets each time how statements are compiled, and closing
the only connection of a file ends its write-ahead log, which the next one begins again. And it makes a database for
every run, for which it reads all its migrations twice. That is more than a third of the time of tests that make many
small runs.
"""

import os
import shutil
import sqlite3
import tempfile
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import diskcache.core
from dagster._core.storage import sql
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Engine, QueuePool, create_engine, event
from sqlalchemy.pool import NullPool

HELD = 24
"""Files that are kept open: those that were used last."""
_engines: OrderedDict[tuple[str, int, float], Engine] = OrderedDict()
_of_the_parent: list[Any] = []
"""Connections that a forked process must neither use nor close."""


@event.listens_for(Engine, "connect")
def _do_not_wait(connection: Any, record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def _opened(url: str, poolclass: Any = None, connect_args: Any = None) -> Engine:
    """What Dagster's storages call for `create_engine`: the same engine and connections for the same file."""
    seconds = (connect_args or {}).get("timeout", 5.0)
    try:
        file = Path(url.removeprefix("sqlite:///")).stat().st_ino  # a file that was put in its place is another one
    except FileNotFoundError:
        return create_engine(url, poolclass=NullPool, connect_args={"timeout": seconds})
    key = (url, file, seconds)
    if key not in _engines:
        lent = {"timeout": seconds, "check_same_thread": False}
        _engines[key] = engine = create_engine(url, poolclass=QueuePool, max_overflow=-1, connect_args=lent)
        engine.dispose = lambda close=True: None  # Dagster does so after every query
        if len(_engines) > HELD:
            _engines.popitem(last=False)[1].pool.dispose()
    _engines.move_to_end(key)
    return _engines[key]


def _forked() -> None:
    _of_the_parent.extend(_engines.values())
    _engines.clear()


@cache
def _empty_run() -> Path:
    """A run's database with no event yet, as Dagster makes it."""
    folder = tempfile.mkdtemp(prefix="empty_run_")
    storage = SqliteEventLogStorage(folder)
    file = storage.path_for_shard("empty")
    _make_tables(storage, create_engine(storage.conn_string_for_shard("empty"), poolclass=NullPool))
    return Path(file)


def _init_database(storage: SqliteEventLogStorage, engine: Engine, for_index_shard: bool = False) -> None:
    """In the place of `_initdb`: where a run has no database yet, a copy of an empty one."""
    file = Path(str(engine.url.database))
    if for_index_shard or file.exists():
        _make_tables(storage, engine, for_index_shard)
    else:
        beside = file.with_suffix(f".{os.getpid()}")
        shutil.copyfile(_empty_run(), beside)
        beside.rename(file)


diskcache.core.DEFAULT_SETTINGS["sqlite_synchronous"] = 0  # DVC's
_make_tables = SqliteEventLogStorage._initdb
setattr(SqliteEventLogStorage, "_initdb", _init_database)  # noqa: B010
sql.ScriptDirectory.from_config = cache(sql.ScriptDirectory.from_config)
for _storage in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
    setattr(_storage, "create_engine", _opened)  # noqa: B010  (pyright knows it as a function of SQLAlchemy)
os.register_at_fork(after_in_child=_forked)
