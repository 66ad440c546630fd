"""The table of variants: which scores it takes, what it marks, and what the Markdown says."""

from collections.abc import Mapping
from typing import Any

from stages.evaluation.ablation import COLUMNS, cell, difference, limits, markdown, row_of

VISIBLE = "recovery.visible"


def score(value: float | None, ci: list[float] | None = None, **more: Any) -> dict[str, Any]:
    return {"value": value, "baseline": 0.0, "bound": 1.0, "ci": ci, "n": 10, **more}


FULL: Mapping[str, Any] = {
    VISIBLE: score(0.4, [0.35, 0.45]),
    "recovery.sliders.age": score(0.9),
    "likeness.similarity": score(None, reason="only pairs"),
    "likeness.imitator_similarity": score(0.7, [0.6, 0.8], by="imitator"),
    "search.from_average.similarity": score(0.65, [0.5, 0.8]),
}


def test_a_row_has_the_columns_that_its_scorecard_has_and_stand_ins_for_an_engine() -> None:
    row = row_of("full", "", FULL)
    assert set(row.scores) == {VISIBLE, "likeness.similarity"}
    assert row.scores["likeness.similarity"]["value"] == 0.7
    empty = next(column for column in COLUMNS if column.path == "verification.ratio")
    assert cell(row, empty, row) == ("", "")


def test_a_row_without_training_has_nothing_but_the_scores_that_it_names() -> None:
    row = row_of("search", "", FULL, read_from={"likeness.similarity": "search.from_average.similarity"})
    assert {path: entry["value"] for path, entry in row.scores.items()} == {"likeness.similarity": 0.65}


def test_only_intervals_that_lie_apart_are_a_difference() -> None:
    full = FULL[VISIBLE]
    assert difference(score(0.5, [0.46, 0.55]), full) == "better"
    assert difference(score(0.3, [0.25, 0.34]), full) == "worse"
    assert difference(score(0.5, [0.44, 0.55]), full) == ""
    assert difference(score(0.5), full) == ""
    assert difference(score(0.5, [0.46, 0.55]), None) == ""


def test_the_markdown_is_a_table_of_equally_long_lines_with_marks_and_a_sentence_each() -> None:
    full = row_of("full", "All of it.", FULL, 12.4)
    worse = row_of("less", "Less of it.", {VISIBLE: score(0.1, [0.05, 0.15])})
    text = markdown([*limits(full), full, worse], full, "Ablations")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 3}
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["average face", "bound", "full", "less"]
    assert lines[4].endswith("| 12 |") and "0.400<br><sub>0.35 to 0.45</sub>" in lines[4]
    assert "0.100 ▼" in lines[5] and "▼" not in lines[4]
    assert "- **less**: Less of it." in text
    assert "imitator drew" in text
