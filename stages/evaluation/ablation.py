"""Variants of one pipeline side by side: what each part of the method is worth, as a table and as pictures.

A difference from the full method is marked where both 95 % intervals lie apart. That is a strict test: the variants are
scored on the same people, so that intervals which overlap a little can still belong to different methods.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.images import decode, grid, resize
from stages.context import Context
from stages.data.pictures import IMITATOR_MARK, marked
from stages.evaluation.context import EvaluationContext, Networks, ScorecardConfig

Difference = Literal["", "better", "worse"]
MARKS: Mapping[Difference, str] = {"": "", "better": " ▲", "worse": " ▼"}

SHOWN = 8
TILE, TITLE_HEIGHT, GAP = 128, 44, 4
FONT, LETTERS = 13, 18
"""Size of the titles above a column, and how many letters of it fit on a line."""


@dataclass(frozen=True)
class Column:
    """One score of the table."""

    path: str
    """Its dotted name in scorecard.json."""
    title: str
    stand_in: str = ""
    """The score of a character that no engine draws."""


COLUMNS = (
    Column("recovery.visible", "R² visible"),
    Column("recovery.phenotypes", "R² phenotypes"),
    Column("recovery.groups_mean", "choices right"),
    Column("likeness.similarity", "judge similarity", "likeness.imitator_similarity"),
    Column("likeness.rank1", "judge rank-1", "likeness.imitator_rank1"),
    Column("likeness.real_photos", "real photos similarity", "likeness.imitator_real_photos"),
    Column("likeness.real_photos_same_photo_rank1", "real photos rank-1"),
    Column("likeness.real_photos_same_photo_rank5", "real photos rank-5"),
    Column("verification.parameters", "verification, raw"),
    Column("verification.parameters_pca", "verification, PCA"),
    Column("verification.ratio", "ratio to bound"),
)
SECONDS = "training, s"


@dataclass(frozen=True)
class VariantRow:
    """One variant's scores by `Column.path`; what its scorecard does not have is missing."""

    name: str
    about: str = ""
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: float | None = None
    """What its training took; None where nothing was trained or it was interrupted."""


def row_of(
    name: str,
    about: str,
    scores: Mapping[str, Mapping[str, Any]],
    seconds: float | None = None,
    read_from: Mapping[str, str] | None = None,
) -> VariantRow:
    """The columns among a scorecard's scores, given by dotted name.

    `read_from`: columns' paths to the scores that stand in them; all others are then empty.
    """
    found = {}
    for column in COLUMNS:
        paths = (column.path, column.stand_in) if read_from is None else (read_from.get(column.path, ""),)
        known = [scores[path] for path in paths if path in scores and scores[path].get("value") is not None]
        if known:
            found[column.path] = known[0]
    return VariantRow(name, about, found, seconds)


def limits(reference: VariantRow) -> list[VariantRow]:
    """Two rows that no training gives: the average face, and the best that could be reached."""
    rows = []
    for name, key, about in (
        ("average face", "baseline", "everybody gets the average face; for the ratio and rank-1: chance"),
        ("bound", "bound", "the best that could be reached, such as the render of a person's true parameters"),
    ):
        values = {path: entry.get(key) for path, entry in reference.scores.items()}
        scores = {path: {"value": value, "ci": None} for path, value in values.items() if value is not None}
        rows.append(VariantRow(name, about, scores))
    return rows


def difference(score: Mapping[str, Any] | None, reference: Mapping[str, Any] | None) -> Difference:
    """Whether a score lies apart from the reference's: their intervals have nothing in common. More is better."""
    if not score or not reference or not score.get("ci") or not reference.get("ci"):
        return ""
    (low, high), (reference_low, reference_high) = score["ci"], reference["ci"]
    return "better" if low > reference_high else "worse" if high < reference_low else ""


def cell(row: VariantRow, column: Column, reference: VariantRow | None) -> tuple[str, str]:
    """Value and mark, and the interval; empty where the scorecard has no such score."""
    entry = row.scores.get(column.path)
    if entry is None:
        return "", ""
    mark = MARKS[difference(entry, reference.scores.get(column.path) if reference else None)]
    interval = entry.get("ci")
    return f"{entry['value']:.3f}{mark}", f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""


def markdown(rows: Sequence[VariantRow], reference: VariantRow | None, heading: str) -> str:
    """The table with intervals, and a sentence on each variant."""
    titles = ["variant", *(column.title for column in COLUMNS), SECONDS]
    lines = [f"# {heading}", "", _line(titles), _line(["---", *["---:"] * (len(titles) - 1)])]
    for row in rows:
        cells = []
        for column in COLUMNS:
            value, interval = cell(row, column, reference)
            cells.append(f"{value}<br><sub>{interval}</sub>" if interval else value)
        lines.append(_line([row.name, *cells, "" if row.seconds is None else f"{row.seconds:.0f}"]))
    lines += ["", legend(rows, reference), ""]
    lines += [f"- **{row.name}**: {row.about}" for row in rows if row.about]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def legend(rows: Sequence[VariantRow], reference: VariantRow | None) -> str:
    """What the marks say."""
    name = reference.name if reference else "the full method"
    imitated = any("by" in entry for row in rows for entry in row.scores.values())
    return (
        f"▲ ▼: better, worse than `{name}`, their 95 % intervals lie apart. Intervals are from resampling people."
        + (" The imitator drew in the engine's place." if imitated else "")
    )


def contact_sheet(variants: Mapping[str, Mapping[str, Path]], context: Context) -> NDArray[np.uint8]:
    """Photos (rows) and what the engine draws of each variant's answer (columns), with a title above each column.

    `variants`: the scorecard's inputs of each; photos, engine and pairs are those of the first.
    """
    first = next(iter(variants.values()))
    few = ScorecardConfig(people=SHOWN, judged=2, searched=0, photos=1000, validation=0, pairs=1)
    evaluation = EvaluationContext.load(first, few, context)
    photos = _faces_to_show(evaluation)
    mark = IMITATOR_MARK if evaluation.engine is None else ""
    columns = {"photo": [resize(decode(data), TILE) for data in photos["image"]]}
    for number, (name, inputs) in enumerate(variants.items()):
        context.progress("contact sheet", number, len(variants))
        own = evaluation.with_networks(Networks.load(inputs, context.device), inputs)
        renders = own.draw(own.predict(photos))
        columns[name] = [resize(marked(render, mark), TILE) for render in renders]
    rows = [column[at] for at in range(len(photos)) for column in columns.values()]
    titles = grid([_title(name) for name in columns], len(columns), GAP)
    return np.concatenate([titles, grid(rows, len(columns), GAP)])


def _faces_to_show(evaluation: EvaluationContext) -> pd.DataFrame:
    """One real photo of each person who never trained, then held-out portraits where these are few."""
    people = [table.drop_duplicates("person") for table in (evaluation.photos, evaluation.faces)]
    return pd.concat(people).head(SHOWN).reset_index(drop=True)


def _title(name: str) -> NDArray[np.uint8]:
    """A column's name on white, [TITLE_HEIGHT, TILE, 3]."""
    picture = Image.new("RGB", (TILE, TITLE_HEIGHT), "white")
    text = "\n".join(textwrap.wrap(name.replace("_", " "), LETTERS))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(FONT)
    draw.multiline_text((TILE / 2, TITLE_HEIGHT / 2), text, "black", font, anchor="mm", align="center", spacing=2)
    return np.asarray(picture)
