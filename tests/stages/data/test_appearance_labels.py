"""labels.csv: what may stand in it, whose photos it is about, and what a bad line is answered."""

from pathlib import Path

import pytest

from engine.schema import Schema
from stages.data import appearance_labels, photo_sets
from stages.data.appearance_labels import BadLabels, read
from stages.data.photo_sets import FolderSet, PhotoSetError
from tests.models.support import ROOT
from tests.stages.photo_trees import write

LINES = "file,annotator,sex,beard\na.jpg,x,f,none\na.jpg,y,f,\nann/b.jpg,x,m,full\n"


def own(folder: Path, lines: str = LINES, **options: object) -> FolderSet:
    for name in ("a.jpg", "ann/b.jpg", "bea/b.jpg"):
        write(folder / "mine" / name, b"picture")
    write(folder / "mine" / "labels.csv", lines)
    return FolderSet.model_validate({"name": "mine", "path": "mine", **options})


def test_a_photo_is_named_by_its_place_or_by_its_name_alone(tmp_path: Path) -> None:
    found = [(each.id, each.annotator, dict(each.values)) for each in own(tmp_path).labelled(tmp_path)]
    assert found == [
        ("mine/a.jpg", "x", {"sex": "f", "beard": "none"}),
        ("mine/a.jpg", "y", {"sex": "f"}),
        ("mine/ann/b.jpg", "x", {"sex": "m", "beard": "full"}),
    ]
    assert [photo.id for photo in own(tmp_path).photos(tmp_path)] == ["mine/a.jpg", "mine/ann/b.jpg", "mine/bea/b.jpg"]


def test_a_set_without_labels_has_none(tmp_path: Path) -> None:
    entry = own(tmp_path)
    (tmp_path / "mine" / "labels.csv").unlink()
    assert not list(photo_sets.labelled_in([entry], tmp_path))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("sex\nf\n", "line 1: no column `file`"),
        ("file,gender\na.jpg,f\n", "line 1: unknown column 'gender'; there are file, annotator, sex"),
        ("file,sex\na.jpg,f\na.jpg,woman\n", "line 3: sex is 'woman'; expected f, m, or nothing"),
        ("file,sex\na.jpg\n", "line 2: expected 2 cells"),
        ("file,sex\na.jpg,f,m\n", "line 2: expected 2 cells"),
        ("file,sex\na.jpg,f\na.jpg,f\n", "line 3: a.jpg a second time by the same annotator"),
        ("file,sex\nb.jpg,f\n", "line 2: several photos are called b.jpg: name the folder too"),
        ("file,sex\n\nc.jpg,f\n", "line 3: the set has no photo c.jpg; take the line out"),
    ],
)
def test_a_bad_line_is_named(lines: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoSetError, match=f"photo set mine: .*labels.csv, {reason}"):
        list(own(tmp_path, lines).labelled(tmp_path))


def test_a_part_of_a_set_may_lack_labelled_photos(tmp_path: Path) -> None:
    assert not list(own(tmp_path, "file,sex\nc.jpg,f\n", partial=True).labelled(tmp_path))


def test_a_table_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("file,sex\nfé.jpg,f\n".encode("latin-1"))
    with pytest.raises(BadLabels, match="it cannot be read as a table of commas in UTF-8"):
        list(read(tmp_path / "labels.csv"))


def test_labels_are_the_embedded_characters_own_choices() -> None:
    schema = Schema.load(ROOT / "characters" / "embedded")
    for column, group in (("skin_tone", "skin"), ("hair_colour", "hair_colour"), ("beard", "beard")):
        assert {*schema.group(group).choices} <= {*appearance_labels.VALUES[column]}, column
    assert {*appearance_labels.STYLES} <= {*schema.group("hair").choices}
