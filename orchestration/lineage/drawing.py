"""A graph of lineage as a picture: sources on the left, what was made of them to the right."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import LikenessError
from engine.files import partial_file, require_file_name
from orchestration.lineage.graph import DAMAGED, ERASED, GONE, LineageGraph, Node
from orchestration.lineage.tree import against, details, differences

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png")
# Inches.
WIDTH, GAP_X, GAP_Y, LINE, MARGIN, PADDING = 3.1, 1.0, 0.3, 0.155, 0.35, 0.14
LANE = 0.12
"""Height that an edge takes where it passes a column."""
NARROWEST, HEAD = 7.5, 0.55
"""Width of the picture; height of its title."""
SWEEPS = 6
"""Over all columns, to order their boxes so that few edges cross."""
COLUMNS = 46
"""Characters in a line of a box."""
INK, PALE, EDGE, WARNING, BAD = "#1d2733", "#5b6875", "#8a97a5", "#9a5b00", "#b3261e"
FILLS = {"source": "#eef3f8", "made": "#ffffff", "model": "#e8f4ea"}


@dataclass
class _Box:
    """A node as grandalf wants it, which stacks layers from top to bottom: its x is our y, its height our width."""

    lines: list[tuple[str, str, bool]]
    """Text, colour and whether it is bold."""
    xy: tuple[float, float] = (0.0, 0.0)
    """Centre in inches, from the top and from the left."""
    h = WIDTH

    @property
    def w(self) -> float:
        return self.height

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + 2 * PADDING

    @property
    def y(self) -> float:
        return self.xy[0]

    @property
    def left(self) -> float:
        return self.xy[1] - WIDTH / 2


class _Route:
    """Where an edge goes, as grandalf tells it: centres, from the top and from the left."""

    points: Sequence[tuple[float, float]] = ()

    def setpath(self, points: Sequence[tuple[float, float]]) -> None:
        self.points = points


def draw(graph: LineageGraph, path: Path) -> None:
    """Write an .svg or a .png. Raises LikenessError, OSError."""
    if path.suffix.lower() not in FORMATS:
        raise LikenessError(f"{path}: the picture's name must end in {' or '.join(FORMATS)}")
    import matplotlib

    form = path.suffix.lower().removeprefix(".")
    require_file_name(path)
    boxes, routes = _lay_out(graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Text stays text in an .svg, and nothing in it changes from one run to the next.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "likeness", "font.family": "DejaVu Sans"}):
        figure = _figure(graph, boxes, routes)
        metadata: dict[str, Any] = {"Date": None} if form == "svg" else {}
        with partial_file(path) as partial:
            figure.savefig(partial, format=form, dpi=150, facecolor="white", metadata=metadata)


def _lay_out(graph: LineageGraph) -> tuple[dict[str, _Box], list[list[tuple[float, float]]]]:
    """Boxes with their places, and for each edge the centres that it goes through: of its input, of the columns
    between, of what was made of it.
    """
    from grandalf.graphs import Edge, Vertex, graph_core
    from grandalf.layouts import SugiyamaLayout

    vertices: dict[str, Any] = {name: Vertex(name) for name in graph.nodes}
    boxes = {name: _Box(_lines(node)) for name, node in graph.nodes.items()}
    for name, vertex in vertices.items():
        vertex.view = boxes[name]
    edges: list[Any] = [Edge(vertices[start], vertices[end]) for start, end in graph.edges]
    for edge in edges:
        edge.view = _Route()
    layout: Any = SugiyamaLayout(graph_core([*vertices.values()], edges))
    layout.dw, layout.xspace, layout.yspace = LANE, GAP_Y, GAP_X
    layout.init_all(optimize=True)
    layout.draw(SWEEPS)
    passed = [y for edge in edges for y, _ in edge.view.points]
    top = min([*passed, *(box.y - box.height / 2 for box in boxes.values())])
    for box in boxes.values():
        box.xy = (box.xy[0] + MARGIN - top, box.xy[1] + MARGIN)
    return boxes, [[(x + MARGIN, y + MARGIN - top) for y, x in edge.view.points] for edge in edges]


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


def _figure(graph: LineageGraph, boxes: Mapping[str, _Box], routes: Sequence[Sequence[tuple[float, float]]]) -> Figure:
    from matplotlib.figure import Figure

    width = max(max(box.left for box in boxes.values()) + WIDTH + MARGIN, NARROWEST)
    passed = [y for route in routes for _, y in route]
    height = max([*passed, *(box.y + box.height / 2 for box in boxes.values())]) + MARGIN + HEAD
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height - HEAD, -HEAD)
    axes.axis("off")
    title = graph.target.file.name if graph.target.file else graph.nodes[graph.root].title
    top = MARGIN - HEAD
    axes.text(MARGIN, top, f"Where {title} comes from", fontsize=13, weight="bold", color=INK, va="center")
    axes.text(MARGIN, top + 0.26, against(graph), fontsize=8.5, color=PALE, va="center")
    for route in routes:
        _draw_edge(axes, route)
    for name, box in boxes.items():
        _draw_box(axes, box, graph.nodes[name])
    return figure


def _draw_box(axes: Axes, box: _Box, node: Node) -> None:
    from matplotlib.patches import FancyBboxPatch

    top = box.y - box.height / 2
    bad = not {ERASED, GONE, DAMAGED}.isdisjoint(node.bytes)
    axes.add_patch(
        FancyBboxPatch(
            (box.left, top), WIDTH, box.height, boxstyle="round,pad=0,rounding_size=0.08", zorder=3,
            facecolor=FILLS["source" if node.source else "model" if node.model else "made"],
            edgecolor=BAD if bad else EDGE, linewidth=1.6 if bad else 1.0,
        )
    )  # fmt: skip
    for number, (text, colour, bold) in enumerate(box.lines):
        axes.text(
            box.left + PADDING, top + PADDING + (number + 0.5) * LINE, text, zorder=4, va="center", color=colour,
            fontsize=8.6 if bold else 7.4, weight="bold" if bold else "normal",
        )  # fmt: skip


def _draw_edge(axes: Axes, route: Sequence[tuple[float, float]]) -> None:
    """A smooth line from the right of the first box to the left of the last, level where it passes a column."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Line

    points = [(route[0][0] + WIDTH / 2, route[0][1])]
    codes: list[int] = [int(Line.MOVETO)]
    for x, y in route[1:]:
        left, right, before = x - WIDTH / 2, x + WIDTH / 2, points[-1]
        points += [(before[0] + GAP_X / 2, before[1]), (left - GAP_X / 2, y), (left, y), (right, y)]
        codes += [int(Line.CURVE4)] * 3 + [int(Line.LINETO)]
    # The last column is reached, not passed.
    axes.add_patch(PathPatch(Line(points[:-1], codes[:-1]), facecolor="none", edgecolor=EDGE, linewidth=1.1, zorder=1))
    x, y = points[-2]
    axes.annotate(
        "", (x, y), (x - 0.02, y), zorder=2, arrowprops={"arrowstyle": "-|>", "color": EDGE, "shrinkA": 0, "shrinkB": 0}
    )
