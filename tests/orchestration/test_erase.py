"""A photo that is forgotten is gone everywhere, stays gone, and the project goes on without it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.lineage import erase, erase_search
from orchestration.storage.erasure_log import KEY
from orchestration.storage.instance import RUN_TAG, only_runner
from orchestration.storage.staged_output import pointed_md5
from orchestration.storage.store import Store, StoreError
from orchestration.storage.versions import latest
from stages import identity_model
from stages.data import alignment_cache, feature_cache
from stages.data.feature_cache import FeatureCache, digest_of_picture
from tests.orchestration.faces import PeopleProject

pytestmark = pytest.mark.slow

PIXELS = PeopleProject.pixels("ann/one")


def pictures_in_dagster(project: PeopleProject) -> set[str]:
    """The names of the pictures that all files of Dagster's hold, but for charts of figures."""
    files = [path for path in project.settings.dagster_home.rglob("*") if path.is_file()]
    named = {name.decode() for path in files for name in re.findall(rb"!\[([^\]]*)\]\(data:image/", path.read_bytes())}
    return {name for name in named if not name.endswith("distributions")}


def test_its_bytes_are_in_no_file_of_project_cache_remote_and_tracking_any_more(project: PeopleProject) -> None:
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
    project("forget", "ann/one.jpg", "--yes", "--why", "asked to")
    assert project.where(PIXELS) == []
    assert pointed_md5(project.settings.data) not in (None, pinned)


def keep_faces(project: PeopleProject, *names: str) -> Path:
    """Let alignment keep something of these photos."""
    file = alignment_cache.file_in(project.settings.cache)
    with alignment_cache.AlignmentCache(file) as cache:
        for name in names:
            pixels = PeopleProject.pixels(name)
            numbers = dict.fromkeys(alignment_cache.NUMBERS, 0.0)
            key = {"photo": hashlib.md5(pixels).hexdigest(), "rest": "settings", "lasting": True}
            row = {"reason": None, "image": pixels, "labels": None, "n_faces": 1, "landmarks": [0.0] * 136}
            cache.add([key | row | numbers])
        cache.finish()
    return file


def test_of_the_faces_that_alignment_keeps_those_of_the_photo_go_and_the_others_stay(project: PeopleProject) -> None:
    file = keep_faces(project, "ann/one", "ann/two")
    assert f"computed/alignments/{file.name}" in "\n".join(project.where(PIXELS))
    plan = json.loads(project("forget", "ann/one.jpg", "--dry-run", "--json"))
    assert plan["erase_faces"] == 1 and PIXELS in file.read_bytes()
    assert "alignments/photos.sqlite: their aligned faces" in project("forget", "ann/one.jpg", "--yes")
    assert project.where(PIXELS) == []
    assert PeopleProject.pixels("ann/two") in file.read_bytes()


def test_a_face_that_is_kept_of_a_photo_that_lies_nowhere_any_more_goes_too(project: PeopleProject) -> None:
    project("forget", "ann/one.jpg", "--yes")
    file = keep_faces(project, "ann/one", "ann/two")
    project("forget", "ann/one.jpg", "--yes")
    assert project.where(PIXELS) == [] and PeopleProject.pixels("ann/two") in file.read_bytes()


def test_all_faces_that_are_kept_go_where_nobody_can_tell_whose_they_are(project: PeopleProject) -> None:
    file = keep_faces(project, "ann/one", "ann/two")
    (project.photos / "ann" / "packed.bin").write_bytes(b"photos, packed")
    project("forget", "ann/packed.bin", "--yes")
    assert not file.exists()
    file.write_bytes(b"no database" + PIXELS)
    project("forget", "ann/one.jpg", "--yes")
    assert project.where(PIXELS) == []


def test_of_what_networks_saw_only_that_of_surely_other_faces_stays(project: PeopleProject) -> None:
    file, (one, two) = (
        feature_cache.file_in(project.settings.cache),
        (digest_of_picture(PeopleProject.pixels(name)) for name in ("ann/one", "ann/two")),
    )
    with FeatureCache(file, "network", 4) as cache:
        cache.put({one: b"ONE!", two: b"TWO!", "of no table": b"ANY!"})
    plan = json.loads(project("forget", "ann/one.jpg", "--dry-run", "--json"))
    assert plan["erase_features"] == 2 and str(file) not in plan["erase_here"]
    assert "what networks saw of faces" in project("forget", "ann/one.jpg", "--yes")
    with FeatureCache(file, "network", 4) as cache:
        assert cache.get([one, two, "of no table"]) == [None, b"TWO!", None]


