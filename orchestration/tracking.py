"""One MLflow run for each materialisation of an asset: configuration, every metric by step, what it was made from.

Runs are addressed by id, never by MLflow's "active run": two steps side by side never write into each other's run.
"""

import fcntl
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dagster as dg

from orchestration import database
from orchestration.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "likeness"
BATCH, BATCH_SECONDS = 200, 5.0
MAX_PARAM = 6000
SQLITE = "sqlite:///"


class TrackedRun:
    """A running MLflow run; metrics are sent in batches."""

    def __init__(self, client: "MlflowClient", run_id: str, url: str) -> None:
        self.client, self.run_id, self.url = client, run_id, url
        self._waiting: list[Any] = []
        self._sent = time.monotonic()

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log values of one step; infinite and undefined ones are left out, because databases refuse them."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(k, float(v), now, step) for k, v in values.items() if math.isfinite(v)]
        if len(self._waiting) >= BATCH or time.monotonic() - self._sent > BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            self.client.log_batch(self.run_id, metrics=batch)
        self._sent = time.monotonic()

    def params(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(value)[:MAX_PARAM]) for key, value in values.items()]
        for start in range(0, len(params), 100):
            self.client.log_batch(self.run_id, params=params[start : start + 100])

    def inputs(self, versions: Mapping[str, str]) -> None:
        """Which data it reads: MLflow datasets whose digest is the DVC md5, and tags to search by."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        datasets = [
            DatasetInput(Dataset(name, md5, "dvc", f"dvc:{md5}"), [InputTag("mlflow.data.context", "input")])
            for name, md5 in versions.items()
        ]
        self.client.log_inputs(self.run_id, datasets=datasets)
        for name, md5 in versions.items():
            self.client.set_tag(self.run_id, f"input.{name}", md5)

    def tag(self, name: str, value: str) -> None:
        self.client.set_tag(self.run_id, name, value)

    def file(self, path: Path) -> None:
        self.client.log_artifact(self.run_id, str(path))

    def document(self, content: Mapping[str, Any], name: str) -> None:
        self.client.log_dict(self.run_id, dict(content), name)


@cache
def _make_tables(uri: str) -> None:
    """Let MLflow make or migrate its tables, once in a process and in one process at a time: two at once fail."""
    from mlflow import MlflowClient

    with _alone(uri):
        MlflowClient(uri, uri).search_experiments(max_results=1)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    if not uri.startswith(SQLITE):
        with database.schema(uri, database.MLFLOW_SCHEMA):
            yield
        return
    file = Path(uri.removeprefix(SQLITE))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Tracking(dg.ConfigurableResource):
    """Where MLflow is: a server, a database, or the SQLite file of the embedded default."""

    uri: str
    files: str = ""
    """Folder for files where no server keeps them."""
    experiment: str = EXPERIMENT

    @classmethod
    def of(cls, settings: Settings, experiment: str = EXPERIMENT) -> Self:
        files = "" if settings.mlflow_uri else str(settings.model_files)
        return cls(uri=settings.tracking_uri, files=files, experiment=experiment)

    def client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        # Set after the import, which sets them to say everything.
        for library in ("alembic", "mlflow"):
            logging.getLogger(library).setLevel(logging.ERROR)

        if "://" in self.uri and not self.uri.startswith("http"):
            _make_tables(self.uri)
        return MlflowClient(self.uri, self.uri)

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str]) -> Iterator[TrackedRun]:
        """A run that ends FINISHED, KILLED when interrupted, FAILED when the block raises."""
        client = self.client()
        run_id = client.create_run(self._experiment(client), run_name=name, tags=dict(tags)).info.run_id
        run = TrackedRun(client, run_id, self.url(client, run_id))
        try:
            yield run
        except BaseException as error:
            run.flush()
            client.set_terminated(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        run.flush()
        client.set_terminated(run_id, "FINISHED")

    def _experiment(self, client: "MlflowClient") -> str:
        from mlflow.exceptions import MlflowException

        if found := client.get_experiment_by_name(self.experiment):
            return found.experiment_id
        location = Path(self.files).as_uri() if self.files else None
        try:
            return client.create_experiment(self.experiment, artifact_location=location)
        except MlflowException:  # a step beside this one made it first
            if found := client.get_experiment_by_name(self.experiment):
                return found.experiment_id
            raise

    def url(self, client: "MlflowClient", run_id: str) -> str:
        """A link where a server is, else the run's name in the database."""
        if not self.uri.startswith("http"):
            return ""
        return f"{self.uri}/#/experiments/{client.get_run(run_id).info.experiment_id}/runs/{run_id}"
