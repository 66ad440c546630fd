"""Contact sheets: complete, labelled, written whole, refused with a reason."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from engine import sheets
from engine.renderer import Renderer
from orchestration.cli.main import app


def test_people_fill_rows_of_eight_and_differ(renderer: Renderer) -> None:
    picture = sheets.people(renderer, count=9, size=32, seed=1)
    assert picture.shape == (64, 8 * 32, 3)
    tiles = picture.reshape(2, 32, 8, 32, 3).transpose(0, 2, 1, 3, 4).reshape(16, -1)
    assert len(np.unique(tiles[:9], axis=0)) == 9
    assert (tiles[9:] == 250).all(), "the rest is paper"
    np.testing.assert_array_equal(picture, sheets.people(renderer, count=9, size=32, seed=1))
    assert (picture != sheets.people(renderer, count=9, size=32, seed=2)).any()


def test_options_show_every_choice_in_the_order_of_the_schema(renderer: Renderer) -> None:
    done: list[tuple[int, int]] = []
    picture = sheets.options(renderer, size=32, progress=lambda what, n, total: done.append((n, total)))
    total = sum(renderer.schema.group_sizes)
    assert done[0] == (0, total) and done[-1] == (total, total)
    rows = [-(-size // sheets.CHOICE_COLUMNS) for size in renderer.schema.group_sizes]
    assert picture.shape[0] == sum(sheets.HEADING + n * (32 + sheets.CAPTION) for n in rows)


@pytest.mark.slow
def test_sliders_show_neutral_between_both_ends(renderer: Renderer) -> None:
    picture = sheets.sliders(renderer, size=32)
    parts = [s.part for s in renderer.schema.sliders]
    rows = sum(-(-parts.count(part) // sheets.SLIDER_COLUMNS) for part in set(parts))
    assert picture.shape[0] == sheets.HEADING * len(set(parts)) + rows * (32 + sheets.CAPTION)
    first = picture[sheets.HEADING : sheets.HEADING + 32, :96].astype(int).reshape(32, 3, 32, 3)
    low, neutral, high = first.transpose(1, 0, 2, 3)
    apart = np.abs(high - low).mean()
    assert apart > np.abs(neutral - low).mean() > 0 and apart > np.abs(neutral - high).mean() > 0, "sex"


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG")])
def test_the_ending_decides_the_format(tmp_path: Path, name: str, kind: str) -> None:
    sheets.require_writable(tmp_path / "new" / name)
    sheets.save(np.zeros((8, 8, 3), np.uint8), tmp_path / "new" / name)
    with Image.open(tmp_path / "new" / name) as picture:
        assert picture.format == kind
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


def test_unknown_ending_and_unwritable_folder_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(sheets.SheetError, match=r"sheet\.gif: .*\.png"):
        sheets.require_writable(tmp_path / "sheet.gif")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(sheets.SheetError, match="cannot write"):
        sheets.require_writable(tmp_path / "file" / "sheet.png")


def test_character_of_another_engine_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "schema.yaml").write_text(
        "name: other\nlabel: x\nsliders: [{name: a, part: p, label: a}]\nrenderer: {python: 'engine:draw'}\n"
    )
    with pytest.raises(sheets.SheetError, match="other is not drawn by the embedded engine"):
        sheets.require_embedded(folder)


@pytest.mark.slow
def test_command_writes_the_sheet_and_prints_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path / "home"))
    out = tmp_path / "people.png"
    ran = CliRunner().invoke(app, ["character", "sheet", "people", "--out", str(out), "--count", "3", "--size", "32"])
    assert ran.exit_code == 0, ran.output
    assert str(out) in ran.stdout
    with Image.open(out) as picture:
        assert picture.size == (96, 32)
