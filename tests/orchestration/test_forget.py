"""A photo that is forgotten is gone everywhere, stays gone, and the project goes on without it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from orchestration.instance import RUN_TAG, only_runner
from orchestration.lineage import forgetting
from orchestration.lineage.ledger import KEY
from orchestration.settings import REPOSITORY, Settings
from orchestration.store import Store, StoreError, pointed_md5
from tests.orchestration.faces import Project

PIXELS = Project.pixels("ann/one")


def pictures_in_dagster(project: Project) -> set[str]:
    """The names of the pictures that all of Dagster's databases hold, but for charts of figures."""
    files = [path for path in project.settings.dagster_home.rglob("*") if path.is_file()]
    named = {name.decode() for path in files for name in re.findall(rb"!\[([^\]]*)\]\(data:image/", path.read_bytes())}
    return {name for name in named if not name.endswith("distributions")}


def test_its_bytes_are_in_no_file_of_project_cache_remote_and_tracking_any_more(project: Project) -> None:
    pinned = Store.of(project.settings).add(project.settings.data)
    (project.settings.cache / "features").mkdir(parents=True)
    (project.settings.cache / "features" / "a.safetensors").write_bytes(PIXELS)
    (project.settings.checkpoints / "aligned_faces" / "key").mkdir(parents=True)
    (project.settings.checkpoints / "aligned_faces" / "key" / "part.parquet").write_bytes(PIXELS)
    (project.settings.root / "artifacts" / ".encoder-1.partial").mkdir()
    (project.settings.root / "artifacts" / ".encoder-1.partial" / "sheet.png").write_bytes(PIXELS)
    places = {path.split("/")[0] for path in project.where(PIXELS)} | {
        path.split("/")[1] for path in project.where(PIXELS) if path.startswith(".likeness")
    }
    assert {"data", "artifacts", "cache", "remote", "inputs", "mlflow", "computed", "checkpoints"} <= places
    assert {"sheet", "photos", "3 pictures"} <= pictures_in_dagster(project)
    project("forget", "ann/one.jpg", "--yes", "--why", "asked to")
    assert project.where(PIXELS) == []
    assert pictures_in_dagster(project) == set()
    assert pointed_md5(project.settings.data) not in (None, pinned)


def test_the_rest_of_the_photos_stays_and_the_next_run_goes_on_without_it(project: Project) -> None:
    before = project.md5("aligned_faces")
    project("forget", "ann/one.jpg", "--yes")
    assert sorted(path.name for path in project.photos.rglob("*.jpg")) == ["one.jpg", "two.jpg"]
    assert "aligned_faces" in project.run()
    assert project.md5("aligned_faces") != before and project.run() == []
    assert project.where(PIXELS) == []
    again = json.loads(project("lineage", project.md5("scorecard"), "--json"))
    assert all(node["bytes"] == ["here", "remote"] for node in again["nodes"])


def test_restore_names_what_was_erased_by_whom_and_why_and_brings_back_the_rest(
    project: Project, tmp_path: Path
) -> None:
    project("forget", "ann/one.jpg", "--yes", "--why", "asked to")
    out = tmp_path / "out"
    document = json.loads(project("restore", "1", "--out", str(out), "--json", status=1))
    folders = {folder["asset"]: folder for folder in document["folders"]}
    assert not document["complete"] and folders["imitator"]["complete"]
    assert folders["encoder"]["status"] == "incomplete" and set(folders["encoder"]["lost"]) == {"sheet.png"}
    assert (out / "encoder.incomplete" / "model.safetensors").is_file()
    assert set(folders["photos"]["lost"]) == {"ann/one.jpg"}
    assert set(folders["aligned_faces"]["lost"]) == {"faces.parquet", "photos.png", "portraits.png"}
    assert "erased: ann/one.jpg: forgotten on" in project.said and "(asked to)" in project.said
    nodes = {node["asset"]: node for node in json.loads(project("lineage", "1", "--json"))["nodes"]}
    assert nodes["aligned_faces"]["bytes"] == ["erased"] and "asked to" in nodes["aligned_faces"]["erased"][0]
    with pytest.raises(StoreError, match=r"was erased: ann/one\.jpg: forgotten on .* \(asked to\)"):
        Store.of(project.settings).fetch(folders["aligned_faces"]["md5"])


def test_forgetting_again_is_harmless_also_after_a_sheet_came_back_that_never_showed_it(project: Project) -> None:
    first = json.loads(project("forget", "ann/one.jpg", "--yes", "--json"))
    assert any("portraits.png" in erased["file"] for erased in first["erase"])
    project.run()
    again = json.loads(project("forget", "ann/one.jpg", "--yes", "--json"))
    assert again["erase"] == [] and again["delete"] == []
    faces = Store.of(project.settings).fetch(project.md5("aligned_faces"))
    assert (faces / "portraits.png").is_file()


