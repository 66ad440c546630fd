"""What a photo is, what counts of a source, and what is said of the rest."""

import os
from pathlib import Path

import pytest

from models import images
from stages.data import source_files
from stages.data.photo_sets import FolderSet, photos_of
from stages.data.source_files import anything, photos_alone, photos_and_lists, report
from tests.models.support import PHOTOS

JPEG = images.encode_jpeg(images.shrink(images.decode_photo(PHOTOS[0]), 64)[0])


def lay(folder: Path, *names: str, content: bytes = JPEG) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def found(folder: Path) -> list[str]:
    """Photos that the set of own photos finds."""
    return [photo.id.removeprefix("photos/") for photo in photos_of([FolderSet(name="photos", path=".")], folder)]


@pytest.mark.parametrize(
    "name",
    [*(f"a.{ending}" for ending in ("jpg", "JPG", "jpeg", "jpe", "jfif", "pjpeg", "mpo", "png", "webp", "avif", "bmp")),
     *(f"a.{ending}" for ending in ("tif", "TIFF", "gif", "heic", "HEIF", "hif")),
     "IMG_0001", "photo.download.JPG", "a.jpg.1", "picture.dat", "2024-01-01T10:00:00"],
)  # fmt: skip
def test_a_picture_is_found_by_its_ending_or_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    lay(tmp_path, f"ann/{name}")
    assert found(tmp_path) == [f"ann/{name}"]


