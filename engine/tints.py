"""The colour of hair and skin beside that of their choices: sliders for lightness and warmth, in CIELAB.

At its ends a slider reaches about half as far as the next choice lies.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.schema import Schema

# What each slider changes between its neutral value and 1: L*, a*, b*.
REACH = {
    "hair_lightness": (7.0, 0.0, 0.0),
    "hair_warmth": (0.0, 4.0, 8.0),
    "skin_lightness": (5.0, 0.0, 0.0),
    "skin_warmth": (0.0, 1.5, 5.0),
}


def tinted(
    linear: NDArray[np.floating], schema: Schema, sliders: NDArray[np.floating], what: str
) -> NDArray[np.float32]:
    """Linear RGB [B, 3] of the `hair` or the `skin` of faces with sliders [B, S], as their tints make it."""
    lab = cv2.cvtColor(np.asarray(linear, np.float32)[:, None], cv2.COLOR_LRGB2LAB)[:, 0]
    for name, reach in REACH.items():
        if name.startswith(what) and name in schema.slider_index:
            offset = 2.0 * sliders[:, schema.slider_index[name]] - 1.0
            # In dark colours a step looks larger than it is, and there is less room for chroma.
            lab = lab + offset[:, None] * np.array(reach) * (0.35 + 0.65 * (lab[:, :1] / 50.0).clip(0, 1))
    lab[:, 0] = lab[:, 0].clip(1.0, 100.0)
    return cv2.cvtColor(lab.astype(np.float32)[:, None], cv2.COLOR_LAB2LRGB)[:, 0].clip(0.002, 1.0)