def test_a_model_that_was_only_scored_on_it_need_not_be_retrained_one_that_was_trained_must(project: Project) -> None:
    scored = json.loads(project("forget", "ann/one.jpg", "--dry-run", "--json"))
    assert scored["retrain"] == []
    assert "none must be retrained" in project("forget", "ann/one.jpg", "--dry-run")
    project.configure(aligned_faces={"split": "train"})
    project.run()
    project.register("candidate")
    trained = json.loads(project("forget", "ann/one.jpg", "--yes", "--json"))
    assert trained["retrain"] == ["likeness run --character embedded"]
    assert {model["version"]: model["retrain"] for model in trained["models"]} == {1: False, 2: True}
    after = json.loads(project("lineage", "ann/one.jpg", "--json"))
    assert {model["version"]: model["use"] for model in after["models"]} == {
        1: "only scored on it",
        2: "trained on it",
    }


def test_a_dry_run_changes_nothing_and_no_is_no(project: Project) -> None:
    before = project.where(PIXELS)
    project("forget", "ann/one.jpg", "--dry-run")
    assert "nothing was changed" in project("forget", "ann/one.jpg", "--dry-run")
    project("forget", "ann/one.jpg", status=1)
    assert project.where(PIXELS) == before
    project("forget", "ann/one.jpg", "--json", status=2)


def test_all_photos_of_a_person_go_and_the_empty_folder_too(project: Project) -> None:
    document = json.loads(project("forget", "ann", "--person", "--yes", "--json"))
    assert {path for photo in document["photos"] for path in photo["paths"]} == {"ann/one.jpg", "ann/two.jpg"}
    assert not (project.photos / "ann").exists()
    assert project.where(PIXELS) == project.where(Project.pixels("ann/two")) == []
    assert project.where(Project.pixels("bob/one"))


def test_the_same_bytes_in_another_persons_folder_are_named_and_go_too(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    project = Project(settings, instance)
    shutil.copyfile(project.photos / "ann" / "one.jpg", project.photos / "bob" / "copy.jpg")
    project.run()
    text = project("forget", "ann/one.jpg", "--yes")
    assert "ann/one.jpg, bob/copy.jpg" in text and "it is one photo" in text
    assert project.where(PIXELS) == []


def test_an_older_version_that_still_had_it_is_erased_too(project: Project) -> None:
    (project.photos / "ann" / "one.jpg").unlink()
    project.run()
    assert project.where(PIXELS)
    project("forget", "ann/one.jpg", "--yes")
    assert project.where(PIXELS) == []


def test_who_when_and_why_are_in_the_ledger_that_every_machine_reads(project: Project) -> None:
    project("forget", "ann/one.jpg", "--yes", "--why", "asked to")
    (entry,) = json.loads(project("lineage", "ann/one.jpg", "--json"))["forgotten"]
    assert entry["who"] and entry["when"].endswith("Z") and entry["why"] == "asked to" and entry["done"]
    assert project.instance.fetch_observations(dg.AssetKey(KEY), limit=1).records


def test_another_machines_copies_go_when_it_is_run_there(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(project.settings.home / "cache", copy)
    project("forget", "ann/one.jpg", "--yes")
    shutil.copytree(copy, project.settings.home / "cache", dirs_exist_ok=True)
    shutil.rmtree(copy)
    assert project.where(PIXELS)
    project("forget", "ann/one.jpg", "--yes")
    assert project.where(PIXELS) == []


def test_it_waits_for_no_run_and_tears_none(project: Project) -> None:
    with only_runner(project.settings, project.instance):
        project("forget", "ann/one.jpg", "--yes", status=1)
    assert "another `likeness run` is at work" in project.said
    run = project.instance.create_run_for_job(
        dg.Definitions(assets=[dg.AssetSpec("a")], jobs=[dg.job(name="j")(lambda: None)]).resolve_job_def("j"),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert RUN_TAG not in run.tags
    project("forget", "ann/one.jpg", "--yes", status=1)
    assert "Dagster makes j" in project.said and project.where(PIXELS)


KILLED = """
import os, sys
from orchestration.lineage import forgetting
from orchestration.cli import app
setattr(forgetting.Forgetting, "_erase_tracked", lambda self, plan: os._exit(9))
app(["forget", "ann/one.jpg", "--yes", "--why", "asked to"])
"""


def test_killed_half_way_the_same_command_finishes(project: Project) -> None:
    assert callable(forgetting.Forgetting._erase_tracked)
    environment = {
        **os.environ,
        "LIKENESS_ROOT": str(project.settings.root),
        "LIKENESS_PROFILE": project.settings.profile,
        "PYTHONPATH": str(REPOSITORY),
    }
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=REPOSITORY, env=environment, check=False)
    assert killed.returncode == 9
    assert not (project.photos / "ann" / "one.jpg").exists() and project.where(PIXELS)
    project("forget", "ann/one.jpg", "--yes")
    assert project.where(PIXELS) == []
    (entry,) = json.loads(project("lineage", "ann/one.jpg", "--json"))["forgotten"]
    assert entry["done"] and entry["why"] == "asked to"
