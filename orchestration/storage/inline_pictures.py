"""Pictures that earlier versions wrote into Dagster's events: taken out once, when a project of theirs is first opened.

Pictures of real people are linked now (`run_pictures`), so nothing that Dagster has recorded needs a change when a
photo is forgotten. No call of Dagster's changes an event, so the texts of its databases are searched, in whatever table
they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from orchestration.storage.version_index import VersionIndex

if TYPE_CHECKING:
    from sqlalchemy import URL

DONE = {"likeness/pictures": "linked"}
"""Kept in Dagster's own store of names and values, so that a database that several machines share is searched once."""
BEGIN = "](data:image/"
PICTURE = re.compile(r"!\[(?![^\]]* (?:by step|distributions)\])([^\]]*)\]\(data:image/[^)]*\)")
"""A picture in markdown, but for charts of figures. Base64 has no character that JSON escapes."""
SECONDS = 60
"""For which SQLite waits for another process."""


def take_out(instance: dg.DagsterInstance) -> None:
    """Replace every picture by a line that says where it is; nothing where it was done before.

    Raises sqlalchemy.exc.OperationalError when another process keeps a database locked.
    """
    marks = instance.daemon_cursor_storage
    if marks.get_cursor_values(set(DONE)) == DONE:
        return
    for url in _databases(instance):
        _take_out_of(url)
    marks.set_cursor_values(DONE)


def _databases(instance: dg.DagsterInstance) -> Iterator[URL]:
    """Dagster's events: with SQLite, a file for each run and one with an index of all."""
    with VersionIndex(instance).storage.index_connection() as connection:
        url = connection.engine.url
    if url.get_backend_name() != "sqlite":
        yield url
    elif url.database:
        yield from (url.set(database=str(file)) for file in sorted(Path(url.database).parent.glob("*.db")))


def _take_out_of(url: URL) -> None:
    import sqlalchemy as sa

    on_sqlite = url.get_backend_name() == "sqlite"
    engine = sa.create_engine(
        url, poolclass=sa.NullPool, connect_args={"timeout": SECONDS} if on_sqlite else {}, isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        tables, changed = sa.MetaData(), False
        tables.reflect(connection)
        for column in (column for table in tables.sorted_tables for column in table.c):
            if not isinstance(column.type, sa.String):
                continue
            keys = list(column.table.primary_key)
            for *at, text in connection.execute(sa.select(*keys, column).where(column.contains(BEGIN))).fetchall():
                shorter = PICTURE.sub(r"\1: see the MLflow run", text)
                this = sa.and_(*(key == value for key, value in zip(keys, at, strict=True)))
                connection.execute(sa.update(column.table).where(this).values({column.name: shorter}))
                changed = True
        if changed and on_sqlite:
            # What was overwritten, now or before, stays in a file's free pages otherwise, and in its log as long as
            # another process has it open.
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                connection.execute(sa.text(statement))