@pytest.mark.parametrize(
    "name",
    ["._1.jpg", "__MACOSX/ann/1.jpg", "ann/@eaDir/1.jpg/THUMB_M.jpg", ".thumbnails/1.jpg", ".Trash-1000/1.jpg",
     "#recycle/1.jpg", "$RECYCLE.BIN/1.jpg", ".picasaoriginals/1.jpg", ".hidden/1.jpg", ".1.jpg", "~$1.jpg",
     "1.jpg.part", "1.jpg.crdownload", "1.jpg~", "1.sync-conflict-20240101-120000-ABCDEFG.jpg", ".git/1.jpg",
     "1 (Ann's conflicted copy 2024-01-01).jpg", "Thumbs.db", "1.jpg.bak", ".@__thumb/1.jpg",
     "1.jpg:Zone.Identifier", "Icon\r"],
)  # fmt: skip
def test_what_programs_leave_is_no_photo_and_counts_for_no_source(tmp_path: Path, name: str) -> None:
    lay(tmp_path, "ann/0.jpg", name)
    assert found(tmp_path) == ["ann/0.jpg"]
    assert [path.name for path in source_files.counted(tmp_path, photos_and_lists)] == ["0.jpg"]
    assert report(tmp_path).left_out


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("IMG_1.CR2", b"II*\0raw", source_files.RAW),
        ("IMG_1.dng", b"II*\0raw", source_files.RAW),
        ("IMG_1.MOV", b"\0\0\0\x14ftypqt  ", source_files.VIDEO),
        ("IMG_1", b"\0\0\0\x18ftypmp42", source_files.VIDEO),
        ("scan.jp2", b"\0\0\0\x0cjP  ", source_files.UNREAD),
        ("IMG_1.jpg.json", b"{}", source_files.NO_PICTURE),
        ("notes", b"BM is how this text begins, and no bitmap", source_files.NO_PICTURE),
        ("empty", b"", source_files.NO_PICTURE),
        ("CREDITS.md", b"by Ann", source_files.DOCUMENT),
        ("README.txt", b"about", source_files.DOCUMENT),
    ],
)
def test_what_is_no_photo_is_left_out_with_its_reason(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    lay(tmp_path, name, content=content)
    assert photos_alone(name, tmp_path / name) == why
    assert str(report(tmp_path)) == f"0 photos read; left out: {name} ({why})"


def test_a_photo_that_is_no_picture_is_still_one_so_that_its_row_says_why(tmp_path: Path) -> None:
    lay(tmp_path, "ann/1.jpg", content=b"<html>not found</html>")
    lay(tmp_path, "ann/2.jpg", content=b"")
    assert found(tmp_path) == ["ann/1.jpg", "ann/2.jpg"]


def test_lists_of_published_sets_count_for_the_source_and_texts_for_people_do_not(tmp_path: Path) -> None:
    lay(tmp_path, "lfw/pairs.txt", "celeba/a.csv", "x.mat", "x.bin", "x.parquet", "README.txt", "LICENSE.txt", "a.md")
    counted = [path.relative_to(tmp_path).as_posix() for path in source_files.counted(tmp_path, photos_and_lists)]
    assert counted == ["celeba/a.csv", "lfw/pairs.txt", "x.bin", "x.mat", "x.parquet"]


def test_of_a_character_all_counts_that_a_renderer_may_read(tmp_path: Path) -> None:
    lay(tmp_path, "schema.yaml", "engine", ".config", "data/mesh.bin", "notes.txt")
    lay(tmp_path, "__pycache__/a.pyc", ".git/HEAD", ".idea/w.xml", ".schema.yaml.swp", "schema.yaml~", "pairs.dvc")
    lay(tmp_path, ".gitignore", ".DS_Store", "README.md", "LICENSE")
    counted = [path.relative_to(tmp_path).as_posix() for path in source_files.counted(tmp_path, anything)]
    assert counted == [".config", "data/mesh.bin", "engine", "notes.txt", "schema.yaml"]


def test_links_are_followed_once_and_those_that_lead_nowhere_or_back_are_named(tmp_path: Path) -> None:
    photos, away = tmp_path / "photos", tmp_path / "away"
    lay(away, "cleo/1.jpg")
    lay(photos, "ann/1.jpg")
    (photos / "cleo").symlink_to(away / "cleo")
    (photos / "dora").mkdir()
    (photos / "dora" / "1.jpg").symlink_to(away / "cleo" / "1.jpg")
    (photos / "dora" / "gone.jpg").symlink_to(away / "nothing.jpg")
    (photos / "dora" / "back").symlink_to(photos)
    (photos / "dora" / "root").symlink_to("/")
    (photos / "twin").symlink_to("ann")
    (photos / "self").symlink_to("self")
    assert found(photos) == ["ann/1.jpg", "cleo/1.jpg", "dora/1.jpg"]
    back, nowhere = ["dora/back", "dora/root", "twin"], ["dora/gone.jpg", "self"]
    assert report(photos).why() == {source_files.BACK: back, source_files.NOWHERE: nowhere}


def test_a_name_that_is_not_utf8_is_left_out_and_can_be_printed(tmp_path: Path) -> None:
    lay(tmp_path, "ann/1.jpg")
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    lay(strange, "1.jpg")
    lay(tmp_path / "ann", os.fsdecode(b"b\xe9b\xe9.jpg"))
    assert found(tmp_path) == ["ann/1.jpg"]
    line = str(report(tmp_path))
    assert "M\\xfcller" in line and "ann/b\\xe9b\\xe9.jpg" in line and source_files.NOT_UTF8 in line
    line.encode()


@pytest.mark.parametrize(
    "name", ["ann ", " ann", "a\nn", "ann 👩\u200d👧", "#1", "100%", "a;b", "it's", "a\\b", "a&b?c*", "-rf"]
)
def test_an_odd_name_is_a_person_and_stays_on_one_line(tmp_path: Path, name: str) -> None:
    lay(tmp_path, f"{name}/1.jpg", f"{name}/1.mov")
    (photo,) = photos_of([FolderSet(name="photos", path=".")], tmp_path)
    assert photo.person == name and photo.id == f"photos/{name}/1.jpg"
    assert "\n" not in str(report(tmp_path))


def test_a_name_in_two_normal_forms_is_one_person_and_in_two_cases_are_two_who_are_named(tmp_path: Path) -> None:
    lay(tmp_path, "Jose\u0301/1.jpg", "Jos\u00e9/2.jpg", "Ann/1.jpg", "ann/1.jpg")
    people = [photo.person for photo in photos_of([FolderSet(name="photos", path=".")], tmp_path)]
    assert sorted(people) == ["Ann", "Jos\u00e9", "Jos\u00e9", "ann"]
    assert report(tmp_path).alike == [["Ann", "ann"]] and "'Ann' and 'ann' are two people" in str(report(tmp_path))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert report(tmp_path).why() == {source_files.SPECIAL: ["pipe.jpg"]}


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        report(tmp_path / "nowhere")


def test_dvcs_own_commands_are_told_the_same() -> None:
    from dvc.fs import LocalFileSystem
    from dvc.ignore import DvcIgnorePatterns

    root = Path(__file__).resolve().parents[3]
    patterns = DvcIgnorePatterns.from_file(str(root / ".dvcignore"), LocalFileSystem(), ".dvcignore")
    # Its own files DVC knows, and a line break no line can hold.
    names = {name.replace("*", "x") for name in source_files.JUNK} - {".dvc", "x.dvc", ".dvcignore", "Icon\r"}
    assert [name for name in names if not patterns.matches(str(root / "data" / "photos"), name, is_dir=True)] == []
