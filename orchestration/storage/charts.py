"""Charts for Dagster's pages: what a training logged over its steps, and how a table's columns are distributed."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that people who see fewer of them can tell apart (Wong 2011).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
STYLE: dict[Any, Any] = {"font.size": 8, "axes.grid": True, "grid.alpha": 0.25}
COLUMNS, PANEL = 4, (2.5, 1.75)  # panels a row; inches
MOST_PANELS, MOST_VALUES = 16, 12
DOMAINS = re.compile(r"(photos|portraits|pairs)_(.+)")
"""The same metric on different data shares a panel."""
PACE = ("steps_per_second", "samples_per_second", "data_share")


@dataclass
class Curve:
    """Values of one metric by step, thinned out so that a long training takes no more memory than a short one."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    every: int = 1
    seen: int = 0

    MOST = 1000

    def add(self, step: int, value: float) -> None:
        """Take in the value of a step, or pass over it."""
        if self.seen % self.every == 0:
            self.steps.append(step)
            self.values.append(value)
        self.seen += 1
        if len(self.steps) >= self.MOST:
            self.steps, self.values, self.every = self.steps[::2], self.values[::2], 2 * self.every


def trainings(history: Mapping[str, Curve]) -> dict[str, bytes]:
    """A PNG for each training: a panel for each loss term and each validation metric over its steps.

    A metric is called `<training>/<name>`; what was logged once is no curve.
    """
    panels: dict[str, dict[str, dict[str, Curve]]] = {}
    for key, curve in history.items():
        training, _, name = key.partition("/")
        if not name or len(curve.steps) < 2 or name in PACE:
            continue
        domain, metric = found.groups() if (found := DOMAINS.fullmatch(name)) else ("", name)
        panels.setdefault(training, {}).setdefault(metric, {})[domain] = curve
    return {training: _small_multiples(list(_curves(metrics))) for training, metrics in panels.items()}


def _curves(metrics: Mapping[str, Mapping[str, Curve]]) -> Iterator[tuple[str, Any]]:
    for metric, by_domain in metrics.items():

        def draw(axes: Axes, by_domain: Mapping[str, Curve] = by_domain) -> None:
            for (domain, curve), colour in zip(by_domain.items(), COLOURS, strict=False):
                axes.plot(curve.steps, curve.values, color=colour, label=domain, linewidth=1.2)
            values = [value for curve in by_domain.values() for value in curve.values]
            if min(values) > 0 and max(values) > 50 * min(values):
                axes.set_yscale("log")
            axes.ticklabel_format(axis="x", style="sci", scilimits=(-4, 4))

        yield metric, draw


def table(path: Path) -> bytes | None:
    """A PNG with a panel for each column that can be shown as a histogram or as counts; None where there is none.

    Rows are told apart by their split where they have one.
    """
    from pyarrow import parquet, types

    kinds = (types.is_floating, types.is_integer, types.is_boolean, types.is_string, types.is_large_string)
    schema = parquet.read_schema(path)
    simple = [column.name for column in schema if any(kind(column.type) for kind in kinds)]
    rows = parquet.read_table(path, columns=simple).to_pandas()
    panels = [(name, draw) for name in simple if name != "id" and (draw := _column(rows, name))]
    return _small_multiples(panels) if panels else None


def _column(rows: pd.DataFrame, name: str) -> Any:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    column = rows[name].dropna()
    distinct = column.nunique()
    if column.empty or (distinct == 1 and is_numeric_dtype(column)):
        return None
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        return lambda axes: _histogram(axes, rows, name)
    if distinct > max(MOST_VALUES, len(column) // 4):  # names, not kinds
        return None
    return None if name == "split" else lambda axes: _counts(axes, column.astype(str))


def _histogram(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    import numpy as np

    low, high = rows[name].min(), rows[name].max()
    edges = np.linspace(low, high, 25)
    groups = rows.groupby("split")[name] if "split" in rows else [("", rows[name])]
    parts = {str(label): values.dropna().to_numpy() for label, values in groups}
    for (label, values), colour in zip(parts.items(), COLOURS, strict=False):
        axes.hist(values, edges, density=True, histtype="step", color=colour, label=label)
    axes.set_yticks([])


def _counts(axes: Axes, column: pd.Series[str]) -> None:
    counts = column.value_counts().head(MOST_VALUES)[::-1]
    names = [name if len(name) <= 24 else f"{name[:23]}…" for name in counts.index]
    axes.barh(names, counts.to_numpy(), color=COLOURS[0])
    axes.tick_params(axis="y", labelsize=6)
    axes.grid(axis="y", visible=False)


def _small_multiples(panels: Sequence[tuple[str, Any]]) -> bytes:
    """PNG of panels in rows of COLUMNS; those that do not fit are left out and said to be."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = panels[:MOST_PANELS]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    with rc_context(STYLE):
        height = PANEL[1] * rows
        figure = Figure(figsize=(PANEL[0] * columns, height), dpi=100)
        places = figure.subplots(rows, columns, squeeze=False).ravel()
        for place, (name, draw) in zip(places, shown, strict=False):
            place.set_title(name, fontsize=8)
            draw(place)
        for place in places[len(shown) :]:
            place.axis("off")
        # Fixed margins: laying out by what is drawn takes as long as the drawing.
        figure.subplots_adjust(0.08, 0.25 / height, 0.99, 1 - 0.45 / height, wspace=0.4, hspace=0.5)
        _legend(figure, places)
        if len(panels) > len(shown):
            figure.text(0.99, 0.02, f"and {len(panels) - len(shown)} more", fontsize=8, ha="right")
        data = io.BytesIO()
        FigureCanvasAgg(figure).print_png(data)
    return data.getvalue()


def _legend(figure: Figure, places: Iterable[Axes]) -> None:
    """One for all panels, of those labels that tell anything apart."""
    handles: dict[str, Any] = {}
    for place in places:
        drawn, labels = place.get_legend_handles_labels()
        handles |= {label: handle for label, handle in zip(labels, drawn, strict=True) if label}
    if len(handles) > 1:
        figure.legend(handles.values(), handles.keys(), loc="upper left", ncols=len(handles), frameon=False, fontsize=8)
