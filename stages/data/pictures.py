"""Pictures for people to look at: contact sheets and label maps."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.images import encode_png, grid, resize

IMITATOR_MARK = "imitator"
"""On a picture that the imitator drew in the engine's place."""

# One colour a class, in the order of models.face_parts.CLASSES.
PALETTE = np.array(
    [
        [20, 20, 24], [238, 190, 160], [112, 66, 36], [214, 69, 65], [46, 160, 90], [52, 110, 220], [40, 190, 210],
        [240, 200, 60], [220, 90, 190], [250, 250, 250], [130, 40, 140],
    ],
    dtype=np.uint8,
)  # fmt: skip


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB picture [H, W, 3] as PNG."""
    path.write_bytes(encode_png(image))


def write_sheet(path: Path, pictures: Iterable[NDArray[np.uint8]], columns: int, size: int) -> None:
    """Write square pictures [H, H, 3] as PNG, `size` pixels each, in so many columns."""
    write_picture(path, grid([resize(picture, size) for picture in pictures], columns))


def colour_labels(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A label map [H, W] as an RGB picture [H, W, 3]."""
    return PALETTE[labels]


def marked(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A picture [H, W, 3] with a word in its lower right corner; no word, no change."""
    if not text:
        return image
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture, "RGBA")
    size = max(9, image.shape[0] // 20)
    font = ImageFont.load_default(size)
    left, top, right, bottom = draw.textbbox((0, 0), text, font)
    margin = size // 2
    x, y = image.shape[1] - (right - left) - 2 * margin, image.shape[0] - (bottom - top) - 2 * margin
    draw.rectangle((x, y, image.shape[1], image.shape[0]), (0, 0, 0, 150))
    draw.text((x + margin - left, y + margin - top), text, (255, 255, 255, 255), font)
    return np.asarray(picture)
