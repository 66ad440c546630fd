"""A graph of lineage as a picture: sources on the left, what was made of them to the right."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from engine.errors import LikenessError
from engine.files import require_file_name
from orchestration.lineage.graph import DAMAGED, ERASED, GONE, Graph, Node
from orchestration.lineage.tree import against, details, differences

FORMATS = (".svg", ".png")
# Inches.
WIDTH, GAP_X, GAP_Y, LINE, MARGIN, PADDING = 3.1, 1.0, 0.3, 0.155, 0.35, 0.14
LANE = 0.12
"""Height that an edge takes where it passes a column."""
COLUMNS = 46
"""Characters in a line of a box."""
INK, PALE, EDGE, WARNING, BAD = "#1d2733", "#5b6875", "#8a97a5", "#9a5b00", "#b3261e"
FILLS = {"source": "#eef3f8", "made": "#ffffff", "model": "#e8f4ea"}


class PictureError(LikenessError):
    """The picture cannot be written so."""


@dataclass
class _Box:
    """A node in its column, or the place where a long edge passes one."""

    name: str
    column: int
    lines: list[tuple[str, str, bool]] = field(default_factory=list)
    """Text, colour and whether it is bold."""
    y: float = 0.0
    """Centre, inches from the top."""

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + 2 * PADDING if self.lines else LANE


def draw(graph: Graph, path: Path) -> None:
    """Write an .svg or a .png. Raises PictureError, OSError."""
    if path.suffix.lower() not in FORMATS:
        raise PictureError(f"{path}: the picture's name must end in {' or '.join(FORMATS)}")
    import matplotlib

    require_file_name(path)
    boxes, paths = _lay_out(graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    # Text stays text in an .svg, and nothing in it changes from one run to the next.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "likeness", "font.family": "DejaVu Sans"}):
        figure = _figure(graph, boxes, paths)
        metadata: dict[str, Any] = {"Date": None} if path.suffix.lower() == ".svg" else {}
        try:
            figure.savefig(partial, dpi=150, facecolor="white", metadata=metadata)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _lay_out(graph: Graph) -> tuple[dict[str, _Box], list[list[str]]]:
    """Boxes with their places, and for each edge the boxes that it goes through."""
    import networkx as nx

    order = nx.DiGraph()
    order.add_nodes_from(graph.nodes)
    order.add_edges_from(graph.edges)
    column: dict[str, int] = {}
    for name in nx.topological_sort(order):
        column[name] = max((column[start] + 1 for start in order.predecessors(name)), default=0)
    for name in reversed(list(nx.topological_sort(order))):
        # A source stands right before the first that reads it, so that edges are short.
        if not order.in_degree(name) and (readers := list(order.successors(name))):
            column[name] = min(column[reader] for reader in readers) - 1
    boxes = {name: _Box(name, column[name], _lines(node)) for name, node in graph.nodes.items()}
    paths = []
    for start, end in graph.edges:
        through = [f"{start}>{end}>{at}" for at in range(column[start] + 1, column[end])]
        boxes |= {name: _Box(name, column[start] + 1 + number) for number, name in enumerate(through)}
        paths.append([start, *through, end])
    _place(boxes, paths)
    return boxes, paths


def _place(boxes: Mapping[str, _Box], paths: list[list[str]]) -> None:
    """Order each column by where its neighbours are, a few times over, and stack it around the middle."""
    columns: dict[int, list[_Box]] = {}
    for box in boxes.values():
        columns.setdefault(box.column, []).append(box)
    neighbours: dict[str, list[str]] = {name: [] for name in boxes}
    for path in paths:
        for start, end in pairwise(path):
            neighbours[start].append(end)
            neighbours[end].append(start)
    for column in columns.values():
        _stack(column)
    for sweep in range(24):
        for at in sorted(columns, reverse=bool(sweep % 2)):
            wanted = {box.name: _middle([boxes[name] for name in neighbours[box.name]], box) for box in columns[at]}
            columns[at].sort(key=lambda box: wanted[box.name])
            _stack(columns[at], wanted)
    top = min(box.y - box.height / 2 for box in boxes.values())
    for box in boxes.values():
        box.y += MARGIN - top


def _middle(others: list[_Box], box: _Box) -> float:
    return sum(other.y for other in others) / len(others) if others else box.y


def _stack(column: list[_Box], wanted: Mapping[str, float] | None = None) -> None:
    """Give a column's boxes, in their order, the places nearest to the wanted ones at which none overlaps."""
    y = 0.0
    for box in column:
        least = y + box.height / 2
        box.y = max(least, wanted[box.name]) if wanted else least
        y = box.y + box.height / 2 + GAP_Y
    if wanted:
        # What was pushed down is pulled back up as a whole, as far as it was pushed on average.
        shift = sum(box.y - wanted[box.name] for box in column) / len(column)
        for box in column:
            box.y -= shift


