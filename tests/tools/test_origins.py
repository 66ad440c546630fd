"""What is known of files that the project did not make stands in one place, and holds for the files that are there."""

import hashlib

from stages.data import origins
from tools import origins as tool
from tools.lock import ROOT


def test_what_people_read_is_written_from_the_one_place() -> None:
    written = {name: (ROOT / name).read_text(encoding="utf-8") for name in tool.BEGINS}
    assert written == tool.written(), "make origins"


def test_every_embedded_file_has_one_origin() -> None:
    parts = origins.load().parts
    assert {name: sum(bool(part.of([name])) for part in parts) for name in origins.manifest()} == dict.fromkeys(
        origins.manifest(), 1
    )


def test_example_photos_are_known_by_their_bytes() -> None:
    folder = ROOT / "examples" / "photos"
    md5s = {
        path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        for path in folder.rglob("*.jpg")
    }
    assert md5s == {photo.file: photo.md5 for photo in origins.load().examples if not photo.inside}


def test_published_sets_are_told_apart_by_kind_and_file() -> None:
    known = origins.load()
    assert known.terms("celeba", "celeba") == "CelebA, CelebAMask-HQ: non-commercial research only"
    assert known.terms("verification_bin", "verification/agedb_30.bin").startswith("CFP, AgeDB: ")
    assert known.terms("verification_bin", "mine.bin") == known.terms("folder", ".") == ""
