"""Players' corrections become a table: what is kept, what is set aside and why, and what they say on average."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.schema import Schema
from stages import corrections
from stages.context import Context
from stages.corrections import Config, split_of
from stages.data import tables
from stages.evaluation import corrections as report
from tests.stages.correction_rows import given, write
from tests.stages.small_tables import CHARACTER

SCHEMA = Schema.load(CHARACTER)
HAIR = SCHEMA.group("hair").choices


def run(folder: Path, rows: list[dict[str, Any]], **config: Any) -> tuple[Path, dict[str, float]]:
    out = folder / "out"
    out.mkdir(parents=True)
    inputs = {"character": CHARACTER, "given": write(folder / "given", rows)}
    return out, corrections.run(inputs, Config(**config), out, Context())


def test_a_row_has_both_states_in_the_schemas_order_and_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [given(2, {"nose_width": 0.9}, {"hair": HAIR[3]}), given(1, {"chin_width": 0.1})]
    out, figures = run(tmp_path / "a", rows)
    assert figures["rows"] == 2 and figures["set_aside"] == 0
    table = tables.read(out / corrections.FILE)
    assert table["id"].tolist() == [rows[1]["id"], rows[0]["id"]]
    last = table.iloc[1]
    assert last["parameters"][SCHEMA.slider_index["nose_width"]] == np.float32(0.9)
    assert np.allclose(last["before"], SCHEMA.neutral_sliders(), atol=1e-5)
    assert last["discrete"][SCHEMA.group_index["hair"]] == 3
    assert np.abs(last["features"].astype(float) - np.random.default_rng(2).normal(size=6)).max() < 2e-3
    again, _ = run(tmp_path / "b", rows[::-1])
    assert all(path.read_bytes() == (again / path.relative_to(out)).read_bytes() for path in out.rglob("*.*"))


def test_what_cannot_be_a_row_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    broken = {
        "the player did not agree": {"consent": False},
        "of another character creator": {"schema_md5": "0"},
        "nobody knows the encoder of version 3": {"encoder": "c" * 32},
        "5 numbers, where the encoder reads 6": {"features": "AAAAAAAAAAAAAA=="},
        "damaged": {"features": "no base64"},
        "not finite": {"features": "AHwAfAB8AHwAfAB8"},
        "nose_width": {"after": given(0, {"nose_width": 7.0})["after"]},
        "the file cannot be read": {"unreadable": "the file cannot be read"},
    }
    rows = [given(number, {"nose_width": 0.9}, **change) for number, change in enumerate(broken.values())]
    rows += 2 * [given(99, {"nose_width": 0.9})]
    out, figures = run(tmp_path, rows)
    aside = tables.read(out / corrections.ASIDE)
    assert figures["rows"] == 1 and len(aside) == len(broken) + 1
    reasons = dict(zip(aside["id"], aside["reason"], strict=True))
    for number, why in enumerate(broken):
        assert why in reasons[f"character-{number:012d}"]
    assert "already" in reasons["character-000000000099"]


def test_a_player_is_in_one_split_whatever_comes_later(tmp_path: Path) -> None:
    of_one = [given(number, {"nose_width": 0.9}, player="p" * 32) for number in range(8)]
    others = [given(number, {"nose_width": 0.9}) for number in range(10, 60)]
    out, figures = run(tmp_path, [*of_one, *others])
    table = tables.read(out / corrections.FILE)
    assert table[table["player"] == "p" * 32]["split"].nunique() == 1
    assert 2 <= figures["held_out"] <= 20
    assert table["split"].tolist() == [split_of(player, 0.2) for player in table["player"]]
    assert split_of("anybody", 0.0) == "train" and split_of("anybody", 1.0) == "val"


def test_mean_corrections_have_counts_intervals_and_what_was_changed_to_what(tmp_path: Path) -> None:
    start = float(SCHEMA.neutral_sliders()[SCHEMA.slider_index["nose_width"]])
    old, new = HAIR[int(SCHEMA.neutral_discrete()[SCHEMA.group_index["hair"]])], HAIR[3]
    rows = [given(number, {"nose_width": start + 0.2}, {"hair": new}) for number in range(12)]
    rows += [given(number, {"chin_width": 0.9}) for number in range(12, 24)]
    rows += [given(99, {"nose_width": start + 0.1}, version={"version": 4, "run": "s"}, player="")]
    out, _ = run(tmp_path, rows)
    found = json.loads((out / "report.json").read_text())
    assert (found["rows"], found["players"]) == (25, 25) and [each["version"] for each in found["versions"]] == [3, 4]
    third, fourth = found["versions"]
    nose = third["sliders"]["nose_width"]
    assert nose["mean"]["value"] == pytest.approx(0.1, abs=1e-3) and nose["count"] == 12 and nose["mean"]["n"] == 24
    low, high = nose["mean"]["ci"]
    assert 0.04 < low < 0.1 < high < 0.16
    assert third["groups"]["hair"]["changes"] == [{"from": old, "to": new, "count": 12}]
    assert third["groups"]["hair"]["changed"]["value"] == 0.5
    assert fourth["sliders"]["nose_width"]["mean"]["ci"] is None, "one player is no interval"
    assert report.moved_most(third)[0][0] in ("nose_width", "chin_width")
    page = (out / "report.html").read_text()
    assert f"{old} → {new} (12)" in page and "nose width" in page


def test_without_rows_there_is_an_empty_table_that_says_so(tmp_path: Path) -> None:
    out, figures = run(tmp_path, [])
    assert figures == {"rows": 0, "held_out": 0, "set_aside": 0, "players": 0}
    assert len(tables.read(out / corrections.FILE)) == 0
    assert "Nothing was collected" in (out / "report.html").read_text()
