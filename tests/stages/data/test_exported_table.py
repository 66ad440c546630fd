"""A table of exported pairs gives the same pairs, whichever program wrote it and wherever it names its pictures."""

import csv
import os
import shutil
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.character import Character, CharacterError
from stages.data import exported_pairs
from stages.data.exported_pairs import Export
from tests.marble import TABLE

PICTURES = Path("pairs") / "pictures"


@pytest.fixture
def marble(marble_character: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(marble_character, tmp_path / "marble"))


@pytest.fixture(scope="module")
def plain(marble_character: Path) -> Export:
    return exported_pairs.read(Character.load(marble_character))


def read(folder: Path) -> Export:
    return exported_pairs.read(Character.load(folder))


def same(found: Export, expected: Export) -> None:
    """All pairs, each with its own values and a picture that is there."""
    assert [str(problem) for problem in found.problems] == []
    np.testing.assert_array_equal([p.sliders for p in found.pairs], [p.sliders for p in expected.pairs])
    np.testing.assert_array_equal([p.choices for p in found.pairs], [p.choices for p in expected.pairs])
    for pair, other in zip(found.pairs, expected.pairs, strict=True):
        data = pair.picture.read_bytes() if isinstance(pair.picture, Path) else pair.picture
        assert isinstance(other.picture, Path) and data == other.picture.read_bytes()


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / TABLE).open(newline="")))


def text(
    rows: list[dict[str, str]],
    separator: str = ",",
    *,
    ends: tuple[str, str] = ("", ""),
    value: Callable[[str], str] = str,
    newline: str = "\n",
) -> str:
    """The table as text; `ends`: what follows the header and each row."""
    lines = [separator.join(rows[0]) + ends[0]]
    lines += [separator.join(map(value, row.values())) + ends[1] for row in rows]
    return newline.join(lines) + newline


def with_comma(cell: str) -> str:
    return cell.replace(".", ",") if cell.replace(".", "", 1).lstrip("-").isdigit() else cell


TEXTS: Mapping[str, Callable[[list[dict[str, str]]], bytes]] = {
    "byte order mark": lambda rows: b"\xef\xbb\xbf" + text(rows).encode(),
    "UTF-16": lambda rows: text(rows).encode("utf-16"),
    "old Mac's line ends": lambda rows: text(rows, newline="\r").encode(),
    "blank lines": lambda rows: text(rows, newline="\n\n").encode(),
    "comma at row ends": lambda rows: text(rows, ends=("", ",")).encode(),
    "commas at row ends": lambda rows: text(rows, ends=("", ",,,")).encode(),
    "comma at all ends": lambda rows: text(rows, ends=(",", ",")).encode(),
    "empty rows at the end": lambda rows: (text(rows) + "," * 25 + "\n,,\n").encode(),
    "blanks": lambda rows: text(rows, " , ").encode(),
    "quotes": lambda rows: text(rows, ", ", value=lambda cell: f'"{cell}"').encode(),
    "semicolons and decimal commas": lambda rows: text(rows, ";", value=with_comma).encode(),
    "semicolons and decimal points": lambda rows: text(rows, ";").encode(),
    "tabs in UTF-16": lambda rows: text(rows, "\t").encode("utf-16"),
    "bars": lambda rows: text(rows, "|").encode(),
    "Excel's separator line": lambda rows: b"sep=;\n" + text(rows, ";").encode(),
    "remarks above the header": lambda rows: (
        b'# creator 4.2, "all\n\nBusts, picture by picture\n' + text(rows).encode()
    ),
    "row numbers of pandas": lambda rows: text([{"": str(k), **row} for k, row in enumerate(rows)]).encode(),
    "row names of R": lambda rows: text(rows, value=str).replace("\n0", '\n"r",0').encode(),
}


@pytest.mark.parametrize("writer", TEXTS)
def test_text_of_any_program_gives_the_same_pairs(marble: Path, plain: Export, writer: str) -> None:
    (marble / TABLE).write_bytes(TEXTS[writer](rows_of(marble)))
    same(read(marble), plain)


def as_struct(data: bytes, name: str, *, path_only: bool) -> dict[str, Any]:
    return {"bytes": None if path_only else data, "path": name if path_only else "/elsewhere/image.png"}


PICTURE_COLUMNS: Mapping[str, Callable[[list[bytes], list[str]], pa.Array]] = {
    "large_binary": lambda data, names: pa.array(data, pa.large_binary()),
    "binary_view": lambda data, names: pa.array(data, pa.binary()).cast(pa.binary_view()),
    "list of numbers": lambda data, names: pa.array([list(one) for one in data], pa.list_(pa.uint8())),
    "struct of bytes": lambda data, names: pa.array(
        [as_struct(*o, path_only=False) for o in zip(data, names, strict=True)]
    ),
    "struct of paths": lambda data, names: pa.array(
        [as_struct(*o, path_only=True) for o in zip(data, names, strict=True)]
    ),
    "dictionary of names": lambda data, names: pa.array(names).dictionary_encode(),
    "large_string": lambda data, names: pa.array(names, pa.large_string()),
}