def test_dagster_has_links_to_pictures_of_people_and_never_the_pictures(project: PeopleProject) -> None:
    """Of data/photos none at all; of what was made of it those that lie in MLflow, where `forget` deletes them."""
    assert pictures_in_dagster(project) == set()
    assert (photos := latest(project.instance, "photos")) and "pictures" not in photos.metadata
    sheets = {"aligned_faces": "photos.png", "encoder": "sheet.png", "scorecard": "sheet.png"}
    records = [latest(project.instance, asset, None if asset == "aligned_faces" else "embedded") for asset in sheets]
    for made, sheet in zip(records, sheets.values(), strict=True):
        assert made and made.metadata["pictures"].endswith(f"/runs/{made.metadata['mlflow_run_id']}/artifacts")
        folder = project.settings.model_files / made.metadata["mlflow_run_id"] / "artifacts"
        assert PIXELS in (folder / sheet).read_bytes()


def test_the_rest_of_the_photos_stays_and_the_next_run_goes_on_without_it(project: PeopleProject) -> None:
    before = project.md5("aligned_faces")
    project("forget", "ann/one.jpg", "--yes")
    assert sorted(path.name for path in project.photos.rglob("*.jpg")) == ["one.jpg", "two.jpg"]
    assert "aligned_faces" in project.run()
    assert project.md5("aligned_faces") != before and project.run() == []
    assert project.where(PIXELS) == []
    again = json.loads(project("lineage", project.md5("scorecard"), "--json"))
    assert all(node["bytes"] == ["here", "remote"] for node in again["nodes"])


