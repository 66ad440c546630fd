"""What MLflow opens a local folder with: `pyproject.toml` names it, so that every process of this environment does."""

from __future__ import annotations

import os

import mlflow
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from orchestration.storage.mlflow_files import SERVER_STORE, resolve_location


class ProjectFiles(LocalArtifactRepository):
    """A folder of MLflow's, in this home where it lay in another one that was moved or copied here."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        uri = tracking_uri or os.environ.get(SERVER_STORE) or mlflow.get_tracking_uri()
        super().__init__(resolve_location(artifact_uri, uri), tracking_uri, registry_uri)
