"""Exported pairs: what is read, what is set aside, and what stops everything."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from engine.character import Character, CharacterError
from models.alignment import eye_distance
from models.images import decode
from models.reference import REFERENCE
from stages import rendered_pairs
from stages.context import Context
from stages.data import exported_pairs
from stages.data.rendering import FrameTransform, found_points
from stages.evaluation import character_check
from tests.marble import TABLE, changed_table

ROOT = Path(__file__).resolve().parents[3]
EMBEDDED = ROOT / "data" / "embedded"


@pytest.fixture
def marble(marble_character: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(marble_character, tmp_path / "marble"))


def run(folder: Path, out: Path, **changes: Any) -> dict[str, float]:
    out.mkdir()
    config = rendered_pairs.Config(**{"pairs": 1000, "size": 64, **changes})
    return rendered_pairs.run({"character": folder, "embedded": EMBEDDED}, config, out, Context())


def table(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "pairs.parquet")


def test_csv_and_parquet_give_the_same_pairs(marble: Path, tmp_path: Path) -> None:
    run(marble, tmp_path / "csv")
    frame = pd.read_csv(marble / TABLE)
    names = frame["picture"].tolist()
    frame.insert(0, "id", [Path(name).stem for name in names])
    frame["picture"] = [(marble / "pairs" / "pictures" / name).read_bytes() for name in names]
    frame.to_parquet(marble / "pairs" / "pairs.parquet")
    schema = (marble / "schema.yaml").read_text()
    (marble / "schema.yaml").write_text(schema.replace("pairs/pairs.csv", "pairs/pairs.parquet"))
    shutil.rmtree(marble / "pairs" / "pictures")
    run(marble, tmp_path / "parquet")
    assert (tmp_path / "csv" / "pairs.parquet").read_bytes() == (tmp_path / "parquet" / "pairs.parquet").read_bytes()


def test_a_character_that_was_fetched_lies_under_its_md5(marble: Path, tmp_path: Path) -> None:
    fetched = marble.rename(tmp_path / "d41d8cd98f00b204e9800998ecf8427e.dir")
    assert run(fetched, tmp_path / "out")["rows"] == 40
    report = check(fetched, tmp_path)
    assert not report.ok and "make them the same" in report.errors[0], "people's own folders have their name"


def test_pairs_hold_the_engines_values_in_our_range(marble: Path, tmp_path: Path) -> None:
    schema = Character.load(marble).schema
    metrics = run(marble, tmp_path / "out", pairs=30)
    rows, source = table(tmp_path / "out"), pd.read_csv(marble / TABLE)
    assert (metrics["rows"], metrics["quarantined"]) == (30, 0)
    years, hair = schema.slider_index["years"], schema.group_index["hair"]
    np.testing.assert_allclose([p[years] for p in rows["parameters"]], (source["Years"][:30] - 20) / 70, atol=1e-6)
    assert [int(d[hair]) for d in rows["discrete"]] == source["HairMass"][:30].tolist()
    assert rows["labels"].isna().all() and set(rows["split"]) == {"train", "val", "test"}


def test_pictures_come_into_the_reference_frame(marble: Path, tmp_path: Path) -> None:
    """Off-centre and smaller in the studio's picture; within 4 % of the eye distance after the warp."""
    run(marble, tmp_path / "out", size=192)
    pictures = [decode(data) for data in table(tmp_path / "out")["image"]]
    points, found = found_points(pictures, EMBEDDED / "landmarks" / "face_landmarker.task")
    assert points is not None and found > 30
    target = REFERENCE * 192
    middle = np.abs(points.mean(axis=0) - target.mean(axis=0)).max() / eye_distance(target)
    assert middle < 0.04
    frame = FrameTransform(Character.load(marble).reference)
    assert frame.enlargement > 1.3, "the example's camera is not the project's"


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("JawWidth", "130", "JawWidth is 130: outside its range -100 to 100 %"),
        ("JawWidth", "wide", "JawWidth is 'wide': not a number"),
        ("JawWidth", "", "JawWidth is '': not a number"),
        ("JawWidth", "inf", "JawWidth is 'inf': not a number"),
        ("Stone", "jade", "Stone is 'jade': not one of ['carrara'"),
        ("picture", "gone.png", "no picture"),
        ("picture", "00007.png", "the same id as row 8"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason(
    marble: Path, tmp_path: Path, column: str, value: str, reason: str
) -> None:
    changed_table(marble, 9, **{column: value})
    metrics = run(marble, tmp_path / "out")
    assert (metrics["rows"], metrics["quarantined"]) == (39, 1)
    aside = pd.read_parquet(tmp_path / "out" / "quarantine.parquet").iloc[0]
    assert aside["id"].startswith("row 10: ") and reason in aside["reason"] and aside["source"] == "marble"


def test_an_unreadable_or_misshapen_picture_is_set_aside(marble: Path, tmp_path: Path) -> None:
    pictures = marble / "pairs" / "pictures"
    (pictures / "00003.png").write_bytes((pictures / "00003.png").read_bytes()[:300])
    cv2.imwrite(str(pictures / "00004.png"), np.zeros((96, 80, 3), np.uint8))
    assert run(marble, tmp_path / "out")["rows"] == 38
    reasons = pd.read_parquet(tmp_path / "out" / "quarantine.parquet")["reason"].tolist()
    assert "damaged or cut short" in reasons[0] and "80 x 96 pixels" in reasons[1]


def test_a_missing_column_stops_and_names_the_likeliest_other(marble: Path) -> None:
    frame = pd.read_csv(marble / TABLE).rename(columns={"JawWidth": "jaw_Width"})
    frame.to_csv(marble / TABLE, index=False)
    with pytest.raises(CharacterError, match=r"lacks the columns JawWidth.*is JawWidth the column jaw_Width"):
        exported_pairs.read(Character.load(marble))


def test_a_column_that_nobody_knows_is_a_warning(marble: Path) -> None:
    frame = pd.read_csv(marble / TABLE).assign(Sandals=1)
    frame.to_csv(marble / TABLE, index=False)
    export = exported_pairs.read(Character.load(marble))
    assert len(export.pairs) == 40 and "not read: Sandals" in export.warnings[0]


def test_too_few_usable_rows_stop_with_the_first_reason(marble: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(marble / TABLE)
    frame.loc[:24, "Years"] = 101
    frame.to_csv(marble / TABLE, index=False)
    with pytest.raises(CharacterError, match=r"15 usable rows, at least 20.*Years is 101"):
        run(marble, tmp_path / "out")


@pytest.mark.parametrize(("content", "message"), [(None, "there is no"), (b"\x00PAR", "cannot be read as a table")])
def test_a_table_that_cannot_be_read_is_named(marble: Path, content: bytes | None, message: str) -> None:
    schema = marble / "schema.yaml"
    schema.write_text(schema.read_text().replace("pairs/pairs.csv", "pairs/other.parquet"))
    if content:
        (marble / "pairs" / "other.parquet").write_bytes(content)
    with pytest.raises(CharacterError, match=message):
        exported_pairs.read(Character.load(marble))


def check(folder: Path, out: Path) -> character_check.CharacterReport:
    return character_check.check(folder, EMBEDDED, out / "sheet.png", Context())


@pytest.mark.slow
def test_check_finds_the_face_and_writes_it_down_once(marble: Path, tmp_path: Path) -> None:
    known = Character.load(marble)
    schema = marble / "schema.yaml"
    schema.write_text(schema.read_text().partition("reference:")[0])
    report = check(marble, tmp_path)
    assert report.ok and "written into schema.yaml" in report.facts["reference"]
    found = Character.load(marble).reference
    assert found.size == (96, 96)
    there, here = np.array(known.reference.points) / 256, np.array(found.points) / 96
    assert np.abs(there - here).mean() < 0.02
    before = schema.read_text()
    again = check(marble, tmp_path)
    assert schema.read_text() == before and again.facts["reference"] == "68 points in schema.yaml"
    sheet = decode((tmp_path / "sheet.png").read_bytes())
    assert ((sheet == [40, 255, 60]).all(axis=2)).sum() > 24 * 68, "the points are drawn on every tile"


def test_check_lists_every_bad_row_and_what_is_never_shown(marble: Path, tmp_path: Path) -> None:
    changed_table(marble, 9, JawWidth=130)
    (marble / "pairs" / "pictures" / "00003.png").write_bytes(b"")
    frame = pd.read_csv(marble / TABLE).assign(Pupils="blank", EarSize=0)
    frame.to_csv(marble / TABLE, index=False)
    report = check(marble, tmp_path)
    assert [problem.row for problem in report.problems] == [4, 10] and not report.ok
    assert "Pupils: no row has drilled" in report.warnings
    assert any(warning.startswith("EarSize: the same value") for warning in report.warnings)
    assert json.loads(json.dumps(report.document()))["problems"][0]["reason"].endswith("the file is empty")


@pytest.mark.slow
def test_check_says_what_to_do_where_no_face_is_seen(marble: Path, tmp_path: Path) -> None:
    schema = marble / "schema.yaml"
    schema.write_text(schema.read_text().partition("reference:")[0])
    for path in (marble / "pairs" / "pictures").iterdir():
        cv2.imwrite(str(path), np.full((96, 96, 3), 90, np.uint8))
    report = check(marble, tmp_path)
    assert not report.ok and "a face was found in 0 of 40 pictures: measure five points" in report.errors[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "renderer",
    [
        '{python: "sculptor:draw"}',
        '{command: ["{python}", sculptor.py, "{parameters}", "{out}", "{size}"], batch: 12}',
    ],
)
def test_the_same_engine_as_a_renderer_draws_pairs_on_demand(marble: Path, tmp_path: Path, renderer: str) -> None:
    shutil.rmtree(marble / "pairs")
    schema = marble / "schema.yaml"
    lines = [line for line in schema.read_text().splitlines() if not line.startswith("pairs:")]
    schema.write_text("\n".join([*lines, f"renderer: {renderer}"]) + "\n")
    assert run(marble, tmp_path / "out", pairs=20, size=64)["rows"] == 20
    rows = table(tmp_path / "out")
    points, found = found_points([decode(d) for d in rows["image"]], EMBEDDED / "landmarks" / "face_landmarker.task")
    assert rows["labels"].isna().all() and points is not None and found > 5
