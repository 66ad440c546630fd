"""Write what people read of stages/data/origins.yaml: NOTICE, the credits of the example photos, and the table of terms
in docs/real-data-sets.md. `make origins`, after you changed it.

Of each file only the part that begins with a line of BEGINS is written anew, up to the next empty line.
"""

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

from stages.data import origins
from stages.data.origins import ExamplePhoto, Part, PublishedSet

ROOT = Path(__file__).parents[1]
BEGINS = {
    "NOTICE": "data/embedded/landmarks/face_landmarker.task",
    "examples/photos/CREDITS.md": "| file | person | author | licence |",
    "docs/real-data-sets.md": "| set | terms |",
}
WIDTH = 130


def main() -> None:
    """Write the files anew."""
    for name, text in written().items():
        (ROOT / name).write_text(text, encoding="utf-8")


def written() -> dict[str, str]:
    """Each file as it has to be."""
    known = origins.load()
    blocks = (
        "\n".join(map(notice, known.parts)),
        table(("file", "person", "author", "licence"), map(credit, (e for e in known.examples if not e.inside))),
        table(("set", "terms"), map(terms, known.photo_sets)),
    )
    return {name: _replaced(name, begin, block) for (name, begin), block in zip(BEGINS.items(), blocks, strict=True)}


def notice(part: Part) -> str:
    """A part as a paragraph of NOTICE."""
    said = [f"{part.name}, by {part.by}. Licence: {part.license}."]
    if part.weights:
        said.append(f"Weights that {part.weights}. Trained on: {part.trained_on or 'nothing is known here'}.")
    said += [part.note] if part.note else []
    lines = [textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="  ") for text in said]
    return "\n".join([f"{', '.join(_joined(part.files))}, from {part.origin}", *lines])


def _joined(files: Iterable[str]) -> Iterable[str]:
    """Paths as they are read: each folder once."""
    folder = ""
    for file in files:
        parent, _, name = file.rpartition("/")
        yield name if parent == folder else file
        folder = parent


def credit(photo: ExamplePhoto) -> tuple[str, ...]:
    """A row of the credits."""
    return f"`{photo.file}`", photo.person, photo.by, photo.license


def terms(published: PublishedSet) -> tuple[str, ...]:
    """A row of the table of terms."""
    return published.sets, published.terms


def table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])


def _replaced(name: str, begin: str, block: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    pattern = re.compile(rf"^{re.escape(begin)}.*?(?=\n\n)", re.MULTILINE | re.DOTALL)
    found, count = pattern.subn(lambda _: block, text)
    if count != 1:
        raise ValueError(f"{name} has no paragraph that begins with {begin!r}, or several")
    return found


if __name__ == "__main__":
    main()
