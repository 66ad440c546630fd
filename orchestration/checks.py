"""What must hold for every table, as Great Expectations suites; a table that fails stops the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from orchestration.catalog import Stage

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations.expectation import Expectation

SPLITS = ["train", "val", "test"]
MAX_QUARANTINED = 0.5
# Pictures and vectors are not for a data frame that only counts and compares.
HEAVY_COLUMNS = {"image", "labels", "landmarks", "mesh", "expression"}
SOURCE_NAME = r"^[a-z0-9][a-z0-9_-]*$"
FOLDS = 10


@dataclass(frozen=True)
class Suite:
    """Expectations on one parquet file of a stage's folder."""

    file: str
    columns: tuple[str, ...]
    expectations: Callable[[], Sequence[Expectation]]
    one_split_per_person: bool = False
    set_aside_from: str = ""
    """The table that these rows are missing from; at most MAX_QUARANTINED of all may be."""
    refers_to: tuple[str, ...] = ()
    """Tables one of which has each id in the columns `first` and `second`."""


def _unique_ids() -> list[Expectation]:
    import great_expectations.expectations as gxe

    return [gxe.ExpectColumnValuesToBeUnique(column="id"), gxe.ExpectColumnValuesToNotBeNull(column="id")]


def _people() -> list[Expectation]:
    import great_expectations.expectations as gxe

    return [
        *_unique_ids(),
        gxe.ExpectColumnValuesToBeInSet(column="split", value_set=SPLITS),
        gxe.ExpectColumnValuesToNotBeNull(column="person"),
    ]


def _portraits() -> list[Expectation]:
    import great_expectations.expectations as gxe

    return [*_people(), gxe.ExpectColumnValuesToBeBetween(column="occluded", min_value=0, max_value=1)]


def _faces() -> list[Expectation]:
    import great_expectations.expectations as gxe

    def between(column: str, low: float, high: float) -> Expectation:
        return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)

    return [
        *_people(),
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        gxe.ExpectColumnValuesToMatchRegex(column="source", regex=SOURCE_NAME),
        between("yaw", -90, 90),
        between("pitch", -90, 90),
        between("n_faces", 1, 1000),
        gxe.ExpectColumnValuesToNotBeNull(column="sharpness"),
        gxe.ExpectColumnValuesToNotBeNull(column="brightness"),
    ]


def _pairs() -> list[Expectation]:
    import great_expectations.expectations as gxe

    return [*_unique_ids(), gxe.ExpectColumnValuesToBeInSet(column="split", value_set=SPLITS)]


def _verification_pairs() -> list[Expectation]:
    import great_expectations.expectations as gxe

    return [
        gxe.ExpectColumnValuesToMatchRegex(column="source", regex=SOURCE_NAME),
        gxe.ExpectColumnValuesToBeBetween(column="fold", min_value=0, max_value=FOLDS - 1),
        gxe.ExpectColumnValuesToBeInSet(column="same", value_set=[True, False]),
        *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in ("fold", "first", "second", "same")),
    ]


def _quarantine() -> list[Expectation]:
    import great_expectations.expectations as gxe

    return [*_unique_ids(), gxe.ExpectColumnValuesToNotBeNull(column="reason")]


SUITES = {
    "portraits": Suite(
        "portraits.parquet", ("id", "person", "split", "image", "occluded"), _portraits, one_split_per_person=True
    ),
    "faces": Suite(
        "faces.parquet",
        (
            "id",
            "source",
            "person",
            "split",
            "image",
            "yaw",
            "pitch",
            "roll",
            "sharpness",
            "brightness",
            "n_faces",
            "landmarks",
        ),
        _faces,
        one_split_per_person=True,
    ),
    "quarantine": Suite("quarantine.parquet", ("id", "source", "reason"), _quarantine, set_aside_from="faces.parquet"),
    "verification_pairs": Suite(
        "verification_pairs.parquet",
        ("source", "fold", "first", "second", "same"),
        _verification_pairs,
        refers_to=("faces.parquet", "quarantine.parquet"),
    ),
    "set_aside": Suite("quarantine.parquet", ("id", "source", "reason"), _quarantine, set_aside_from="pairs.parquet"),
    "pairs": Suite("pairs.parquet", ("id", "split", "image", "labels", "parameters", "discrete"), _pairs),
}


def specs(stage: Stage) -> list[dg.AssetCheckSpec]:
    """The checks that Dagster lists for the asset."""
    return [
        dg.AssetCheckSpec(
            f"{table}_table", asset=stage.name, blocking=True, description=f"Expectations on {SUITES[table].file}"
        )
        for table in stage.tables
    ]


def results(stage: Stage, folder: Path) -> list[dg.AssetCheckResult]:
    """Check every table of the stage in this folder."""
    return [_check(stage.name, table, folder) for table in stage.tables]


def _check(asset: str, table: str, folder: Path) -> dg.AssetCheckResult:
    import pandas as pd
    from pyarrow import parquet

    suite, path = SUITES[table], folder / SUITES[table].file
    names = parquet.read_schema(path).names
    missing = [column for column in suite.columns if column not in names]
    if missing:
        return _result(asset, table, {f"missing columns: {', '.join(missing)}": []})
    frame = pd.read_parquet(path, columns=[name for name in names if name not in HEAVY_COLUMNS])
    failures = _validate(frame, suite.expectations())
    if suite.one_split_per_person:
        splits = frame.groupby("person")["split"].nunique()
        if torn := splits[splits > 1].index.tolist():
            failures["people in more than one split"] = torn[:10]
    if suite.set_aside_from:
        failures |= _too_many_quarantined(len(frame), folder / suite.set_aside_from)
    if suite.refers_to:
        failures |= _unknown_ids(frame, [folder / name for name in suite.refers_to])
    return _result(asset, table, failures, rows=len(frame))


def _validate(frame: pd.DataFrame, expectations: Sequence[Expectation]) -> dict[str, list[Any]]:
    """Failed expectations with up to ten of the values that broke them."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas("frames")
        .add_dataframe_asset("table")
        .add_batch_definition_whole_dataframe("all")
    )
    suite = gx.ExpectationSuite(name="table", expectations=list(expectations))
    outcome = batch.get_batch({"dataframe": frame}).validate(suite)
    return {
        f"{result.expectation_config.type} {result.expectation_config.kwargs.get('column', '')}".strip(): [
            str(value) for value in result.result.get("partial_unexpected_list", [])[:10]
        ]
        for result in outcome.results
        if not result.success and result.expectation_config
    }


def _unknown_ids(frame: pd.DataFrame, tables: Sequence[Path]) -> dict[str, list[Any]]:
    import pandas as pd

    known = pd.concat([pd.read_parquet(path, columns=["id"])["id"] for path in tables])
    used = pd.concat([frame["first"], frame["second"]]).drop_duplicates()
    unknown = used[~used.isin(known)].tolist()
    return {f"ids in neither {' nor '.join(path.name for path in tables)}": unknown[:10]} if unknown else {}


def _too_many_quarantined(quarantined: int, others: Path) -> dict[str, list[Any]]:
    from pyarrow import parquet

    kept = parquet.read_metadata(others).num_rows
    share = quarantined / max(1, kept + quarantined)
    return {f"share quarantined {share:.0%} > {MAX_QUARANTINED:.0%}": []} if share > MAX_QUARANTINED else {}


def _result(asset: str, table: str, failures: dict[str, list[Any]], **metadata: Any) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=f"{table}_table",
        asset_key=asset,
        passed=not failures,
        description="; ".join(failures) or "all expectations hold",
        metadata={"failures": failures, **metadata},
    )
