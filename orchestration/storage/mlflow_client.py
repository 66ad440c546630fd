"""MLflow's own client, opened: tables are made by one process at a time, and a server that is down is asked again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from engine.errors import LikenessError
from orchestration.config.files import lock
from orchestration.config.imports import entry_points_once
from orchestration.config.retries import with_retries
from orchestration.storage import mlflow_files, postgres

if TYPE_CHECKING:
    from mlflow import MlflowClient

ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""Codes of MLflow's errors: there is no such run, experiment, model or version."""
PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
FULL = ("database or disk is full", "No space left on device")
"""In what SQLite and PostgreSQL say, and MLflow repeats under a code of `PASSING`, where waiting does not help."""
MADE_AT_ONCE = ("UNIQUE constraint failed", "UniqueViolation")
"""In what MLflow says where two processes made the same row at once, such as a data set that both read; the next call
finds it."""
OUT_OF_DATE = "out-of-date database schema"
"""In what MLflow says of tables of another version, where none is missing. It makes missing ones by itself."""
PATIENCE = 600.0
"""Seconds to wait for MLflow before a stage fails."""
T = TypeVar("T")


class OutOfDate(LikenessError):
    """MLflow's tables are those of another version; the message says what to do."""


class TrackingUnreachable(LikenessError):
    """MLflow did not answer for as long as it was waited for."""


@cache
def import_mlflow() -> None:
    """Import MLflow, as all do who need it first."""
    with entry_points_once():
        import mlflow  # noqa: F401


def open_client(uri: str, files: str = "") -> MlflowClient:
    """A client of MLflow's server or database, both for runs and for registered models.

    files: the folder for files where no server keeps them. Raises DatabaseError, OutOfDate, or MLflow's own errors.
    """
    import_mlflow()
    from mlflow import MlflowClient

    # Set after the import, which sets them to say everything.
    for library in ("alembic", "mlflow"):
        logging.getLogger(library).setLevel(logging.ERROR)
    if "://" in uri and not uri.startswith("http"):
        _make_tables(uri)
        if files:
            mlflow_files.use_files(uri, Path(files))
    return MlflowClient(uri, uri)


@cache
def _make_tables(uri: str) -> None:
    """Let MLflow make or migrate its tables, once in a process and in one process at a time: two at once fail."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with alone(uri):
        try:
            MlflowClient(uri, uri).search_experiments(max_results=1)
        except MlflowException as error:
            if OUT_OF_DATE not in str(error):
                raise
            raise OutOfDate(
                "MLflow's tables are not those of the installed version: where an older one wrote them, stop what is "
                "at work on this project, `likeness start` too, make a `likeness backup DIR`, then call `likeness "
                "upgrade`; where a newer one did, install that"
            ) from error


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """For the length of the block no other process makes or migrates MLflow's tables. Raises DatabaseError."""
    if not uri.startswith(mlflow_files.SQLITE):
        with postgres.schema(uri, postgres.MLFLOW_SCHEMA):
            yield
        return
    file = Path(uri.removeprefix(mlflow_files.SQLITE))
    with lock(file.with_name(f".{file.name}.lock")):
        _require_database(file)
        yield


def _require_database(file: Path) -> None:
    """MLflow opens a file that is no database ten times, for a hundred seconds in all, before it says so.

    Raises DatabaseError.
    """
    import sqlite3
    from contextlib import closing

    if not file.is_file():
        return
    with closing(sqlite3.connect(file)) as database:
        try:
            database.execute("PRAGMA schema_version")
        except sqlite3.OperationalError:
            return  # busy: MLflow waits
        except sqlite3.DatabaseError as error:
            raise postgres.DatabaseError(f"{file}: {error}") from error


def retry_mlflow(call: Callable[[], T], patience: float | None = None, closed: Event | None = None) -> T:
    """What the call returns, tried again while MLflow cannot be reached. Raises TrackingUnreachable, or its error."""
    from tenacity import stop_after_delay

    patience = PATIENCE if patience is None else patience
    try:
        return with_retries(call, _may_pass, stop_after_delay(patience), closed)
    except Exception as error:
        if not _may_pass(error):
            raise
        raise TrackingUnreachable(f"MLflow did not answer for {patience:.0f} s: {error}") from error


def _may_pass(error: BaseException) -> bool:
    """No answer, or one that says that the server or its database cannot at the moment."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ConnectionError, Timeout

    if isinstance(error, MlflowException):
        if any(words in str(error) for words in FULL):
            return False
        return error.error_code in PASSING or any(words in str(error) for words in MADE_AT_ONCE)
    return isinstance(error, ConnectionError | Timeout)


def is_absent(error: BaseException) -> bool:
    """Whether MLflow answered that there is no such run, experiment, model or version."""
    return getattr(error, "error_code", "") in ABSENT


def require_server(uri: str) -> None:
    """Ask the server for a sign of life, for seconds and not for the minute that MLflow's own calls take.

    Raises MLflow's own error where nothing answers; a database is not asked.
    """
    if not uri.startswith("http"):
        return
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    http_request(
        get_default_host_creds(uri), "/health", "GET",
        max_retries=2, backoff_factor=0.5, timeout=20, raise_on_status=False,
    )  # fmt: skip
