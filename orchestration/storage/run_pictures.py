"""Pictures that may show real people: artifacts of MLflow runs, where `likeness forget` deletes them.

Dagster's pages have a link to them, and never the pictures, since nobody can change what Dagster has recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import dagster as dg

from orchestration.storage.mlflow_client import retry_mlflow
from orchestration.storage.mlflow_files import path_of, resolve_location
from orchestration.storage.tracking import Tracking
from orchestration.storage.versions import Version

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FAILING_FOLDER = "failing_rows"
"""The folder, among a run's artifacts, with pictures of rows that fail a check."""


@dataclass(frozen=True)
class RunPictures:
    """The pictures of one MLflow run. Raises TrackingUnreachable, and MlflowException where it is gone."""

    tracking: Tracking
    run_id: str

    @classmethod
    def of(cls, version: Version, tracking: Tracking) -> Self:
        """Those of the run that made a version."""
        return cls(tracking, str(version.metadata.get("mlflow_run_id", "")))

    def link(self, path: str = "") -> dg.MetadataValue:
        """Where people see them, or the one at this path: a page of MLflow's, or the file where no page is known."""
        client = self.tracking.client()
        info = retry_mlflow(lambda: client.get_run(self.run_id)).info
        if page := self.tracking.url(info.experiment_id, self.run_id):
            return dg.MetadataValue.url(f"{page}/artifacts/{path}".rstrip("/"))
        folder = path_of(resolve_location(str(info.artifact_uri), self.tracking.uri))
        return dg.MetadataValue.path(folder / path if folder else f"{info.artifact_uri}/{path}")

    def add(self, path: str, picture: NDArray[np.uint8]) -> dg.MetadataValue:
        """Keep an RGB picture [H, W, 3] under this path, whose ending says the format, and give the link to it."""
        client = self.tracking.client()
        retry_mlflow(lambda: client.log_image(self.run_id, picture, path))
        return self.link(path)

    def delete(self, which: Callable[[str], bool]) -> None:
        """Delete those files and folders at the top of the run's artifacts; a run that is gone has none."""
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        client = self.tracking.client()
        self.tracking.set_default()
        try:
            repository = get_artifact_repository(str(client.get_run(self.run_id).info.artifact_uri))
            there = [file.path for file in repository.list_artifacts()]
        except MlflowException:
            return
        for path in there:
            if which(path):
                repository.delete_artifacts(path)