def use_parquet(folder: Path, table: pa.Table, **options: Any) -> None:
    pq.write_table(table, folder / "pairs" / "pairs.parquet", **options)
    schema = folder / "schema.yaml"
    schema.write_text(schema.read_text().replace("pairs/pairs.csv", "pairs/pairs.parquet"))


@pytest.mark.parametrize("kind", PICTURE_COLUMNS)
def test_a_picture_column_of_any_type_gives_the_same_pairs(marble: Path, plain: Export, kind: str) -> None:
    table = pa.Table.from_pandas(pd.read_csv(marble / TABLE), preserve_index=False)
    names = table.column("picture").to_pylist()
    column = PICTURE_COLUMNS[kind]([(marble / PICTURES / name).read_bytes() for name in names], names)
    use_parquet(marble, table.set_column(0, "picture", column), row_group_size=7)
    same(read(marble), plain)


def test_what_pandas_says_of_its_index_does_not_hide_a_column(marble: Path, plain: Export) -> None:
    use_parquet(marble, pa.Table.from_pandas(pd.read_csv(marble / TABLE).set_index("picture")))
    found = read(marble)
    same(found, plain)
    assert found.warnings == []


def test_a_column_of_any_type_of_number_is_read(marble: Path, plain: Export) -> None:
    """Decimals, texts, categories, missing values beside whole numbers."""
    frame = pd.read_csv(marble / TABLE)
    frame["HairMass"] = frame["HairMass"].astype("Int64")
    frame["Stone"] = frame["Stone"].astype("category")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    place = table.column_names.index("Years")
    table = table.set_column(place, "Years", table.column("Years").cast(pa.decimal128(12, 2)))
    place = table.column_names.index("JawWidth")
    table = table.set_column(place, "JawWidth", table.column("JawWidth").cast(pa.string()))
    empty = pa.Table.from_pylist([dict.fromkeys(table.column_names)], table.schema)
    use_parquet(marble, pa.concat_tables([table, empty]))
    found = read(marble)
    same(found, plain)
    assert found.warnings == [f"{marble / 'pairs' / 'pairs.parquet'}: 1 empty row passed over"]


def named(folder: Path, row: int, name: str) -> None:
    """Write another picture into one row of the table."""
    rows = rows_of(folder)
    rows[row]["picture"] = name
    with (folder / TABLE).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    "name",
    [
        "{folder}/pairs/pictures/00003.png",
        "/on/another/machine/characters/marble/pairs/pictures/00003.png",
        "C:\\Game\\marble\\pairs\\pictures\\00003.png",
        ".\\00003.png",
        "..\\pictures\\00003.png",
        "../pictures/00003.png",
        "00003.PNG",
        "%30%30003.png",
        " 00003.png ",
    ],
)
def test_a_path_inside_the_folder_is_found_however_it_is_written(marble: Path, plain: Export, name: str) -> None:
    named(marble, 3, name.format(folder=marble))
    found = read(marble)
    same(found, plain)
    assert found.pairs[3].id == "00003"


def test_a_name_in_another_normal_form_is_found(marble: Path, plain: Export) -> None:
    (marble / PICTURES / "00003.png").rename(marble / PICTURES / unicodedata.normalize("NFD", "Büste 3.png"))
    named(marble, 3, unicodedata.normalize("NFC", "Büste 3.png"))
    assert [p.row for p in read(marble).pairs] == [p.row for p in plain.pairs]


def test_a_link_out_of_the_folder_is_set_aside(marble: Path, tmp_path: Path) -> None:
    """A fetched version of the folder holds what lies in it."""
    (marble / PICTURES / "00003.png").rename(tmp_path / "00003.png")
    (marble / PICTURES / "00003.png").symlink_to(tmp_path / "00003.png")
    (problem,) = read(marble).problems
    assert problem.row == 4 and "outside the character's folder" in problem.reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "picture is empty"),
        ("  ", "picture is empty"),
        ("/etc/hostname", "outside the character's folder"),
        ("../../../../etc/hostname", "outside the character's folder"),
        ("D:\\export\\00003.png", "outside the character's folder"),
        ("~/00003.png", "outside the character's folder"),
        ("https://example.com/00003.png", "is the address"),
        ("s3://bucket/00003.png", "is the address"),
        ("data:image/png;base64,iVBORw0KGgo=", "is the address"),
        ("file:///tmp/00003.png", "is the address"),
        (".", "no picture"),
        ("pictures", "no picture"),
        ("x" * 5000, "no picture"),
        ("00003\0.png", "zero bytes"),
    ],
)
def test_one_bad_picture_costs_one_row(marble: Path, name: str, reason: str) -> None:
    named(marble, 3, name)
    if "\0" in name:
        with pytest.raises(CharacterError, match=reason):
            read(marble)
        return
    found = read(marble)
    assert len(found.pairs) == 39
    (problem,) = found.problems
    assert problem.row == 4 and reason in problem.reason and len(str(problem)) < 600


