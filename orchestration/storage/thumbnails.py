"""Pictures small enough to live in Dagster's database: what a stage left at the top of its folder, and charts."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from PIL import Image

from models.images import decode_photo

LONGEST_SIDE, SHORTEST = 768, 320
BUDGET = 160_000
"""Characters that all pictures of one event take together."""


def as_markdown(name: str, picture: Path | bytes, budget: int = BUDGET) -> str:
    """The picture as a data URL that the Dagster UI shows, made smaller until it takes no more than `budget`."""
    small = Image.fromarray(decode_photo(picture))
    side = LONGEST_SIDE
    while True:
        small.thumbnail((side, side))
        data = io.BytesIO()
        small.save(data, "WEBP", quality=60, method=2)
        markdown = f"![{name}](data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()})"
        if len(markdown) <= budget or side <= SHORTEST:
            return markdown
        side = max(int(side * 0.85), SHORTEST)


def one_page(pictures: Mapping[str, Path | bytes], budget: int = BUDGET) -> dg.MarkdownMetadataValue:
    """All of them under their names: Dagster shows markdown behind a link, and one is enough to follow.

    What one does not need of its share of the budget, the others get.
    """
    shown: dict[str, str] = {}
    left = budget
    sizes = {name: len(as_markdown(name, picture, budget)) for name, picture in pictures.items()}
    for number, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        shown[name] = as_markdown(name, pictures[name], left // (len(sizes) - number))
        left -= len(shown[name])
    return dg.MetadataValue.md("\n\n".join(f"### {name}\n\n{shown[name]}" for name in pictures))
