"""Draw docs/architecture.svg: the floors of the code, and who imports whom. `make architecture` writes it.

Floors and rooms are those of the contracts in pyproject.toml that `make lint` checks, what a room is for is the first
sentence of its docstring, and the arrows are the imports that are there, those inside functions included.
"""

import ast
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
HEAD = '<marker id="head" viewBox="0 0 6 6" refX="3" refY="3" markerWidth="7" markerHeight="7" orient="auto">'
HEAD = f'<defs>{HEAD}<path d="M0 0L6 3L0 6z" fill="#7b8794"/></marker></defs>'
WIDTH, HEIGHT, GAP, MARGIN = 1000, 86, 36, 20
STYLE = (
    "text{font-family:sans-serif;font-size:13px;fill:#1f2933}.floors{font-size:17px;font-weight:bold}"
    ".room{font-weight:bold;font-size:15px}.uses{fill:#52606d;font-size:12px}"
    "rect{fill:#f5f7fa;stroke:#7b8794}line{stroke:#7b8794;marker-end:url(#head)}.wrong{stroke:#c81e1e;stroke-width:2}"
)


class Box(NamedTuple):
    """A room, and where it is drawn, in pixels."""

    module: str
    floor: int
    x: float
    y: float
    width: float


def contracts() -> list[list[list[str]]]:
    """Of each contract of layers the floors from the roof down, each a list of modules."""
    found = []
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            (container,) = contract.get("containers", [""])
            floors = [[room.strip() for room in floor.split("|")] for floor in contract["layers"]]
            found.append([[f"{container}.{room}" if container else room for room in floor] for floor in floors])
    return found


def purpose(module: str) -> str:
    """The first sentence of the docstring of a module or package."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0].split())
    return text.split(". ")[0].removesuffix(".")


def boxes(floors: Sequence[Sequence[str]], top: float) -> list[Box]:
    """Where the rooms of the floors stand."""
    placed = []
    for floor, rooms in enumerate(floors):
        width = (WIDTH - 2 * MARGIN - GAP * (len(rooms) - 1)) / len(rooms)
        for number, room in enumerate(rooms):
            placed.append(Box(room, floor, MARGIN + number * (width + GAP), top + floor * (HEIGHT + GAP), width))
    return placed


def imports(rooms: Sequence[Box], graph: grimp.ImportGraph) -> dict[str, list[Box]]:
    """The rooms that each room imports."""
    for room in rooms:
        graph.squash_module(room.module)
    return {
        room.module: [
            other
            for other in rooms
            if other != room and graph.direct_import_exists(importer=room.module, imported=other.module)
        ]
        for room in rooms
    }


def draw() -> str:
    """The picture as SVG."""
    parts, top = [], 0.0
    roots = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    for floors in contracts():
        container = floors[0][0].rpartition(".")[0]
        parts.append(f'<text class="floors" x="{MARGIN}" y="{top + 30}">{container or "The house"}</text>')
        rooms = boxes(floors, top + 45)
        uses = imports(rooms, grimp.build_graph(*roots, cache_dir=None))
        for number, room in enumerate(rooms):
            for step, other in enumerate(uses[room.module]):
                # Not the lanes of the room above, so that no two lines lie on each other.
                lane = (step + 0.3 + 0.1 * (number % 5)) / len(uses[room.module])
                parts.append(arrow(room, other, lane))
        parts += [line for room in rooms for line in sheet(room, uses[room.module])]
        top += 45 + len(floors) * (HEIGHT + GAP)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" width="{WIDTH}">'
    ground = f'<rect width="{WIDTH}" height="{top:.0f}" style="fill:white;stroke:none"/>'
    return "\n".join([head, f"<style>{STYLE}</style>{HEAD}", ground, *parts, "</svg>", ""])


def arrow(room: Box, other: Box, lane: float) -> str:
    """A line from a room to one that it imports; red where that is not below it. `lane` in [0, 1]: where it begins."""
    wrong = ' class="wrong"' if other.floor <= room.floor else ""
    start = room.x + room.width * (0.06 + 0.88 * lane)
    end = min(max(start, other.x + 0.06 * other.width), other.x + 0.94 * other.width)
    return f'<line{wrong} x1="{start:.0f}" y1="{room.y + HEIGHT:.0f}" x2="{end:.0f}" y2="{other.y - 5:.0f}"/>'


def sheet(room: Box, uses: Sequence[Box]) -> Iterator[str]:
    """A room's box with its name, what it is for, and the rooms that it imports."""
    yield f'<rect x="{room.x:.0f}" y="{room.y:.0f}" width="{room.width:.0f}" height="{HEIGHT}" rx="6"/>'
    lines = textwrap.wrap(purpose(room.module), int(room.width / 7.6), max_lines=2, placeholder=" …")
    names = ", ".join(other.module.rpartition(".")[2] for other in uses)
    texts = [("room", room.module.rpartition(".")[2]), *(("", line) for line in lines)]
    for number, (kind, text) in enumerate(texts):
        yield f'<text class="{kind}" x="{room.x + 12:.0f}" y="{room.y + 20 + 17 * number:.0f}">{escape(text)}</text>'
    if names:
        yield f'<text class="uses" x="{room.x + 12:.0f}" y="{room.y + HEIGHT - 8:.0f}">imports {names}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw())