def _lines(node: Node) -> list[tuple[str, str, bool]]:
    lines = [(node.title, INK, True)]
    if node.model:
        lines.append((f"{node.model['name']} version {node.model['version']}", INK, True))
        lines += [(part, INK, False) for part in _wrapped(", ".join(node.model["aliases"]))]
    lines.append((f"md5 {node.md5.removesuffix('.dir') or 'unknown'}", INK, False))
    for line in details(node):
        lines += [(part, PALE, False) for told in line.split(" · ") for part in _wrapped(told)]
    bad = not {ERASED, GONE, DAMAGED}.isdisjoint(node.bytes)
    lines.append((f"bytes: {', '.join(node.bytes)}", BAD if bad else PALE, bad))
    for line in differences(node):
        lines += [(part, WARNING, False) for part in _wrapped(line)]
    for line in node.erased:
        lines += [(part, BAD, False) for part in _wrapped(line)]
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, COLUMNS, subsequent_indent="   ")


def _figure(graph: Graph, boxes: Mapping[str, _Box], paths: list[list[str]]) -> Any:
    from matplotlib.figure import Figure

    last = max(box.column for box in boxes.values())
    width = (last + 1) * WIDTH + last * GAP_X + 2 * MARGIN
    head = 0.55
    height = max(box.y + box.height / 2 for box in boxes.values()) + MARGIN + head
    figure = Figure(figsize=(max(width, 7.5), height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, max(width, 7.5))
    axes.set_ylim(height, 0)
    axes.axis("off")
    title = graph.target.file.name if graph.target.file else graph.nodes[graph.root].title
    axes.text(MARGIN, MARGIN, f"Where {title} comes from", fontsize=13, weight="bold", color=INK, va="center")
    axes.text(MARGIN, MARGIN + 0.26, against(graph), fontsize=8.5, color=PALE, va="center")
    for path in paths:
        _draw_edge(axes, [boxes[name] for name in path], head)
    for box in boxes.values():
        if box.lines:
            _draw_box(axes, box, graph.nodes[box.name], head)
    return figure


def _left(box: _Box) -> float:
    return MARGIN + box.column * (WIDTH + GAP_X)


def _draw_box(axes: Any, box: _Box, node: Node, head: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    left, top = _left(box), box.y - box.height / 2 + head
    bad = not {ERASED, GONE, DAMAGED}.isdisjoint(node.bytes)
    axes.add_patch(
        FancyBboxPatch(
            (left, top), WIDTH, box.height, boxstyle="round,pad=0,rounding_size=0.08", zorder=3,
            facecolor=FILLS["source" if node.source else "model" if node.model else "made"],
            edgecolor=BAD if bad else EDGE, linewidth=1.6 if bad else 1.0,
        )
    )  # fmt: skip
    for number, (text, colour, bold) in enumerate(box.lines):
        axes.text(
            left + PADDING, top + PADDING + (number + 0.5) * LINE, text, zorder=4, va="center", color=colour,
            fontsize=8.6 if bold else 7.4, weight="bold" if bold else "normal",
        )  # fmt: skip


def _draw_edge(axes: Any, boxes: list[_Box], head: float) -> None:
    """A smooth line from the right side of the first to the left side of the last, level where it passes a column."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Line

    points: list[tuple[float, float]] = [(_left(boxes[0]) + WIDTH, boxes[0].y + head)]
    codes: list[int] = [int(Line.MOVETO)]
    for box in boxes[1:]:
        x, y = _left(box), box.y + head
        start = points[-1]
        points += [(start[0] + GAP_X / 2, start[1]), (x - GAP_X / 2, y), (x, y)]
        codes += [int(Line.CURVE4)] * 3
        if not box.lines:
            points.append((x + WIDTH, y))
            codes.append(int(Line.LINETO))
    axes.add_patch(PathPatch(Line(points, codes), facecolor="none", edgecolor=EDGE, linewidth=1.1, zorder=1))
    x, y = points[-1]
    axes.annotate(
        "", (x, y), (x - 0.02, y), zorder=2, arrowprops={"arrowstyle": "-|>", "color": EDGE, "shrinkA": 0, "shrinkB": 0}
    )
