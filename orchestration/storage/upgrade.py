"""Bringing what earlier versions of Dagster and MLflow wrote up to the installed ones.

Both migrate forwards alone. Dagster does nothing unasked; MLflow makes tables that are missing and refuses where only
columns are. So it is a command of its own, `likeness upgrade`: on a cluster the database is everybody's, and code of
before may still be at work on it.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import redirect_stdout

import dagster as dg

from orchestration.config.settings import Settings
from orchestration.storage import mlflow_client
from orchestration.storage.mlflow_files import is_unmade
from orchestration.storage.postgres import DatabaseError


def upgrade_dagster(instance: dg.DagsterInstance) -> None:
    """Migrate Dagster's tables; nothing where they are up to date. What Dagster says of it goes to stderr."""
    with redirect_stdout(sys.stderr):
        instance.upgrade()


def upgrade_mlflow(settings: Settings) -> bool:
    """Migrate MLflow's tables; False where its server has them, which migrates them itself. Raises DatabaseError."""
    uri = settings.tracking_uri
    if settings.mlflow_server:
        return False
    if is_unmade(uri):
        return True
    with mlflow_client.alone(uri):
        command = [sys.executable, "-m", "mlflow", "db", "upgrade", uri]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[-300:]
        raise DatabaseError(
            f"MLflow could not migrate its tables ({said}): restore the backup, and report it to MLflow"
        )
    return True
