"""What of a source changes its md5, and what is said of the rest."""

import os
import shutil
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import runner
from orchestration.pipeline.assets import source_assets
from orchestration.pipeline.sensors import fingerprint
from orchestration.storage import versions
from orchestration.storage.project import Project
from orchestration.storage.store import Store
from stages.data import source_files
from tests.orchestration.faces import PeopleProject
from tests.stages.data.test_source_files import JPEG

JUNK = (".DS_Store", "Thumbs.db", ".content.txt.swp", "content.txt~", "README.md", "LICENSE.txt", ".gitkeep",
        ".gitignore", "pairs.dvc", ".dvcignore", "__pycache__/a.pyc", ".git/HEAD", "@eaDir/a.jpg/T.jpg",
        "._a.jpg")  # fmt: skip


@pytest.fixture
def opened(settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> Project:
    return Project.of(settings, instance, stages)


@pytest.fixture
def photos(settings: Settings) -> Path:
    return settings.data / "photos"


def leave(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0left behind")


@pytest.mark.slow
def test_what_programs_leave_in_a_source_makes_nothing_again(
    settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]
) -> None:
    def run() -> list[str]:
        return runner.run(settings, instance, stages, Progress(lambda line: None), "embedded").made

    assert len(run()) == len(stages)
    for folder in ("data/embedded", "data/photos", "data/photos/someone", "characters/embedded"):
        leave(settings.root / folder, *JUNK)
    assert run() == []
    (settings.data / "photos" / "list.txt").write_text("a list of a published set")
    assert run() == ["faces", "encoder/embedded"]


def test_a_version_that_was_recorded_with_such_files_stays_the_one(
    opened: Project, instance: dg.DagsterInstance, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(photos, "CREDITS.md", "someone/._1.jpg")
    with monkeypatch.context() as patched:
        patched.setattr("orchestration.storage.source_files.rule_of", lambda root, folder: None)
        before = opened.store.put(photos)
        versions.observe(instance, "photos", before)
    assert opened.store.md5(photos) != before
    assert not opened.observe("photos") and opened.hash_source("photos") == before
    (photos / "someone" / "1.jpg").write_bytes(JPEG)
    assert opened.observe("photos") and opened.hash_source("photos") == opened.store.md5(photos)


def test_a_photo_that_was_taken_away_is_a_change_whatever_its_name_says(
    opened: Project, instance: dg.DagsterInstance, photos: Path
) -> None:
    (photos / "someone" / "IMG_0001").write_bytes(JPEG)
    opened.observe("photos")
    (photos / "someone" / "IMG_0001").unlink()
    assert opened.observe("photos")


def test_a_renderer_stays_where_it_is_though_its_version_has_a_text_more(
    opened: Project, instance: dg.DagsterInstance, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings.characters / "other"
    leave(own, "README.md", "__pycache__/engine.pyc")
    with monkeypatch.context() as patched:
        patched.setattr("orchestration.storage.source_files.rule_of", lambda root, folder: None)
        versions.observe(instance, "characters", opened.store.put(own), "other")
    version = opened.latest("character", "other")
    assert version and opened.fetch("character", version) == own


def test_what_is_linked_is_hashed_and_comes_back_as_files(opened: Project, photos: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    (away / "cleo").mkdir(parents=True)
    (away / "cleo" / "1.jpg").write_bytes(JPEG)
    (photos / "cleo").symlink_to(away / "cleo")
    (photos / "someone" / "1.jpg").symlink_to(away / "cleo" / "1.jpg")
    (photos / "someone" / "loop").symlink_to(photos)
    (photos / "someone" / "gone.jpg").symlink_to(away / "gone.jpg")
    md5 = opened.store.put(photos)
    assert set(opened.store.listing(md5)) == {"cleo/1.jpg", "someone/1.jpg", "someone/content.txt"}
    fetched = opened.store.fetch(md5)
    assert not (fetched / "cleo").is_symlink() and (fetched / "cleo" / "1.jpg").read_bytes() == JPEG
    (away / "cleo" / "1.jpg").write_bytes(JPEG + b"another")
    assert opened.store.md5(photos) != md5


def test_a_name_that_is_not_utf8_stops_neither_a_run_nor_the_sensor_and_is_told(
    opened: Project, instance: dg.DagsterInstance, photos: Path
) -> None:
    strange = Path(os.fsdecode(os.fsencode(photos) + b"/M\xfcller"))
    leave(strange, "1.jpg")
    assert opened.observe("photos") and fingerprint(photos)
    assert "M\\xfcller" in opened.left_out("photos")
    metadata = versions.latest(instance, "photos").metadata  # type: ignore[union-attr]
    assert "M\\xfcller" in metadata["read"]
    assert [record.data["left out"] for record in metadata["left out"].records] == ["M\\xfcller"]
    opened.store.add(photos.parent)  # as `likeness inputs` does


@pytest.mark.slow
def test_a_run_says_what_it_left_out_and_why(
    settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...], photos: Path
) -> None:
    leave(photos, "someone/a.mov", "someone/b.cr2")
    (photos / "someone" / "1.jpg").write_bytes(JPEG)
    lines: list[str] = []
    runner.run(settings, instance, stages, Progress(lines.append, every=0), "embedded")
    (line,) = (line for line in lines if line.startswith("photos: "))
    assert "1 photo and 1 other file read" in line
    assert f"someone/a.mov ({source_files.VIDEO})" in line and f"someone/b.cr2 ({source_files.RAW})" in line


def test_the_projects_own_dvcignore_is_honoured_and_named(opened: Project, settings: Settings, photos: Path) -> None:
    before = opened.store.md5(photos)
    (photos / "someone" / "blurred.jpg").write_bytes(JPEG)
    (settings.root / ".dvcignore").write_text("blurred*\n")
    assert opened.store.md5(photos) == before
    assert f"someone/blurred.jpg ({source_files.IGNORED})" in opened.left_out("photos")


def test_a_photo_set_that_is_a_repository_of_its_own_is_read(opened: Project, photos: Path) -> None:
    leave(photos, "set/.git/HEAD", "set/.dvc/config")
    (photos / "set" / "1.jpg").write_bytes(JPEG)
    assert set(opened.store.listing(opened.store.put(photos))) == {"set/1.jpg", "someone/content.txt"}


def test_an_observation_that_dagster_makes_itself_gives_the_same_version(
    opened: Project, instance: dg.DagsterInstance, photos: Path
) -> None:
    # Not public: what the button *Observe* of Dagster's pages does.
    from dagster._core.definitions.observe import observe

    assert observe(
        [source for source in source_assets(opened.graph) if source.key.path == ["photos"]], instance=instance
    )
    seen = versions.latest(instance, "photos")
    assert seen and seen.md5 == opened.store.md5(photos)


def test_a_project_without_git_is_kept_and_fetched_and_its_commit_is_unknown(
    settings: Settings, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.root / ".dvc" / "config").write_text("[core]\n    remote = likeness\n")
    store = Store.of(settings)
    assert store.fetch(store.put(photos)).is_dir()

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    versions.git_commit.cache_clear()
    try:
        assert versions.git_commit() == versions.UNKNOWN
    finally:
        versions.git_commit.cache_clear()


@pytest.mark.slow
def test_a_person_is_found_in_either_normal_form_in_lineage_and_forget(project: PeopleProject) -> None:
    composed, decomposed = "Jos\u00e9", "Jose\u0301"
    project.add_photo(f"{decomposed}/one")
    project.run()
    for name in (composed, decomposed):
        assert "one.jpg" in project("lineage", f"{name}/one.jpg")
        assert "one.jpg" in project("forget", name, "--person", "--dry-run")


def test_a_person_in_another_case_is_asked_for_and_not_erased(project: PeopleProject) -> None:
    project("forget", "ANN", "--person", "--yes", status=1)
    assert "is it 'ann'?" in project.said and (project.photos / "ann" / "one.jpg").is_file()


def test_a_person_whose_folder_is_linked_is_found(project: PeopleProject, tmp_path: Path) -> None:
    shutil.move(project.photos / "bob", tmp_path / "bob")
    (project.photos / "bob").symlink_to(tmp_path / "bob")
    assert "bob/one.jpg" in project("forget", "bob", "--person", "--dry-run")
