"""`likeness clean` removes old runs that made nothing that is kept; everything that is kept goes on as before."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from mlflow.entities import Metric

from orchestration.config.settings import Settings
from orchestration.lineage import prune
from orchestration.registry.registered_models import Registry
from orchestration.storage.store import Store
from orchestration.storage.tracking import EXPERIMENT, Tracking
from orchestration.storage.version_index import VersionIndex
from orchestration.storage.versions import latest
from tests.orchestration.faces import PeopleProject, opened_copy

pytestmark = pytest.mark.slow
ALL = ("--older-than", "0", "--runs-older-than", "0")


def retrain(project: PeopleProject, steps: int) -> str:
    project.configure(encoder={"steps": steps})
    project.run()
    return project.md5("encoder")


@pytest.fixture(scope="module")
def retrained(made: PeopleProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """Version 1 is in production; of the encoders after it the last is the newest, the others (their md5) nobody's."""
    with opened_copy(made.settings.root, tmp_path_factory.mktemp("retrained") / "project") as project:
        nobodys = [retrain(project, steps) for steps in (20, 30)]
        retrain(project, 40)
        yield project.settings.root, nobodys


@pytest.fixture
def nobodys(retrained: tuple[Path, list[str]]) -> list[str]:
    return retrained[1]


@pytest.fixture
def used(retrained: tuple[Path, list[str]], tmp_path: Path) -> Iterator[PeopleProject]:
    """A copy of it for one test."""
    with opened_copy(retrained[0], tmp_path / "project") as copy:
        copy.configure(encoder={"steps": 40})
        yield copy


def tracked(settings: Settings) -> set[str]:
    client = Tracking.of(settings).client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return {run.info.run_id for run in client.search_runs([experiment.experiment_id])}


def rows(file: Path, query: str) -> int:
    with closing(sqlite3.connect(file)) as database:
        return database.execute(query).fetchone()[0]


def test_by_default_no_run_is_removed(used: PeopleProject) -> None:
    before = len(used.instance.get_runs()), tracked(used.settings)
    assert "dagster_runs" not in json.loads(used("clean", "--older-than", "0", "--yes", "--json"))["kinds"]
    assert (len(used.instance.get_runs()), tracked(used.settings)) == before


def test_old_runs_go_from_both_records_and_what_is_kept_goes_on(
    used: PeopleProject, nobodys: list[str], tmp_path: Path
) -> None:
    settings, mlflow = used.settings, used.settings.home / "mlflow" / "mlflow.db"
    runs, mine, lineage = len(used.instance.get_runs()), tracked(settings), used("lineage", "production", "--json")
    gone = {
        version.metadata["mlflow_run_id"]
        for md5 in nobodys
        for version in VersionIndex(used.instance).of("encoder", md5)
    }
    listed = json.loads(used("clean", *ALL, "--dry-run", "--json"))["kinds"]
    assert listed["mlflow_runs"]["count"] >= 2 and listed["mlflow_runs"]["bytes"] > 0
    assert len(used.instance.get_runs()) == runs and tracked(settings) == mine
    done = json.loads(used("clean", *ALL, "--yes", "--json"))
    assert done["freed"] >= done["bytes"] > 0
    assert runs - len(used.instance.get_runs()) == done["kinds"]["dagster_runs"]["count"] > 0
    assert len(mine - tracked(settings)) == listed["mlflow_runs"]["count"] and gone.isdisjoint(tracked(settings))
    for table in ("runs", "params", "metrics", "tags"):
        ids = ", ".join(f"'{run}'" for run in gone)
        assert rows(mlflow, f"SELECT count(*) FROM {table} WHERE run_uuid IN ({ids})") == 0, table
    assert not [folder for run in gone for folder in settings.model_files.glob(f"**/{run}")]

    assert json.loads(used("lineage", "production", "--json")) == json.loads(lineage)
    used("restore", "1", "--out", str(tmp_path / "1"))
    assert used.run() == []
    nothing = json.loads(used("clean", *ALL, "--dry-run", "--json"))["kinds"]
    assert nothing["dagster_runs"]["count"] == nothing["mlflow_runs"]["count"] == 0
    used("forget", "ann/one.jpg", "--yes")
    assert used.where(used.pixels("ann/one")) == []


