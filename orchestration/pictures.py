"""Pictures that a stage leaves at the top of its folder, small enough to live in Dagster's database."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

LONGEST_SIDE = 1024


def as_markdown(path: Path) -> str:
    """The picture as a data URL that the Dagster UI shows."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=85)
    return f"![{path.stem}](data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()})"
