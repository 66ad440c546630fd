"""Which photos `create` is meant to read."""

import os
from pathlib import Path

import pytest

from orchestration.apps.create import CreationError, _content, folder_of, photos_of


def _files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"photo")
    return root


def test_a_folder_stands_for_the_photos_below_it_beside_photos_by_name(tmp_path: Path) -> None:
    folder = _files(tmp_path / "team", "ben.png", "anna.jpg", "more/cleo.webp", "notes.txt")
    alone = _files(tmp_path, "dora.jpg") / "dora.jpg"
    names = [path.relative_to(tmp_path).as_posix() for path in photos_of([folder, alone], print)]
    assert names == ["team/anna.jpg", "team/ben.png", "team/more/cleo.webp", "dora.jpg"]


def test_pictures_that_create_wrote_into_the_folder_are_not_read_again(tmp_path: Path) -> None:
    _files(tmp_path, "anna.jpg", "out/anna/aligned.png", "out/anna/render.png", "out/anna/character.json")
    assert photos_of([tmp_path], print) == [tmp_path / "anna.jpg"]


@pytest.mark.parametrize("names", [(), ("notes.txt", "deep/er/CREDITS.md")])
def test_a_folder_without_photos_is_an_error_that_says_so(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = _files(tmp_path, *names)
    with pytest.raises(CreationError, match="is a folder without photos: name the photos, or a folder that holds some"):
        photos_of([folder], print)


@pytest.mark.parametrize(
    ("name", "words"),
    [("me.jpg", "there is no such file"), ("*.jpg", "no file has a name of this pattern"), ("pipe", "this is no file")],
)
def test_what_cannot_be_read_is_told_in_words(tmp_path: Path, name: str, words: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=f"^{words}"):
        _content(tmp_path / name, None)
    with pytest.raises(OSError, match=f"{name.replace('*', '[*]')}: {words}"):
        _content(tmp_path / name, tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_photo_that_may_not_be_read_is_told_with_the_remedy(tmp_path: Path) -> None:
    photo = _files(tmp_path, "me.jpg") / "me.jpg"
    photo.chmod(0)
    with pytest.raises(PermissionError, match="chmod"):
        _content(photo, None)


def test_what_is_left_out_of_a_folder_is_said(tmp_path: Path) -> None:
    folder, said = _files(tmp_path, "anna.jpg", "clip.mov", "._anna.jpg"), []
    photos_of([folder], said.append)
    (line,) = said
    assert "1 photo read" in line and "clip.mov (a video" in line and "._anna.jpg (left by a system" in line


def test_a_character_is_never_written_over_something_else(tmp_path: Path) -> None:
    _files(tmp_path, "anna/1.jpg", "ben", "cleo/character.json", "cleo/cleo.glb")
    for taken in ("anna", "ben"):
        with pytest.raises(CreationError, match=f"{taken} is there and holds no character: choose another --out"):
            folder_of(tmp_path, taken)
    assert folder_of(tmp_path, "cleo") == tmp_path / "cleo" and folder_of(tmp_path, "new") == tmp_path / "new"
    assert folder_of(tmp_path, "x" * 300).name == "x" * 300, "that is the photo's error, when it is written"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_a_name_that_is_no_folders_own_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CreationError, match="cannot be the name of a folder"):
        folder_of(tmp_path, name)


def test_a_name_that_is_too_long_keeps_no_other_photo_from_being_read(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300 + ".jpg")
    assert photos_of([long, tmp_path / "me.jpg"], print) == [long, tmp_path / "me.jpg"]
