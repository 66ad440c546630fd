"""MLflow's files are read and written where their project lies now, although MLflow names them by absolute paths.

A move or a copy of a project makes the paths in MLflow's tables wrong, and no call of MLflow's client corrects them. So
they stay as they are, and MLflow's plugin for local folders (mlflow_plugin.py) opens the same folder of this home.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SQLITE = "sqlite:///"
LOCAL_ROOT = re.compile(r"((?:file://)?/.*/mlflow/files)(?:/|$)")
"""The folder for files of some home (`Settings.model_files`), at the begin of a location."""
SERVER_STORE, SERVER_FILES = "_MLFLOW_SERVER_FILE_STORE", "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""In the environment of an MLflow server's workers: its database, and --default-artifact-root."""
_homes: dict[str, Path] = {}


def is_unmade(uri: str) -> bool:
    """Whether this is a file of SQLite in which MLflow has made no tables yet."""
    return uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file()


def note_files(uri: str, files: Path) -> None:
    """From now on `resolve_location` knows that this is the folder for files that goes with a database."""
    _homes[uri] = files


def use_files(uri: str, files: Path) -> None:
    """From now on this process finds the files that this database names in `files`, if that is where they are now."""
    from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories

    from orchestration.storage.mlflow_plugin import ProjectFiles

    note_files(uri, files)
    # An environment that was installed before pyproject.toml named the plugin does not know it.
    repositories: dict[str, Any] = get_registered_artifact_repositories()
    repositories.update({"": ProjectFiles, "file": ProjectFiles})


def resolve_location(location: str, uri: str) -> str:
    """A location that this database names, as it is to be found now.

    A database that lies beside its files was moved or copied with them: the other place is no longer meant, whether it
    is still there or not. One that lies elsewhere may be shared by several homes, and its files are looked for here
    only where the other place is gone and they are here.
    """
    match, files = LOCAL_ROOT.match(location), _files_of(uri)
    if match is None or files is None:
        return location
    root = match[1]
    there = path_of(root)
    if there is None or there == files or (there.exists() and files.exists() and there.samefile(files)):
        return location
    if _moves_with(uri, files) or (not there.exists() and _has_files_of(uri, root, files)):
        return files.as_uri() + location[len(root) :]
    return location


def _files_of(uri: str) -> Path | None:
    """The folder for files that goes with a database, None where nobody said."""
    if uri in _homes:
        return _homes[uri]
    if os.environ.get(SERVER_STORE) == uri:
        return path_of(os.environ.get(SERVER_FILES, ""))
    beside = Path(uri.removeprefix(SQLITE)).parent / "files"
    return beside if uri.startswith(SQLITE) and beside.parent.name == "mlflow" else None


def path_of(location: str) -> Path | None:
    """Where a location lies on this machine; None where it is no path."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if location.startswith("/") else None


def _moves_with(uri: str, files: Path) -> bool:
    """Whether the database lies beside these files."""
    return uri.startswith(SQLITE) and Path(uri.removeprefix(SQLITE)).parent == files.parent


def others(uri: str, files: Path) -> list[Path]:
    """Folders for files, of other homes, in which runs of this database lie."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    locations = [
        found.artifact_location or "" for found in MlflowClient(uri).search_experiments(view_type=ViewType.ALL)
    ]
    roots = {match[1] for location in locations if (match := LOCAL_ROOT.match(resolve_location(location, uri)))}
    return sorted(path for root in roots if (path := path_of(root)) and path != files)


@cache
def _has_files_of(uri: str, root: str, files: Path) -> bool:
    """Whether some file of a model that lay in the other folder is in this one."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    for experiment in client.search_experiments():
        for model in client.search_logged_models([experiment.experiment_id], max_results=50):
            location = model.artifact_location or ""
            if location.startswith(f"{root}/") and (files / unquote(location[len(root) + 1 :])).exists():
                return True
    return False