def test_restore_names_what_was_erased_by_whom_and_why_and_brings_back_the_rest(
    project: PeopleProject, tmp_path: Path
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


def test_forgetting_again_is_harmless_also_after_a_sheet_came_back_that_never_showed_it(project: PeopleProject) -> None:
    first = json.loads(project("forget", "ann/one.jpg", "--yes", "--json"))
    assert any("portraits.png" in erased["file"] for erased in first["erase"])
    project.run()
    again = json.loads(project("forget", "ann/one.jpg", "--yes", "--json"))
    assert again["erase"] == [] and again["delete"] == []
    faces = Store.of(project.settings).fetch(project.md5("aligned_faces"))
    assert (faces / "portraits.png").is_file()


def uses(project: PeopleProject) -> dict[int, str]:
    models = json.loads(project("lineage", "ann/one.jpg", "--json"))["models"]
    return {model["version"]: model["use"] for model in models}


def test_a_model_that_was_only_scored_on_it_need_not_be_retrained_one_that_was_trained_must(
    project: PeopleProject,
) -> None:
    project.configure(aligned_faces={"official": True})
    project.run()
    project.register("candidate")
    scored = json.loads(project("forget", "ann/one.jpg", "--dry-run", "--json"))
    assert {model["version"]: model["retrain"] for model in scored["models"]} == {1: False, 2: False}
    project.configure(aligned_faces={"split": "train"})
    project.run()
    project.register("candidate")
    trained = json.loads(project("forget", "ann/one.jpg", "--yes", "--json"))
    assert trained["retrain"] == ["likeness run --character embedded"]
    assert {model["version"]: model["retrain"] for model in trained["models"]} == {1: False, 2: False, 3: True}
    assert uses(project) == {1: "only scored on it", 2: "only scored on it", 3: "trained on it"}


def test_a_photo_that_chooses_the_identity_weights_is_said_to(project: PeopleProject) -> None:
    chooses = identity_model.decides("photos", "test")
    assert uses(project) == {1: "chosen by it" if chooses else "only scored on it"}
    assert ("none must be retrained" in project("forget", "ann/one.jpg", "--dry-run")) is not chooses


def test_a_dry_run_changes_nothing_and_no_is_no(project: PeopleProject) -> None:
    before = project.where(PIXELS)
    project("forget", "ann/one.jpg", "--dry-run")
    assert "nothing was changed" in project("forget", "ann/one.jpg", "--dry-run")
    project("forget", "ann/one.jpg", status=1)
    assert project.where(PIXELS) == before
    project("forget", "ann/one.jpg", "--json", status=2)


def test_all_photos_of_a_person_go_and_the_empty_folder_too(project: PeopleProject) -> None:
    document = json.loads(project("forget", "ann", "--person", "--yes", "--json"))
    assert {path for photo in document["photos"] for path in photo["paths"]} == {"ann/one.jpg", "ann/two.jpg"}
    assert not (project.photos / "ann").exists()
    assert project.where(PIXELS) == project.where(PeopleProject.pixels("ann/two")) == []
    assert project.where(PeopleProject.pixels("bob/one"))


def test_the_same_bytes_in_another_persons_folder_are_named_and_go_too(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    project = PeopleProject(settings, instance)
    shutil.copyfile(project.photos / "ann" / "one.jpg", project.photos / "bob" / "copy.jpg")
    project.run()
    text = project("forget", "ann/one.jpg", "--yes")
    assert "ann/one.jpg, bob/copy.jpg" in text and "it is one photo" in text
    assert project.where(PIXELS) == []


def test_an_older_version_that_still_had_it_is_erased_too(project: PeopleProject) -> None:
    (project.photos / "ann" / "one.jpg").unlink()
    project.run()
    assert project.where(PIXELS)
    project("forget", "ann/one.jpg", "--yes")
    assert project.where(PIXELS) == []


def test_who_when_and_why_are_in_the_ledger_that_every_machine_reads(
    project: PeopleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKENESS_USER", "anna")
    project("forget", "ann/one.jpg", "--yes", "--why", "asked to")
    (entry,) = json.loads(project("lineage", "ann/one.jpg", "--json"))["forgotten"]
    assert (
        entry["who"].startswith("anna@")
        and entry["when"].endswith("Z")
        and entry["why"] == "asked to"
        and entry["done"]
    )
    assert project.instance.fetch_observations(dg.AssetKey(KEY), limit=1).records


def test_another_machines_copies_go_when_it_is_run_there(
    project: PeopleProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(project.settings.home / "cache", copy)
    project("forget", "ann/one.jpg", "--yes")
    shutil.copytree(copy, project.settings.home / "cache", dirs_exist_ok=True)
    shutil.rmtree(copy)
    assert project.where(PIXELS)
    project("forget", "ann/one.jpg", "--yes")
    assert project.where(PIXELS) == []


def test_it_waits_for_no_run_and_tears_none(project: PeopleProject) -> None:
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


JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256))


PACKAGE = {
    "code/package/__init__.py": b"",
    "code/package/encoder.py": b"import math\n\n\nclass Encoder: ...\n",
    "code/package/reference.json": b"{}",
    "model/schema.yaml": b"name: embedded\nlabel: somebody's words\n",
    "model/face_landmarker.task": b"PK" + bytes(200),
}
ODD = {
    "IMG_0002.jpg": b"",
    "IMG_0003.jpg": b"\n",
    "IMG_0004.jpg": PACKAGE["code/package/encoder.py"][:24],
    "short.jpg": JPEG[:20],
    "zeros.jpg": bytes(100),
    "notes.json": b"{}",
    "notes.txt": PACKAGE["code/package/encoder.py"],
    "schema.yaml": PACKAGE["model/schema.yaml"],
    "part.txt": PACKAGE["model/schema.yaml"][5:],
    "face_landmarker.task": PACKAGE["model/face_landmarker.task"],
}
"""What lies in people's folders, and is one of a registered model's files or a part of one."""


def odd_project(settings: Settings, instance: dg.DagsterInstance, files: dict[str, bytes]) -> PeopleProject:
    """Ann's folder has files more, and the model in production a package: code, schema, landmark model."""
    project = PeopleProject(settings, instance)

    def pack(out: Path) -> None:
        for path, text in PACKAGE.items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(text)

    project.packs("production_encoder", pack)
    no_pictures = [Path(name).stem for name, content in files.items() if not erase_search.is_picture(content)]
    project.configure(aligned_faces={"refused": no_pictures})
    for name, content in files.items():
        (project.photos / "ann" / name).write_bytes(content)
    project.run()
    project.register("production")
    return project


def test_whatever_lies_in_a_persons_folder_the_registered_model_keeps_all_its_files(
    settings: Settings, instance: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = odd_project(settings, instance, ODD)
    plan = json.loads(project("forget", "ann", "--person", "--yes", "--json"))
    assert not [erased for erased in plan["erase"] if erased["file"].startswith("production_encoder")]
    assert not (project.photos / "ann").exists() and project.where(PIXELS) == []
    out = tmp_path_factory.mktemp("restored") / "out"
    project("restore", "production", "--out", str(out), status=1)
    assert {path: (out / "production_encoder" / path).read_bytes() for path in PACKAGE} == PACKAGE
    assert Store.of(settings).availability(project.md5("production_encoder")).remote
    assert project.run()[0] == "aligned_faces"


def test_an_empty_file_alone_takes_nothing_along(settings: Settings, instance: dg.DagsterInstance) -> None:
    project = odd_project(settings, instance, {"IMG_0002.jpg": b""})
    checkpoint = settings.checkpoints / "aligned_faces" / "key" / "part.parquet"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"hours of work")
    held = Store.of(settings).sizes()
    plan = json.loads(project("forget", "ann/IMG_0002.jpg", "--yes", "--json"))
    assert plan["erase"] == [] and plan["erase_here"] == [] and list(plan["spared"]) == [erase_search.EMPTY]
    assert not (project.photos / "ann" / "IMG_0002.jpg").exists() and checkpoint.exists()
    assert all(Store.of(settings).sizes()[place].keys() >= held[place].keys() for place in held)


@pytest.mark.parametrize("source", ["data/embedded", "characters/embedded"])
def test_a_photo_that_is_also_a_file_of_the_project_is_deleted_and_its_bytes_stay(
    settings: Settings, instance: dg.DagsterInstance, source: str
) -> None:
    (settings.root / source / "picture.jpg").write_bytes(JPEG)
    project = odd_project(settings, instance, {"shipped.jpg": JPEG})
    text = project("forget", "ann/shipped.jpg", "--yes")
    assert "spared: ann/shipped.jpg: cache and remote keep these bytes" in text.replace("\n", " ")
    assert not (project.photos / "ann" / "shipped.jpg").exists()
    assert (settings.root / source / "picture.jpg").read_bytes() == JPEG
    out = settings.root / "restored"
    project("restore", "production", "--out", str(out), status=1)
    assert len(list(out.rglob("picture.jpg"))) == 1


def test_text_that_another_person_has_too_stays_with_the_other(project: PeopleProject) -> None:
    for name in ("ann", "bob"):
        (project.photos / name / "notes.txt").write_text("wears glasses")
    project.run()
    project("forget", "ann", "--person", "--yes")
    assert (project.photos / "bob" / "notes.txt").read_text() == "wears glasses"
    assert Store.of(project.settings).availability(project.md5("photos")).remote
    (entry,) = json.loads(project("lineage", "ann/one.jpg", "--json"))["forgotten"]
    assert set(entry["photos"]) == {"ann/one.jpg", "ann/two.jpg", "ann/notes.txt"}


def test_a_model_in_use_that_has_the_photo_in_its_package_is_named_and_nothing_is_erased(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    project = PeopleProject(settings, instance)
    project.packs("production_encoder", lambda out: (out / "example.jpg").write_bytes(PIXELS))
    project.run()
    project.register("production")
    before = project.where(PIXELS)
    project("forget", "ann/one.jpg", "--yes", status=1)
    assert "version 1 (production) has it in its package (example.jpg)" in project.said
    assert project.where(PIXELS) == before


def test_what_goes_is_shown_by_version_with_number_and_size(project: PeopleProject) -> None:
    text = project("forget", "ann/one.jpg", "--dry-run")
    (line,) = (line for line in text.splitlines() if "cache and remote, aligned_faces" in line)
    assert "faces.parquet, photos.png, portraits.png" in line and " 3 " in line


def test_a_dry_run_answers_while_a_run_is_at_work(project: PeopleProject) -> None:
    with only_runner(project.settings, project.instance):
        assert "nothing was changed" in project("forget", "ann/one.jpg", "--dry-run")
        assert "nothing was removed" in project("clean", "--dry-run")


KILLED = """
import os, sys
from orchestration.lineage import erase
from orchestration.cli.main import app
setattr(erase.Eraser, "_erase_tracked", lambda self, plan: os._exit(9))
app(["forget", "ann/one.jpg", "--yes", "--why", "asked to"])
"""


def test_killed_half_way_the_same_command_finishes(project: PeopleProject) -> None:
    assert callable(erase.Eraser._erase_tracked)
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