def test_a_version_that_was_taken_over_keeps_the_run_that_made_it(used: PeopleProject) -> None:
    assert retrain(used, 10) == VersionIndex(used.instance).refs("encoder")[0].md5
    newest = latest(used.instance, "encoder", "embedded")
    assert newest is not None and newest.metadata.get("reused"), "the first encoder's result was taken"
    used("clean", *ALL, "--yes")
    assert newest.metadata["mlflow_run_id"] in tracked(used.settings)


def test_failed_runs_go_by_age_and_what_runs_stays(used: PeopleProject) -> None:
    def run(status: dg.DagsterRunStatus) -> str:
        made = used.instance.create_run_for_job(dg.job(name="j")(lambda: None), status=status)
        return made.run_id

    failed, started = run(dg.DagsterRunStatus.FAILURE), run(dg.DagsterRunStatus.STARTED)
    time.sleep(1.1)  # Dagster knows seconds
    plan = prune.plan(used.settings, used.instance, Store.of(used.settings), days=0, runs_days=0)
    assert failed in plan.runs.dagster and started not in plan.runs.dagster
    plan = prune.plan(used.settings, used.instance, Store.of(used.settings), days=0, runs_days=1)
    assert plan.runs.dagster == [] and plan.runs.mlflow == {}


def test_what_somebody_deleted_in_mlflow_and_may_want_back_stays(used: PeopleProject) -> None:
    client = Tracking.of(used.settings).client()
    experiment = client.create_experiment("theirs")
    run = client.create_run(experiment).info.run_id
    client.delete_experiment(experiment)
    used("clean", *ALL, "--yes")
    client.restore_experiment(experiment)
    assert client.get_run(run).info.run_id == run


def test_databases_give_back_their_room(used: PeopleProject, nobodys: list[str]) -> None:
    client = Tracking.of(used.settings).client()
    (encoder,) = VersionIndex(used.instance).of("encoder", nobodys[0])
    for batch in range(4):
        values = [metric(f"m{batch}", step) for step in range(1000)]
        client.log_batch(encoder.metadata["mlflow_run_id"], metrics=values)
    file = used.settings.home / "mlflow" / "mlflow.db"
    before = file.stat().st_size
    used("clean", *ALL, "--yes")
    assert file.stat().st_size < before


def metric(name: str, step: int) -> Metric:
    return Metric(name, 0.5, 0, step)


def test_models_and_pictures_of_the_service_go_by_an_age_of_their_own(
    project: PeopleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = project.settings.home / "serving"
    old, young = serving / "releases" / "1" / "weights", serving / "embedded" / "drawn" / "a.png"
    for path, age in ((old, 40), (young, 1)):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1234")
        then = time.time() - age * prune.DAY
        for each in (path, path.parent):
            os.utime(each, (then, then))
    assert "served" not in json.loads(project("clean", "--dry-run", "--json"))["kinds"]
    monkeypatch.setenv("LIKENESS_KEEP_SERVED_DAYS", "30")
    assert json.loads(project("clean", "--yes", "--json"))["kinds"]["served"] == {"count": 1, "bytes": 4}
    assert not old.exists() and young.exists()


def test_registered_versions_keep_their_runs(used: PeopleProject) -> None:
    number = used.register("candidate")
    retrain(used, 50)
    used("clean", *ALL, "--yes")
    registry = Registry(Tracking.of(used.settings), "embedded")
    for version in ("1", number):
        assert registry.client.get_run(str(registry.find(version).run_id)).info.lifecycle_stage == "active"
