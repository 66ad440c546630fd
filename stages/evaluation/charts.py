"""Degradation curves: one chart for each way in which photos get worse."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Score, name, colour; the colours can be read on white and on black and by people who see fewer of them (Wong 2011).
CURVES = (
    ("recovery", "R² of visible sliders", "#0072b2"),
    ("agreement", "cosine to the undegraded answer", "#e69f00"),
    ("similarity", "judge's similarity", "#009e73"),
    ("no_face", "share without a face", "#d55e00"),
)
LIGHT = {"figure.facecolor": "#ffffff", "axes.facecolor": "#ffffff", "text.color": "#1c1e21"}
DARK = {"figure.facecolor": "#1d2024", "axes.facecolor": "#1d2024", "text.color": "#e8eaed"}
LOWEST = -0.5


def chart(title: str, section: Mapping[str, Any], undegraded: Mapping[str, Any] | None, dark: bool = False) -> bytes:
    """PNG of one degradation: its scores with their intervals over the strengths."""
    with rc_context(_style(dark)):
        figure = Figure(figsize=(4.2, 3.1), dpi=130, layout="constrained")
        _draw(figure.subplots(), title, section, undegraded)
        return _png(figure)


def sheet(sections: Mapping[str, Mapping[str, Any]], undegraded: Mapping[str, Any]) -> bytes:
    """PNG of all degradations in one picture, with a legend."""
    with rc_context(_style(False)):
        figure = Figure(figsize=(13, 7), dpi=100, layout="constrained")
        axes = figure.subplots(2, 3).ravel()
        for place, (name, section) in zip(axes, sections.items(), strict=False):
            _draw(place, name, section, None if name == "yaw" else undegraded)
        for place in axes[len(sections) :]:
            place.axis("off")
            place.legend(*axes[0].get_legend_handles_labels(), loc="center", frameon=False)
        return _png(figure)


def _style(dark: bool) -> dict[Any, Any]:
    colours = DARK if dark else LIGHT
    ink = colours["text.color"]
    inked = dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor"), ink)
    return colours | inked | {"font.size": 10, "axes.grid": True, "grid.alpha": 0.25}


def _draw(axes: Axes, title: str, section: Mapping[str, Any], undegraded: Mapping[str, Any] | None) -> None:
    levels = {name: scores for name, scores in section.items() if isinstance(scores, Mapping)}
    named = ({"none": undegraded} if undegraded else {}) | levels
    for key, label, colour in CURVES:
        points = [
            (x, scores[key]) for x, scores in enumerate(named.values()) if scores.get(key, {}).get("value") is not None
        ]
        if not points:
            continue
        at, values = [x for x, _ in points], np.array([score["value"] for _, score in points])
        axes.plot(at, values, marker="o", markersize=4, color=colour, label=label)
        ends = np.array([score["ci"] or (score["value"], score["value"]) for _, score in points])
        axes.fill_between(at, ends[:, 0], ends[:, 1], color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(range(len(named)), list(named))
    axes.set_ylim(LOWEST, 1.03)
    axes.set_title(title.capitalize(), fontsize=11)
    axes.set_xlabel(str(section.get("unit", "")), fontsize=9)


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data, metadata={"Software": None})
    return data.getvalue()
