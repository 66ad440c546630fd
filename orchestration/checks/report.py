"""What Dagster shows of a check: every expectation, the rows that break one, and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.checks.context import CheckContext
from orchestration.checks.gx import IDENTIFYING, ExpectationResult
from orchestration.storage.dagster_metadata import table_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_ROWS = 100
MOST_PICTURES = 16
PICTURE_SIDE = 128

EXPECTATIONS, FAILING_ROWS, FAILING_COUNT, RULE = "expectations", "failing_rows", "failing_count", "rule"
REFERENCE = "reference_md5"
"""Names in the metadata of a check's result."""


def metadata(findings: Sequence[ExpectationResult], rule: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of all expectations and of failing rows, at most MOST_ROWS of them; how many there are; the rule."""
    rows = [(finding, row) for finding in findings if not finding.passed for row in finding.rows]
    shown: dict[str, Any] = {EXPECTATIONS: table_of([_summary(finding) for finding in findings])}
    if rows:
        shown[FAILING_ROWS] = table_of([_row(finding, row) for finding, row in rows[:MOST_ROWS]])
    shown[FAILING_COUNT] = sum(finding.failing for finding in findings if not finding.passed)
    return {**shown, **facts, RULE: rule}


def description(findings: Sequence[ExpectationResult], facts: Mapping[str, Any]) -> str:
    """One line: what does not hold, or that all does."""
    failed = [str(finding) for finding in findings if not finding.passed]
    if failed:
        return "; ".join(failed)
    return f"nothing to compare with: {facts['reason']}" if "reason" in facts and not findings else _all_hold(findings)


def _all_hold(findings: Sequence[ExpectationResult]) -> str:
    if not findings:
        return "nothing was asked"
    return f"all {len(findings)} expectations hold" if len(findings) > 1 else "its one expectation holds"


def _summary(finding: ExpectationResult) -> dict[str, Any]:
    return {
        "ok": finding.passed,
        "expectation": finding.expectation,
        "column": finding.column,
        "expected": finding.expected,
        "observed": finding.observed,
        "failing": finding.failing,
        "about": finding.about,
    }


def _row(finding: ExpectationResult, row: Mapping[str, Any]) -> dict[str, Any]:
    names = {name: str(row.get(name, "")) for name in IDENTIFYING}
    return {**names, "column": finding.column, "value": str(row["value"]), "expectation": finding.expectation}


def contact_sheet(context: CheckContext, file: str, findings: Sequence[ExpectationResult]) -> NDArray[np.uint8] | None:
    """The pictures of the first failing rows as one, RGB [H, W, 3], a row's `second` beside its own; None where there
    are none to be shown.
    """
    from models import images

    rows = [row for finding in findings if not finding.passed for row in finding.rows if "id" in row]
    wanted = [str(name) for row in rows for name in (row["id"], row.get("second")) if name is not None]
    wanted = wanted if any("second" in row for row in rows) else list(dict.fromkeys(wanted))
    known = _pictures_of(context.folder / file, wanted[:MOST_PICTURES])
    tiles = []
    for name in wanted[:MOST_PICTURES]:
        try:
            tiles.append(images.resize(images.decode(known[name]), PICTURE_SIDE))
        except (KeyError, images.BadImage):
            continue
    return images.grid(tiles, columns=8) if tiles else None


def _pictures_of(path: Path, ids: Sequence[str]) -> dict[str, bytes]:
    import pyarrow.parquet as pq

    from orchestration.checks import frames

    if not ids or not {"id", "image"} <= set(pq.read_schema(path).names):
        return {}
    known = pq.read_table(path, columns=["id"]).to_pandas()["id"].astype(str)
    rows = known.index[known.isin(ids)][:MOST_PICTURES].tolist()
    return {str(row["id"]): row["image"] for row in frames.pick(path, rows, ["id", "image"]) if row["image"]}
