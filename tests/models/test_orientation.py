"""A photo comes out upright, whatever else its metadata holds."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from models.images import decode_photo, decode_stored
from models.orientation import turn, turn_point
from tests.models.photo_files import (
    ASCII,
    BYTE,
    FLOAT,
    LONG,
    ORIENTATION,
    RATIONAL,
    SHORT,
    SIGNED_RATIONAL,
    exif,
    portrait,
    saved,
    stored,
)

LOSSLESS = 0.0
LOSSY = 3.0
"""Grey levels, on average, that a good JPEG or AVIF is off."""
SIX = (ORIENTATION, SHORT, 1, struct.pack("<H", 6))
ODD = {
    "sound": (SIX,),
    "text for a resolution": (SIX, (0x011A, ASCII, 3, b"72\0")),
    "a negative resolution": (SIX, (0x011A, SIGNED_RATIONAL, 1, struct.pack("<2i", -72, 1))),
    "minus one by zero": (SIX, (0x011A, SIGNED_RATIONAL, 1, struct.pack("<2i", -1, 0))),
    "a number for the description": (SIX, (0x010E, RATIONAL, 1, struct.pack("<2I", 1, 3))),
    "no number for the copyright": (SIX, (0x8298, FLOAT, 1, struct.pack("<f", float("nan")))),
    "text for the width": (SIX, (0x0100, ASCII, 5, b"4000\0")),
    "an EXIF directory beyond the end": (SIX, (0x8769, LONG, 1, struct.pack("<I", 9_000_000))),
    "an EXIF directory that is this one": (SIX, (0x8769, LONG, 1, struct.pack("<I", 8))),
    "a GPS directory that is text": (SIX, (0x8825, ASCII, 4, b"abc\0")),
    "a name that is cut off": (SIX, (0x010F, ASCII, 90_000, b"abcd")),
    "an unknown type": (SIX, (0x0100, 0x1234, 1, b"1234")),
    "as a byte": ((ORIENTATION, BYTE, 1, b"\6"),),
    "as a long": ((ORIENTATION, LONG, 1, struct.pack("<I", 6)),),
    "as a fraction": ((ORIENTATION, RATIONAL, 1, struct.pack("<2I", 6, 1)),),
    "as a digit": ((ORIENTATION, ASCII, 2, b"6\0"),),
    "twice": ((ORIENTATION, SHORT, 2, struct.pack("<2H", 6, 6)),),
}
NONSENSE = {
    "zero": (SHORT, 1, struct.pack("<H", 0)),
    "nine": (SHORT, 1, struct.pack("<H", 9)),
    "a word": (ASCII, 3, b"up\0"),
    "nothing": (SHORT, 0, b""),
    "one by zero": (RATIONAL, 1, struct.pack("<2I", 1, 0)),
    "a third": (RATIONAL, 1, struct.pack("<2I", 1, 3)),
    "beyond the end": (LONG, 2, struct.pack("<I", 9_000_000)),
    "an unknown type": (0x1234, 1, b"\6\0\0\0"),
}


def off(data: bytes | Path, upright: Image.Image) -> float:
    """Mean difference in grey levels; infinite for another shape."""
    found, truth = decode_photo(data), np.asarray(upright)
    return float(np.abs(found.astype(int) - truth).mean()) if found.shape == truth.shape else np.inf


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_odd_tag_keeps_no_photo_from_being_read_and_turned(name: str, kind: str) -> None:
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    data = saved(stored(portrait(), 6), kind, exif=exif(*ODD[name]), **options)
    assert off(data, portrait()) <= (LOSSY if kind == "JPEG" else LOSSLESS)


def test_an_exif_block_that_is_cut_behind_the_orientation_still_tells_it() -> None:
    block = exif((0x010F, ASCII, 6, b"Phone\0"), SIX, (0x0131, ASCII, 9, b"Software\0"))[:40]
    assert off(saved(stored(portrait(), 6), "PNG", exif=block), portrait()) == LOSSLESS


@pytest.mark.parametrize("name", NONSENSE)
def test_an_orientation_that_means_nothing_leaves_the_photo_as_it_is_stored(name: str) -> None:
    data = saved(portrait(), "PNG", exif=exif((ORIENTATION, *NONSENSE[name])))
    assert off(data, portrait()) == LOSSLESS


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("MPO", {"quality": 95, "save_all": True, "append_images": [Image.new("RGB", (96, 96), "grey")]}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("AVIF", {"quality": 95}),
    ],
    ids=["jpeg", "mpo", "png", "webp", "tiff", "tiff_lzw", "avif"],
)
def test_every_format_is_turned_once(kind: str, options: dict, orientation: int) -> None:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    data = saved(stored(portrait(), orientation), kind, exif=tags, **options)
    assert off(data, portrait()) <= (LOSSY if kind in ("JPEG", "MPO", "AVIF") else LOSSLESS)


def test_a_phones_heic_is_turned_once() -> None:
    """It says so twice: in its container, which the decoder obeys, and in its EXIF."""
    assert off(Path(__file__).with_name("turned.heic"), portrait()) <= 2 * LOSSY


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_xmp_tells_the_orientation_where_exif_does_not(kind: str) -> None:
    text = '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    remarks = PngImagePlugin.PngInfo()
    remarks.add_itxt("XML:com.adobe.xmp", text)
    options = {"PNG": {"pnginfo": remarks}, "WEBP": {"xmp": text.encode(), "lossless": True}}
    data = saved(stored(portrait(), 6), kind, **options.get(kind, {"xmp": text.encode(), "quality": 95}))
    assert off(data, portrait()) <= (LOSSY if kind == "JPEG" else LOSSLESS)


def test_remarks_beside_a_png_do_not_keep_it_from_being_read() -> None:
    remarks = PngImagePlugin.PngInfo()
    remarks.add_text("workflow", "a" * 3_000_000, zip=True)
    data = saved(portrait(), "PNG", pnginfo=remarks, dpi=(72, 72))
    assert off(data, portrait()) == LOSSLESS
    at = data.index(b"pHYs")
    assert off(data[: at + 13] + bytes(4) + data[at + 17 :], portrait()) == LOSSLESS, "a wrong checksum"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_and_points_are_turned_alike(orientation: int) -> None:
    pixels = np.arange(24).reshape(4, 6)
    turned = turn(pixels, orientation)
    for y, x in np.ndindex(pixels.shape):
        column, row = turn_point((x + 0.5, y + 0.5), 4, 6, orientation)
        assert turned[int(row), int(column)] == pixels[y, x]


def test_pixels_as_they_are_stored_come_with_their_orientation() -> None:
    for kind in ("PNG", "TIFF"):
        tags = Image.Exif()
        tags[ORIENTATION] = 8
        pixels, orientation = decode_stored(saved(stored(portrait(), 8), kind, exif=tags))
        assert orientation == 8 and np.array_equal(pixels, np.asarray(stored(portrait(), 8)))
        assert np.array_equal(turn(pixels, orientation), np.asarray(portrait()))
