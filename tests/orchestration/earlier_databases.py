"""A project's databases as earlier versions of Dagster and MLflow left them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from mlflow.store.db.utils import _get_alembic_config

from orchestration.config.settings import Settings

MLFLOW_REVISION = "75868b020152"
"""The revision before the newest one; the same tables with fewer columns."""
DAGSTER_REVISION = "6b7fb194ff9c"
"""The revision before the one that added NEW_COLUMN."""
NEW_COLUMN = ("concurrency_limits", "using_default_limit")


def take_back(settings: Settings) -> None:
    """Undo the newest migrations of both. Nobody may have them open."""
    command.downgrade(_get_alembic_config(settings.mlflow_database), MLFLOW_REVISION)
    table, column = NEW_COLUMN
    for file in dagster_files(settings):
        with closing(sqlite3.connect(file)) as database:
            if column in columns(file, table):
                database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
            database.commit()
        stamp(file, DAGSTER_REVISION)


def stamp(file: Path, revision: str) -> None:
    """Let a database say that its tables are of this revision."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.commit()


def dagster_files(settings: Settings) -> list[Path]:
    """Dagster's databases."""
    return sorted(settings.dagster_home.rglob("*.db"))


def columns(file: Path, table: str) -> list[str]:
    """Names of a table's columns, none where there is no such table."""
    with closing(sqlite3.connect(file)) as database:
        return [name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")]


def revision(file: Path) -> str:
    """Of a database's tables."""
    with closing(sqlite3.connect(file)) as database:
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])
