"""A project that was moved, copied or restored goes on working, on its own files alone; doctor loads what is served."""

import json
import pkgutil
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pydantic import ValidationError

from orchestration.cli import terminal
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.doctor import models
from orchestration.registry.registered_models import Registry
from orchestration.storage import mlflow_files
from orchestration.storage.tracking import Tracking
from tests.serving import support

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A project with version 1 in production."""
    settings = Settings(root=tmp_path_factory.mktemp("original"))
    shutil.copytree(support.EMBEDDED, settings.characters / "embedded")
    support.registered(settings.home, 1)
    return settings


def copied(original: Settings, root: Path) -> Settings:
    shutil.copytree(original.root, root)
    return Settings(root=root)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["copy", "Spiel für Jörg", "100% #2;x"])
def test_a_copy_is_served_from_its_own_files_and_leaves_the_original_alone(
    original: Settings, tmp_path: Path, name: str
) -> None:
    copy, before = copied(original, tmp_path / name), contents(original.home / "mlflow")
    registry = Registry(Tracking.of(copy), "embedded")
    model, version = registry.load("production")
    assert model.folder.is_relative_to(copy.home) and version.version in (1, "1")
    with registry.tracking.run("more", {}) as run:
        run.document({"a": 1}, "scorecard.json")
    assert json.loads((copy.model_files / run.run_id / "artifacts" / "scorecard.json").read_text()) == {"a": 1}
    assert contents(original.home / "mlflow") == before
    assert registry.lost(str(version.version)) == ""


def test_a_server_of_this_environment_shows_the_files_of_a_copy(
    original: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copied(original, tmp_path / "copy")
    named = MlflowClient(copy.tracking_uri).get_model_version_download_uri("likeness-embedded", "1")
    assert named.startswith(original.model_files.as_uri())
    monkeypatch.setenv(mlflow_files.SERVER_STORE, copy.tracking_uri)
    monkeypatch.setenv(mlflow_files.SERVER_FILES, copy.model_files.as_uri())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    plugin = pkgutil.resolve_name(project["entry-points"]["mlflow.artifact_repository"]["file"])
    assert Path(plugin(named).artifact_dir).is_relative_to(copy.home)


def test_a_moved_home_is_found_wherever_it_lies(original: Settings, tmp_path: Path) -> None:
    moved = copied(original, tmp_path / "project")
    elsewhere = moved.home.rename(tmp_path / "big disk")
    settings = Settings(root=moved.root, home=elsewhere)
    (finding,) = models.check(settings)
    assert finding.level == "ok" and "version 1 is in production, loaded in" in finding.detail


def test_a_database_of_several_homes_is_followed_only_when_the_other_is_gone(
    original: Settings, tmp_path: Path
) -> None:
    second = copied(original, tmp_path / "second")
    uri = f"sqlite:///{shutil.move(second.home / 'mlflow' / 'mlflow.db', tmp_path / 'shared.db')}"
    tracking = Tracking.of(second.model_copy(update={"mlflow_uri": uri}))
    tracking.client()
    assert mlflow_files.others(uri, second.model_files) == [original.model_files]
    hidden = original.root.rename(tmp_path / "gone")
    try:
        assert mlflow_files.others(uri, second.model_files) == []
        assert Registry(tracking, "embedded").load("1")[0].folder.is_relative_to(second.home)
    finally:
        hidden.rename(original.root)


def test_a_question_mark_in_the_folders_name_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as error:
        Settings(root=tmp_path / "a?b")
    assert "rename the folder" in terminal.wrong_setting(error.value)


def test_an_environment_that_was_copied_along_does_not_work_on_the_original(
    original: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orchestration").mkdir()
    (tmp_path / "orchestration" / "definitions.py").touch()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "likeness"), "run"])
    for name in ("LIKENESS_ROOT", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    assert terminal.project_of_a_copied_program() == tmp_path
    monkeypatch.setenv("LIKENESS_ROOT", str(original.root))
    assert terminal.project_of_a_copied_program() is None


def test_doctor_says_what_is_wrong_with_what_is_in_production(original: Settings, tmp_path: Path) -> None:
    settings = copied(original, tmp_path / "project")
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    for version, alias in (("1", "production"),):
        client.delete_registered_model_alias("likeness-embedded", alias)
        (finding,) = models.check(settings)
        assert finding.level == "warning" and "no version in production" in finding.detail
        assert "test promoted version 1" in finding.detail and "promote 1 --force" in finding.remedy
        client.set_registered_model_alias("likeness-embedded", alias, version)
    shutil.rmtree(settings.model_files / "models")
    (finding,) = models.check(settings)
    assert finding.level == "error" and "the files of version 1 are gone" in finding.detail
    shutil.rmtree(settings.characters / "embedded")
    assert "is gone" in next(iter(models.check(settings))).detail


def test_the_registered_model_asks_for_versions_that_every_index_has(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    from packaging.requirements import Requirement
    from packaging.version import Version

    from orchestration.promotion import packaging

    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cpu")
    asked = [Requirement(line) for line in packaging.requirements()]
    assert {requirement.name for requirement in asked} == set(packaging.PIP_REQUIREMENTS)
    for requirement in asked:
        (pin,) = requirement.specifier
        assert (pin.operator, pin.version, Version(pin.version).local) == ("==", "2.13.0", None)
