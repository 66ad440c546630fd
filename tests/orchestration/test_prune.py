"""Cleaning frees what nothing needs, and nothing else."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.apps.service import release_source
from orchestration.config.settings import Settings
from orchestration.lineage import prune
from orchestration.lineage.prune import DAY
from orchestration.registry.registered_models import Registry
from orchestration.storage.instance import only_runner
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking
from serving.releases import Release
from stages.data import alignment_cache, feature_cache
from tests.orchestration.faces import PeopleProject, opened_copy

pytestmark = pytest.mark.slow


def retrain(project: PeopleProject, steps: int) -> None:
    project.configure(encoder={"steps": steps})
    project.run()


@pytest.fixture(scope="module")
def retrained(made: PeopleProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Version 1 was registered, version 2 rejected; of the two encoders after them the first (its md5) is nobody's."""
    with opened_copy(made.settings.root, tmp_path_factory.mktemp("retrained") / "project") as project:
        retrain(project, 20)
        number = project.register("candidate")
        registry = Registry(Tracking.of(project.settings), "embedded")
        registry.client.set_model_version_tag(registry.name, number, "rejected", "rolled back")
        retrain(project, 30)
        unneeded = project.md5("encoder")
        retrain(project, 40)
        yield project.settings.root, unneeded


@pytest.fixture
def unneeded(retrained: tuple[Path, str]) -> str:
    return retrained[1]


@pytest.fixture
def used(retrained: tuple[Path, str], tmp_path: Path) -> Iterator[PeopleProject]:
    """A copy of it for one test."""
    with opened_copy(retrained[0], tmp_path / "project") as copy:
        copy.configure(encoder={"steps": 40})
        yield copy


def test_what_no_model_and_no_current_asset_needs_goes_from_cache_and_remote(
    used: PeopleProject, unneeded: str
) -> None:
    current = used.md5("encoder")
    plan = json.loads(used("clean", "--older-than", "0", "--dry-run", "--json"))
    assert unneeded in {version["md5"] for version in plan["versions_dropped"]} and plan["freed"] == 0
    assert Store.of(used.settings).availability(unneeded).here
    done = json.loads(used("clean", "--older-than", "0", "--yes", "--json"))
    assert done["freed"] == done["bytes"] > 0
    left, kept = (Store.of(used.settings).availability(md5) for md5 in (unneeded, current))
    assert not (left.here or left.remote) and kept.here and kept.remote


def test_every_registered_version_can_be_restored_afterwards_the_rejected_too(
    used: PeopleProject, tmp_path: Path
) -> None:
    used("clean", "--older-than", "0", "--yes")
    for number in ("1", "2"):
        used("restore", number, "--out", str(tmp_path / number))
    assert used.run() == []
    nodes = json.loads(used("lineage", used.md5("production_encoder"), "--json"))["nodes"]
    assert all(node["bytes"] == ["here", "remote"] for node in nodes)


def test_cleaning_twice_frees_nothing_more(used: PeopleProject) -> None:
    used("clean", "--older-than", "0", "--yes")
    assert "nothing was removed" in used("clean", "--older-than", "0", "--yes")


def test_what_is_young_and_the_newest_few_stay(used: PeopleProject) -> None:
    assert json.loads(used("clean", "--dry-run", "--json"))["versions_dropped"] == []
    many = ("--keep", "9", "--older-than", "0")
    assert json.loads(used("clean", *many, "--dry-run", "--json"))["versions_dropped"] == []


def test_dead_checkpoints_computed_features_and_half_written_folders_go_the_young_ones_stay(
    project: PeopleProject,
) -> None:
    old, young = (project.settings.checkpoints / "encoder-embedded" / name for name in ("old", "young"))
    features = project.settings.cache / "features" / "a.safetensors"
    faces = alignment_cache.file_in(project.settings.cache)
    half = project.settings.root / "artifacts" / ".encoder-1.partial"
    for path in (old / "checkpoint.safetensors", young / "checkpoint.safetensors", features, faces, half / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
    month_ago = time.time() - 30 * prune.DAY
    for path in (old / "checkpoint.safetensors", old, features, faces):
        os.utime(path, (month_ago, month_ago))
    kinds = json.loads(project("clean", "--yes", "--json"))["kinds"]
    assert [kinds[name]["bytes"] for name in ("checkpoints", "computed", "inputs")] == [4, 8, 4]
    assert young.is_dir() and not any(path.exists() for path in (old, features, faces, half))


def test_a_version_that_the_service_answers_with_stays(settings: Settings) -> None:
    settings = settings.model_copy(update={"keep_served_days": 7.0})
    source, release = release_source(settings, "production"), Release("likeness-embedded", 1, {"run": "0" * 32})
    assert not source.hold(release), "it has to be fetched"
    folder, month_ago = settings.home / "serving" / "releases" / f"{release.model}-1-{'0' * 12}", time.time() - 30 * DAY
    folder.mkdir(parents=True)
    os.utime(folder, (month_ago, month_ago))
    assert [kind.paths for kind in prune.served(settings)] == [[folder]]
    assert source.hold(release)
    assert [kind.paths for kind in prune.served(settings)] == [[]]


def test_what_networks_saw_goes_face_by_face_when_no_run_asked_for_it(
    project: PeopleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, day = feature_cache.file_in(project.settings.cache), feature_cache.today()
    for ago, name in ((30, "old"), (0, "new")):
        monkeypatch.setattr(feature_cache, "today", lambda ago=ago: day - ago)
        with feature_cache.FeatureCache(file, "network", 4) as cache:
            cache.put({name: b"1234"})
    assert json.loads(project("clean", "--yes", "--json"))["kinds"]["features"] == {"count": 1, "bytes": 4}
    with feature_cache.FeatureCache(file, "network", 4) as cache:
        assert cache.get(["old", "new"]) == [None, b"1234"]


def test_objects_of_an_interrupted_step_go_and_another_projects_in_the_same_remote_stay(project: PeopleProject) -> None:
    store = Store.of(project.settings)
    draft = project.settings.root / "draft"
    draft.mkdir()
    (draft / "content.txt").write_text("nobody recorded this")
    md5 = store.put(draft)
    month_ago = time.time() - 30 * prune.DAY
    for oid in (md5, *store.listing(md5).values()):
        os.utime(project.settings.home / "cache" / "files" / "md5" / oid[:2] / oid[2:], (month_ago, month_ago))
    project("clean", "--yes")
    objects = store.sizes()
    assert md5 not in objects["cache"] and md5 in objects["remote"]


def test_it_refuses_while_a_run_is_at_work_and_asks_before_it_removes(used: PeopleProject, unneeded: str) -> None:
    with only_runner(used.settings, used.instance):
        used("clean", "--yes", status=1)
    assert "another `likeness run` is at work" in used.said
    used("clean", "--older-than", "0", status=1)
    assert Store.of(used.settings).availability(unneeded).here
