"""One MLflow run for each materialisation of an asset: configuration, every metric by step, what it was made from.

Runs are addressed by id, never by MLflow's "active run": two steps side by side never write into each other's run.
"""

import math
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from pydantic import BaseModel

from engine.errors import LikenessError
from orchestration.config import addresses
from orchestration.config.settings import Settings
from orchestration.storage.charts import Curve
from orchestration.storage.metric_journal import Journal, Point
from orchestration.storage.mlflow_client import PATIENCE, TrackingUnreachable, is_absent, open_client, retry_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "likeness"
DAGSTER_RUN = "dagster.run_id"
"""Tag of a run: the Dagster run that works on it, or did last."""
RETRAINING = "retraining"
"""Tag of a run, and of a registered version: the retraining that it belongs to."""
JOURNAL = "mlflow-run.jsonl"
BATCH, BATCH_SECONDS, MOST_METRICS = 200, 5.0, 1000
IMPATIENCE = 15.0
"""Seconds to wait for MLflow after a stage failed."""
MAX_PARAM = 6000
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow's pages open on training runs; without it, on traces of language models."""


class ExperimentDeleted(LikenessError):
    """Somebody deleted the experiment in MLflow; the message says how to bring it back."""


class TrackedRun:
    """A running MLflow run. Metrics are sent in batches from a thread: a training never waits for a server.

    A server that is down is asked again until it answers; what was not sent meanwhile is kept.
    """

    def __init__(self, client: "MlflowClient", run_id: str, url: str, journal: Journal | None = None) -> None:
        self.client, self.run_id, self.url, self.journal = client, run_id, url, journal
        self.history: dict[str, Curve] = {}
        self._logged: dict[tuple[str, int], float] = {}
        self._waiting: list[Any] = []
        self._sent = time.monotonic()
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._sending: list[Future[None]] = []
        self._closed = threading.Event()
        if journal:
            # MLflow takes a point that it has, to the millisecond, for the same one: what it lacks is added.
            self._take(journal.points)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log values of one step; infinite and undefined ones are left out, because databases refuse them.

        A step of a curve that an earlier process of this run logged stays as it was.
        """
        now = int(time.time() * 1000)
        finite = {key: float(value) for key, value in values.items() if math.isfinite(value)}
        new = [Point(key, value, now, step) for key, value in finite.items() if self._is_new(key, step, value)]
        if self.journal and new:
            self.journal.add(new)
        self._take(new)
        if len(self._waiting) >= BATCH or time.monotonic() - self._sent > BATCH_SECONDS:
            self._send()

    def _is_new(self, key: str, step: int, value: float) -> bool:
        """Step 0 is that of figures as well, which are no curve: the last one counts."""
        known = self._logged.get((key, step))
        return known is None or (step == 0 and known != value)

    def _take(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        for key, value, time_, step in points:
            self.history.setdefault(key, Curve()).add(step, value)
            if self.journal:
                self._logged[key, step] = value
            self._waiting.append(Metric(key, value, time_, step))

    def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST_METRICS], self._waiting[MOST_METRICS:]
            self._sending.append(self._sender.submit(self._log, batch))
        self._sending = [sending for sending in self._sending if not sending.done() or sending.exception()]
        self._sent = time.monotonic()

    def _log(self, batch: Sequence[Any]) -> None:
        # For as long as the run lasts: only its end is in a hurry.
        retry_mlflow(lambda: self.client.log_batch(self.run_id, metrics=batch), math.inf, self._closed)

    def flush(self, patience: float = PATIENCE) -> None:
        """Wait until every metric is in MLflow. Raises TrackingUnreachable."""
        self._send()
        deadline = time.monotonic() + patience
        for sending in self._sending:
            try:
                sending.result(max(deadline - time.monotonic(), 0))
            except TimeoutError as error:
                raise TrackingUnreachable(f"MLflow took no metrics for {patience:.0f} s") from error
        self._sending = []

    def end(self, status: str, patience: float = PATIENCE) -> None:
        """Close the run with everything sent. Raises TrackingUnreachable."""
        try:
            self.flush(patience)
            ended = self._sender.submit(
                retry_mlflow, lambda: self.client.set_terminated(self.run_id, status), patience, self._closed
            )
            ended.result(patience)
        except TimeoutError as error:
            raise TrackingUnreachable(f"MLflow run {self.run_id} stays open: the server does not answer") from error
        finally:
            self._closed.set()
            self._sender.shutdown(wait=False, cancel_futures=True)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log the configuration, each value as text. Raises TrackingUnreachable, as do the following."""
        from mlflow.entities import Param

        params = [Param(key, str(value)[:MAX_PARAM]) for key, value in values.items()]
        for start in range(0, len(params), 100):
            batch = params[start : start + 100]
            retry_mlflow(lambda batch=batch: self.client.log_batch(self.run_id, params=batch))

    def inputs(self, versions: Mapping[str, str]) -> None:
        """Which data it reads: MLflow datasets whose digest is the DVC md5, and tags to search by."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, RunTag

        datasets = [
            DatasetInput(Dataset(name, md5, "dvc", f"dvc:{md5}"), [InputTag("mlflow.data.context", "input")])
            for name, md5 in versions.items()
        ]
        retry_mlflow(lambda: self.client.log_inputs(self.run_id, datasets=datasets))
        tags = [RunTag(f"input.{name}", md5) for name, md5 in versions.items()]
        retry_mlflow(lambda: self.client.log_batch(self.run_id, tags=tags))

    def tag(self, name: str, value: str) -> None:
        """Set a tag of the run."""
        retry_mlflow(lambda: self.client.set_tag(self.run_id, name, value))

    def file(self, path: Path) -> None:
        """Log a file as an artifact of the run."""
        retry_mlflow(lambda: self.client.log_artifact(self.run_id, str(path)))

    def document(self, content: Mapping[str, Any], name: str) -> None:
        """Log a JSON file of this name as an artifact of the run."""
        retry_mlflow(lambda: self.client.log_dict(self.run_id, dict(content), name))


class Tracking(BaseModel, frozen=True):
    """Where MLflow is: a server, a database, or the SQLite file of the embedded default."""

    uri: str
    home: str
    """The project's home folder, for locks."""
    files: str = ""
    """Folder for files where no server keeps them."""
    page: str = ""
    """Where people open MLflow, once its server runs."""
    experiment: str = EXPERIMENT

    @classmethod
    def of(cls, settings: Settings, experiment: str = EXPERIMENT) -> Self:
        """The MLflow that these settings name."""
        files = "" if settings.mlflow_server else str(settings.model_files)
        page = addresses.mlflow_page(settings)
        return cls(uri=settings.tracking_uri, home=str(settings.home), files=files, page=page, experiment=experiment)

    def client(self) -> "MlflowClient":
        """Raises DatabaseError, or MLflow's own errors."""
        return open_client(self.uri, self.files)

    def set_default(self) -> None:
        """Let MLflow's own functions, and URIs such as models:/name/1, mean this MLflow: they ask what the process is
        set to, even where they are given another one.
        """
        import mlflow

        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str], kept: Path | None = None) -> Iterator[TrackedRun]:
        """A run that ends FINISHED, KILLED when interrupted, FAILED when the block raises.

        kept: a folder that lives as long as the work may be gone on with; the run that was begun with it is gone on
        with too, where MLflow still has it.
        """
        client = self.client()
        experiment = retry_mlflow(lambda: self._experiment(client))
        journal = Journal.read(kept / JOURNAL) if kept else None
        run_id = self._resumed(client, experiment, journal.run_id, tags) if journal else ""
        if not run_id:
            run_id = retry_mlflow(lambda: client.create_run(experiment, run_name=name, tags=dict(tags))).info.run_id
        if journal:
            journal.begin(run_id)
        run = TrackedRun(client, run_id, self.url(experiment, run_id), journal)
        try:
            yield run
        except BaseException as error:
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            with suppress(Exception):  # what ended the run is what has to be told
                run.end(status, IMPATIENCE)
            raise
        run.end("FINISHED")

    def _resumed(self, client: "MlflowClient", experiment: str, run_id: str, tags: Mapping[str, str]) -> str:
        """The run, at work again; "" where it was deleted, or is of an experiment that was."""
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        if not run_id:
            return ""
        try:
            found = retry_mlflow(lambda: client.get_run(run_id)).info
        except MlflowException as error:
            if is_absent(error):
                return ""
            raise
        if found.lifecycle_stage != "active" or found.experiment_id != experiment:
            return ""
        retry_mlflow(lambda: client.update_run(run_id, status="RUNNING"))
        retry_mlflow(lambda: client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()]))
        return run_id

    def close_abandoned(self, tags: Mapping[str, str], is_over: Callable[[str], bool], own: str) -> None:
        """End as KILLED what still seems to run, but `own`, has these tags, and is of a Dagster run that is over.

        A killed process closes nothing, and what it did may never be gone on with.
        """
        client = self.client()
        experiment = retry_mlflow(lambda: self._experiment(client))
        wanted = "".join(f" and tags.`{name}` = '{value}'" for name, value in tags.items())
        query = f"attributes.status = 'RUNNING'{wanted}"
        for run in retry_mlflow(lambda: client.search_runs([experiment], query)):
            if run.info.run_id != own and is_over(run.data.tags.get(DAGSTER_RUN, "")):
                retry_mlflow(lambda run=run: client.set_terminated(run.info.run_id, "KILLED"))

    def _experiment(self, client: "MlflowClient") -> str:
        from mlflow.exceptions import MlflowException

        if found := client.get_experiment_by_name(self.experiment):
            if found.lifecycle_stage != "active":
                raise ExperimentDeleted(self._how_to_restore(found.experiment_id))
            return found.experiment_id
        location = Path(self.files).as_uri() if self.files else None
        try:
            return client.create_experiment(self.experiment, artifact_location=location, tags=KIND)
        except MlflowException:  # a step beside this one made it first
            if found := client.get_experiment_by_name(self.experiment):
                return found.experiment_id
            raise

    def why_no_experiment(self) -> str:
        """What keeps new runs from being recorded, and what to do; "" where nothing does."""
        found = self.client().get_experiment_by_name(self.experiment)
        return self._how_to_restore(found.experiment_id) if found and found.lifecycle_stage != "active" else ""

    def _how_to_restore(self, experiment: str) -> str:
        program = Path(sys.executable).with_name("mlflow")
        return (
            f"the experiment `{self.experiment}` was deleted in MLflow, with all its runs; this brings it back: "
            f"MLFLOW_TRACKING_URI={shlex.quote(self.uri)} {shlex.quote(str(program))} "
            f"experiments restore --experiment-id {experiment}"
        )

    def url(self, experiment: str, run_id: str) -> str:
        """The run's page, "" where nothing says where pages are."""
        return f"{self.page}/#/experiments/{experiment}/runs/{run_id}" if self.page else ""

    def search_page(self, retraining: str) -> str:
        """The page of all runs of a retraining."""
        found = self.client().get_experiment_by_name(self.experiment)
        wanted = quote(f'tags.{RETRAINING} = "{retraining}"')
        return f"{self.page}/#/experiments/{found.experiment_id if found else 0}/runs?searchFilter={wanted}"

    def model_url(self, name: str, version: str) -> str:
        """A registered version's page, "" where nothing says where pages are."""
        return addresses.model_page(self.page, name, version) if self.page else ""
