"""What came of one expectation, and how Great Expectations is asked."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation

IDENTIFYING = ("id", "source", "person", "fold", "first", "second")
"""Columns by which a failing row is recognised, where the table has them."""
SHOWN_ROWS = 20
"""Failing rows of one expectation that are kept."""


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation on one column."""

    expectation: str
    column: str
    passed: bool
    expected: str
    observed: str
    about: str = ""
    """What it means, where its name does not say so."""
    failing: int = 0
    """Rows that break it; 0 for what is no property of rows."""
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """Some of them: `value`, and the columns by which a row is recognised."""

    def __str__(self) -> str:
        """The expectation, its column, how many rows fail, and the first of them; or what was seen, and expected."""
        about = f" ({self.about})" if self.about else ""
        came = ", ".join(filter(None, [self.observed, self._detail()]))
        return f"{self.expectation} {self.column}".strip() + f"{about}: {came}"

    def _detail(self) -> str:
        if not self.rows:
            return f"expected {self.expected}" if self.expected else ""
        return f"first {', '.join(f'{name}: {self.rows[0][name]}' for name in ('id', 'value') if name in self.rows[0])}"


@dataclass(frozen=True)
class DataBatch:
    """A data frame and what must hold for it."""

    frame: pd.DataFrame
    expectations: Sequence[Expectation]
    about: str = ""
    """What of the table it shows, where it is not the table itself."""


def validate(data: DataBatch) -> list[ExpectationResult]:
    """Put the expectations to the frame, in one batch."""
    if not data.expectations:
        return []
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas("frames")
        .add_dataframe_asset("table")
        .add_batch_definition_whole_dataframe("all")
    )
    for number, expectation in enumerate(data.expectations):
        expectation.meta = {**(expectation.meta or {}), "number": number}
    # Rows are asked for by their place. By the names of columns, Great Expectations gathers those of every failing row
    # one by one, 0.2 ms each, to keep a few.
    frame = data.frame.reset_index(drop=True)
    outcome = batch.get_batch({"dataframe": frame}).validate(
        gx.ExpectationSuite(name="table", expectations=list(data.expectations)),
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": SHOWN_ROWS},
    )
    # Great Expectations answers in an order of its own.
    results = sorted(outcome.results, key=lambda result: _config(result).meta["number"])
    return [_expectation_result(result, frame, data.about) for result in results]


def _config(result: ExpectationValidationResult) -> Any:
    return result.expectation_config


def _expectation_result(result: ExpectationValidationResult, frame: pd.DataFrame, about_data: str) -> ExpectationResult:
    config, found = _config(result), result.result
    failing = int(found.get("unexpected_count") or 0)
    about = "; ".join(filter(None, [about_data, config.meta.get("about", "")]))
    return ExpectationResult(
        expectation=config.type,
        column=_column(config.kwargs),
        passed=bool(result.success),
        expected=_expected(config.kwargs),
        observed=_observed(result, failing),
        about=about,
        failing=failing,
        rows=[] if result.success else _rows(config.kwargs, found, frame),
    )


COLUMN_KEYS = ("column", "column_A", "column_B", "column_list")
NOT_SHOWN = (*COLUMN_KEYS, "batch_id", "partition_object")


def _column(kwargs: Mapping[str, Any]) -> str:
    return ", ".join(_columns(kwargs))


def _columns(kwargs: Mapping[str, Any]) -> list[str]:
    named = [kwargs[key] for key in COLUMN_KEYS if key in kwargs]
    return [name for names in named for name in ([names] if isinstance(names, str) else names)]


def _expected(kwargs: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in kwargs.items() if key not in NOT_SHOWN and value is not None}
    return ", ".join(f"{key}: {_short(value)}" for key, value in shown.items())


def _short(value: Any, longest: int = 80) -> str:
    fraction = isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral)
    text = f"{value:.4g}" if fraction else str(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


def _observed(result: ExpectationValidationResult, failing: int) -> str:
    if error := _error(result.exception_info):
        return f"could not be judged: {error}"
    found = result.result
    if "unexpected_count" in found:
        total = int(found["element_count"])
        return f"{failing:,} of {total:,} rows fail" if failing else f"{total:,} row{'s' * (total != 1)}"
    if missing := found.get("partial_missing_list"):
        return f"missing: {', '.join(map(str, missing))}"
    observed = found.get("observed_value")
    return "all there" if observed is None else _short(observed)


def _error(info: Any) -> str:
    """The message of what an expectation raised; Great Expectations nests it by metric, or does not."""
    if not isinstance(info, Mapping):
        return ""
    if "raised_exception" in info:
        return str(info.get("exception_message") or "it raised") if info["raised_exception"] else ""
    return next(filter(None, map(_error, info.values())), "")


def _rows(kwargs: Mapping[str, Any], found: Mapping[str, Any], frame: pd.DataFrame) -> list[dict[str, Any]]:
    places = found.get("partial_unexpected_index_list")
    if places and any(name in frame for name in IDENTIFYING):
        return [_row(frame.iloc[place], _columns(kwargs)) for place in places[:SHOWN_ROWS]]
    values = found.get("partial_unexpected_list") or found.get("partial_missing_list") or []
    return [{"value": str(value)} for value in values[:SHOWN_ROWS]]


def _row(row: pd.Series, columns: Sequence[str]) -> dict[str, Any]:
    """A failing row: its values in the columns that were judged, and what it is recognised by."""
    names = {name: str(row[name]) for name in IDENTIFYING if name in row}
    if len(columns) == 1:
        return {**names, "value": _short(row[columns[0]])}
    values = [f"{name} {row[name]}" for name in columns if name not in IDENTIFYING]
    return {**names, "value": _short(", ".join(values))}
