"""PostgreSQL in the place of SQLite, for Dagster and MLflow alike: one setting, LIKENESS_DATABASE.

Dagster's tables lie in the database's default schema, where Dagster's Helm chart has them too, and MLflow's in a schema
of their own, because both keep their revision in a table `alembic_version`. `python -m orchestration.storage.postgres`
prepares the schema and prints what `mlflow server --backend-store-uri` wants.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from engine.errors import LikenessError
from orchestration.config.database_url import MLFLOW_SCHEMA
from orchestration.config.settings import Settings

ANSWERS_WITHIN = 5
"""Seconds."""


class DatabaseError(LikenessError):
    """The database does not answer, refuses, or is none; the message says what to do."""


def name_of(url: str) -> str:
    """Host, port and database."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"


def require(url: str) -> None:
    """Raises DatabaseError when the server does not let us in."""
    _connect(url).close()


def ask(url: str, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The rows that a query answers. Raises DatabaseError."""
    import psycopg2

    connection = _connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()
    except psycopg2.Error as error:
        raise DatabaseError(_told(url, error)) from error
    finally:
        connection.close()


@contextmanager
def schema(url: str, name: str) -> Iterator[None]:
    """The schema, made where it is missing; for the length of the block nobody else is in such a block.

    Raises DatabaseError.
    """
    import psycopg2
    from psycopg2 import errors, sql

    connection = _connect(url)
    connection.autocommit = True  # the lock is the connection's
    try:
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(hashtext(%s))", (f"schema {name}",))
            # Asked first: `create schema if not exists` wants the right to make one even where there is one.
            cursor.execute("select 1 from pg_namespace where nspname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("create schema {}").format(sql.Identifier(name)))
        yield
    except errors.InsufficientPrivilege as error:
        user = urlsplit(url).username
        raise DatabaseError(
            f"PostgreSQL at {name_of(url)}: {user} may not make the schema {name}: let the database's owner "
            f"run `create schema {name} authorization {user}`"
        ) from error
    except psycopg2.Error as error:
        raise DatabaseError(_told(url, error)) from error
    finally:
        connection.close()


def _connect(url: str):
    import psycopg2

    try:
        return psycopg2.connect(url.replace("+psycopg2", "", 1), connect_timeout=ANSWERS_WITHIN)
    except psycopg2.Error as error:
        raise DatabaseError(_told(url, error)) from error


def _told(url: str, error: BaseException) -> str:
    (why, *_) = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return (
        f"PostgreSQL at {name_of(url)} cannot be used ({why}): start the server, or correct LIKENESS_DATABASE "
        f"and its password (PGPASSWORD)"
    )


def lost(error: BaseException | None) -> str:
    """What to tell of an error that comes of a server that went away while it was used; "" for any other."""
    psycopg2, postgres = sys.modules.get("psycopg2"), sys.modules.get("dagster_postgres.utils")
    if psycopg2 is None or not (url := Settings().database):
        return ""
    kinds = (psycopg2.OperationalError, psycopg2.InterfaceError)
    if postgres is not None:
        kinds += (postgres.DagsterPostgresException,)
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, kinds):
            return _told(url, error)
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return ""


def main() -> None:
    settings = Settings()
    if not settings.database:
        sys.exit("error: LIKENESS_DATABASE is not set: postgresql://user@host/database")
    try:
        with schema(settings.database, MLFLOW_SCHEMA):
            pass
    except DatabaseError as error:
        sys.exit(f"error: {error}")
    print(settings.mlflow_database)


if __name__ == "__main__":
    main()
