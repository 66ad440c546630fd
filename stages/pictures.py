"""Pictures for people to look at: contact sheets and label maps."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.images import encode_png

# One colour a class, in the order of models.parsing.CLASSES.
PALETTE = np.array(
    [
        [20, 20, 24], [238, 190, 160], [112, 66, 36], [214, 69, 65], [46, 160, 90], [52, 110, 220], [40, 190, 210],
        [240, 200, 60], [220, 90, 190], [250, 250, 250], [130, 40, 140],
    ],
    dtype=np.uint8,
)  # fmt: skip


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB picture [H,W,3] as PNG."""
    path.write_bytes(encode_png(image))


def colour_labels(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A label map [H,W] as an RGB picture [H,W,3]."""
    return PALETTE[labels]
