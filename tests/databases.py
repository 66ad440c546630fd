"""SQLite as tests can afford it: real files, without waiting for the disk, and without opening them anew each time.

MLflow and Dagster commit after every line of theirs, and each commit would wait for the disk for some hundredths of a
second; a test's database outlives a killed process, and need not outlive the machine. Dagster makes an SQLAlchemy
engine and a connection for every single query: the engine forgets each time how statements are compiled, and closing
the only connection of a file ends its write-ahead log, which the next one begins again. That is a third of the time of
tests that make many small runs.
"""

import sqlite3
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any

from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool

HELD = 12
"""Files that are kept open: those of the projects that were used last."""
SHARED = ("runs.db", "index.db", "schedules.db")
"""What every query of an instance opens; the files of single runs are opened for a moment."""
_held: OrderedDict[Path, sqlite3.Connection] = OrderedDict()


@event.listens_for(Engine, "connect")
def _do_not_wait(connection: Any, record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


@lru_cache(maxsize=64)
def _engine(url: str, seconds: float) -> Engine:
    return create_engine(url, poolclass=NullPool, connect_args={"timeout": seconds})


def _opened(url: str, poolclass: Any = None, connect_args: Any = None) -> Engine:
    """What Dagster's storages call in the place of `create_engine`: the same engine for the same file."""
    file = Path(url.removeprefix("sqlite:///"))
    if file.name in SHARED and file.exists():
        _hold(file)
    return _engine(url, (connect_args or {}).get("timeout", 5.0))


def _hold(file: Path) -> None:
    """Keep one idle connection to a file. It takes no lock."""
    if file not in _held:
        _held[file] = sqlite3.connect(file, check_same_thread=False)
        _held[file].execute("SELECT count(*) FROM sqlite_master").fetchall()  # only now it is opened
        if len(_held) > HELD:
            _held.popitem(last=False)[1].close()
    _held.move_to_end(file)


for _storage in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
    setattr(_storage, "create_engine", _opened)  # noqa: B010  (pyright knows it as a function of SQLAlchemy)
