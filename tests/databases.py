"""SQLite without waiting for the disk: a test's database outlives a killed process, and need not outlive the machine.

MLflow and Dagster commit after every line of theirs, and each commit would wait for the disk for some hundredths of a
second.
"""

import sqlite3
from typing import Any

from sqlalchemy import Engine, event


@event.listens_for(Engine, "connect")
def _do_not_wait(connection: Any, record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
