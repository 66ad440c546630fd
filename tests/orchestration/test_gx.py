"""The rows that a failed expectation shows are the frame's own, and asking for them costs no time a failing row."""

import random
from typing import Any

import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
import pytest
from great_expectations.datasource.fluent.interfaces import Batch

from orchestration.checks.gx import SHOWN_ROWS, DataBatch, ExpectationResult, validate

COUNT = 30
BAD = (4, 17, 29)


def frame(**columns: Any) -> pd.DataFrame:
    yaw = np.zeros(COUNT)
    yaw[list(BAD)] = [91.0, 92.0, 93.0]
    named = {"id": [f"photo {number}" for number in range(COUNT)], "person": ["Ada"] * COUNT}
    return pd.DataFrame({**named, "yaw": yaw, **columns})


def found(table: pd.DataFrame, *expectations: Any) -> list[ExpectationResult]:
    asked = expectations or (gxe.ExpectColumnValuesToBeBetween(column="yaw", min_value=-90, max_value=90),)
    return validate(DataBatch(table, asked))


INDEXES = {
    "of numbers with gaps": pd.Index(range(7, 7 + 3 * COUNT, 3)),
    "out of order": pd.Index(random.Random(0).sample(range(COUNT), COUNT)),
    "of texts": pd.Index([f"row {number}" for number in range(COUNT)]),
    "that is not unique": pd.Index([0] * COUNT),
    "of two levels": pd.MultiIndex.from_product([["a", "b"], range(COUNT // 2)]),
    "called like a column": pd.Index(range(COUNT), name="id"),
}


@pytest.mark.parametrize("index", INDEXES)
def test_failing_rows_are_shown_whatever_the_index(index: str) -> None:
    (finding,) = found(frame().set_axis(INDEXES[index]))
    assert finding.failing == 3
    expected = [
        {"id": f"photo {number}", "person": "Ada", "value": f"{yaw}"}
        for number, yaw in zip(BAD, (91, 92, 93), strict=True)
    ]
    assert list(finding.rows) == expected


def test_rows_of_one_id_are_each_shown_with_their_own_value() -> None:
    (finding,) = found(frame(id=["the same"] * COUNT))
    assert [(row["id"], row["value"]) for row in finding.rows] == [
        ("the same", "91"),
        ("the same", "92"),
        ("the same", "93"),
    ]


def test_rows_that_nothing_names_show_their_values() -> None:
    (finding,) = found(frame()[["yaw"]])
    assert list(finding.rows) == [{"value": "91.0"}, {"value": "92.0"}, {"value": "93.0"}]


def test_missing_ids_and_values_are_shown_as_missing() -> None:
    table = frame()
    table.loc[4, ["id", "yaw"]] = [None, np.nan]
    by_id, by_yaw = found(
        table, gxe.ExpectColumnValuesToNotBeNull(column="id"), gxe.ExpectColumnValuesToNotBeNull(column="yaw")
    )
    assert [(by_id.failing, by_id.rows[0]["value"]), (by_yaw.failing, by_yaw.rows[0]["value"])] == [
        (1, "nan"),
        (1, "nan"),
    ]


def test_a_pair_of_columns_shows_both() -> None:
    (finding,) = found(
        frame(kind=["sharp"] * 29 + ["blurred"]),
        gxe.ExpectColumnPairValuesToBeInSet(column_A="person", column_B="kind", value_pairs_set=[("Ada", "sharp")]),
    )
    assert list(finding.rows) == [{"id": "photo 29", "person": "Ada", "value": "kind blurred"}]


def test_great_expectations_is_asked_for_places_not_for_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns it gathers for every failing row by itself: minutes of a large table, to show a few."""
    asked: list[dict[str, Any]] = []
    real = Batch.validate

    def watched(self: Batch, *arguments: Any, result_format: Any, **named: Any) -> Any:
        asked.append(result_format)
        return real(self, *arguments, result_format=result_format, **named)

    monkeypatch.setattr(Batch, "validate", watched)
    (finding,) = found(frame(yaw=[100.0] * COUNT))
    assert asked == [{"result_format": "SUMMARY", "partial_unexpected_count": SHOWN_ROWS}]
    assert finding.failing == COUNT
    assert [row["id"] for row in finding.rows] == [f"photo {number}" for number in range(SHOWN_ROWS)]