@pytest.mark.parametrize("cell", [None, b"", {"bytes": None, "path": None}])
def test_one_empty_picture_in_parquet_costs_one_row(marble: Path, cell: Any) -> None:
    rows: list[dict[str, Any]] = pa.Table.from_pandas(pd.read_csv(marble / TABLE)).to_pylist()
    for row in rows:
        data = (marble / PICTURES / row["picture"]).read_bytes()
        row["picture"] = {"bytes": data, "path": None} if isinstance(cell, dict) else data
    rows[3]["picture"] = cell
    use_parquet(marble, pa.Table.from_pylist(rows))
    found = read(marble)
    assert len(found.pairs) == 39
    assert [str(problem) for problem in found.problems] == ["row 4 (no picture): picture is empty"]


def test_rows_that_fit_no_columns_cost_themselves_alone(marble: Path) -> None:
    lines = (marble / TABLE).read_text().splitlines()
    lines[2] += ",7"
    lines[4] = ",".join(lines[4].split(",")[:5])
    lines[6] = "," + lines[6]
    (marble / TABLE).write_text("\n".join(lines) + "\n,,,,\n")
    found = read(marble)
    assert [problem.row for problem in found.problems] == [2, 4, 6]
    assert all("cells, the header has" in problem.reason for problem in found.problems)
    assert len(found.pairs) == 37 and found.pairs[0].row == 1 and found.pairs[-1].row == 40


def test_empty_rows_are_no_problems_but_are_counted(marble: Path) -> None:
    lines = (marble / TABLE).read_text().splitlines()
    commas = "," * lines[0].count(",")
    (marble / TABLE).write_text("\n".join([*lines[:11], commas, *lines[11:], commas, commas]) + "\n")
    found = read(marble)
    assert found.warnings == [f"{marble / TABLE}: 3 empty rows passed over"]
    assert [pair.row for pair in found.pairs] == [*range(1, 11), *range(12, 42)]


def test_two_pictures_that_differ_in_their_ending_are_two_rows(marble: Path) -> None:
    shutil.copy(marble / PICTURES / "00004.png", marble / PICTURES / "00003.PNG")
    shutil.move(marble / PICTURES / "00003.PNG", marble / PICTURES / "00003.jpg")
    named(marble, 4, "00003.jpg")
    assert [pair.id for pair in read(marble).pairs[3:5]] == ["00003.png", "00003.jpg"]


def test_ids_are_numbers_or_texts_or_the_pictures_name(marble: Path) -> None:
    rows = pd.read_csv(marble / TABLE).to_dict("records")
    ids = [None, *range(1, len(rows))]
    use_parquet(marble, pa.Table.from_pylist([{**row, "id": number} for row, number in zip(rows, ids, strict=True)]))
    assert [pair.id for pair in read(marble).pairs[:3]] == ["00000", "1", "2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        ("picture,Jäw".encode("latin-1"), "CSV in UTF-8"),
        (b"PK\x03\x04\x14\x00\x06\x00\xff", "CSV in UTF-8"),
        (b"a,b\n1,2\n", "lacks the columns picture"),
    ],
)
def test_what_is_no_table_is_refused_with_what_to_do(marble: Path, content: bytes, message: str) -> None:
    (marble / TABLE).write_bytes(content)
    with pytest.raises(CharacterError, match=message):
        read(marble)


def test_a_column_that_comes_twice_is_refused(marble: Path) -> None:
    rows = rows_of(marble)
    (marble / TABLE).write_text(text(rows).replace("picture,", "picture,Years,", 1))
    with pytest.raises(CharacterError, match="more than one column Years"):
        read(marble)


def test_a_number_with_a_comma_says_so(marble: Path) -> None:
    rows = rows_of(marble)
    rows[3]["Years"] = '"55,5"'
    (marble / TABLE).write_text(text(rows))
    (problem,) = read(marble).problems
    assert problem.reason == "Years is '55,5': not a number, write a decimal point"


def test_relative_folders_and_working_directories_do_not_matter(
    marble: Path, plain: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(marble.parent)
    same(read(Path(os.path.relpath(marble))), plain)
