"""Which way up a photo is: the orientation that a camera wrote beside its pixels, and turning by it.

Nothing else of the metadata is read: it decides over no pixel, and phones, messengers and editors leave all kinds of
damage in it. An orientation is a number from 1 to 8 as in EXIF's tag 0x0112; 1 is upright.
"""

from __future__ import annotations

import re
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

TAG = 0x0112
UPRIGHT = 1
ACROSS = (5, 6, 7, 8)
"""These exchange width and height."""
TEXT = 2
NUMBERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}
"""EXIF's types of whole numbers. The standard wants 3; some programs write another."""
RATIONALS = {5: "LL", 10: "ll"}
XMP = re.compile(r"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])\s*[\"'<]")
SUB_DIRECTORIES = (0x8769, 0x8825, 0xA005)  # EXIF, GPS, interoperability

# How an orientation's pixels become upright: exchange rows and columns first, then reverse rows, then columns.
_STEPS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def load(image: Image.Image) -> int:
    """Load the pixels of an opened picture's frame as they are stored; gives their orientation."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        stored = _as_number(image.tag_v2.get(TAG))
        _keep_as_stored(image)
        image.load()
        return stored
    image.load()  # first: a PNG may have its EXIF behind the pixels
    if image.format == "HEIF":
        return UPRIGHT  # the decoder has turned it, by the container's own word
    return _of_info(image.info)


def turn(pixels: NDArray, orientation: int) -> NDArray:
    """Stored pixels [H, W, ...] upright: [H, W, ...], or [W, H, ...] for 5 to 8."""
    exchange, rows, columns = _STEPS[orientation]
    turned = pixels.swapaxes(0, 1) if exchange else pixels
    return np.ascontiguousarray(turned[:: -1 if rows else 1, :: -1 if columns else 1])


def turn_point(point: tuple[float, float], height: int, width: int, orientation: int) -> tuple[float, float]:
    """Where a point (x, y) of the stored picture [height, width] lies in the upright one."""
    exchange, rows, columns = _STEPS[orientation]
    x, y = reversed(point) if exchange else point
    height, width = (width, height) if exchange else (height, width)
    return (width - x if columns else x), (height - y if rows else y)


def _keep_as_stored(image: TiffImagePlugin.TiffImageFile) -> None:
    """Pillow turns a TIFF while it loads it, and reads directories that are not needed."""
    exif = image.getexif()
    for tag in (TAG, *SUB_DIRECTORIES):
        if tag in exif:
            del exif[tag]


def _of_info(info: dict) -> int:
    block = info.get("exif")
    if block is None and isinstance(text := info.get("Raw profile type exif"), str):
        block = _from_hex(text)
    found = _of_exif(block) if isinstance(block, bytes) else None
    return _of_xmp(info) if found is None else found


def _from_hex(text: str) -> bytes:
    """What ImageMagick writes into a PNG: a name, a length and lines of hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""


def _of_exif(block: bytes) -> int | None:
    """The orientation in an EXIF block; None where it has none, or is cut before it.

    Pillow's own reader gives up at the first tag whose value lies outside the block.
    """
    block = re.sub(rb"^(Exif\0\0)+", b"", block)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}L", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack_from(f"{order}H", block, at)[0] == TAG:
                return _as_number(_value(block, at, order))
    except struct.error:
        return None
    return None


def _value(block: bytes, at: int, order: str) -> object:
    """The first value of the entry at `at`, if it has a type that can say a number."""
    kind, count = struct.unpack_from(f"{order}HL", block, at + 2)
    if kind == TEXT:
        return block[at + 8 : at + 12].decode("latin-1")
    code = order + (NUMBERS.get(kind) or RATIONALS.get(kind) or "")
    where = at + 8
    if struct.calcsize(code) * count > 4:
        (where,) = struct.unpack_from(f"{order}L", block, where)
    numbers = struct.unpack_from(code, block, where)
    if kind in RATIONALS:
        return numbers[0] / numbers[1] if numbers[1] else None
    return numbers[0] if numbers else None


def _of_xmp(info: dict) -> int:
    text = info.get("XML:com.adobe.xmp") or info.get("xmp") or ""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    found = XMP.search(text) if isinstance(text, str) else None
    return int(found[1]) if found else UPRIGHT


def _as_number(value: object) -> int:
    """1 to 8; whatever else a tag says means nothing, and the picture is taken as it is stored."""
    value = value[0] if isinstance(value, tuple) and value else value
    if isinstance(value, str):
        value = value.strip(" \0")
        value = int(value) if value.isascii() and value.isdigit() else None
    return next((number for number in _STEPS if value == number), UPRIGHT)
