"""A portrait stored in less usual ways comes out with the tones and colours that a viewer shows."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from models.images import BadImage, decode_photo
from tests.models.photo_files import portrait, profile, saved, tiff

BLACK_IS_ZERO, WHITE_IS_ZERO, RGB = 1, 0, 2
UNSIGNED, SIGNED, FLOATING = 1, 2, 3
SRGB = {"rXYZ": (0.4361, 0.2225, 0.0139), "gXYZ": (0.3851, 0.7169, 0.0971), "bXYZ": (0.1431, 0.0606, 0.7141)}
SWAPPED = profile("RGB ", 2.2, rXYZ=SRGB["gXYZ"], gXYZ=SRGB["rXYZ"], bXYZ=SRGB["bXYZ"])
"""Its red is sRGB's green."""


def grey() -> np.ndarray:
    return np.asarray(portrait().convert("L"))


def in_light() -> np.ndarray:
    """The grey portrait as amounts of light in [0, 1]."""
    tones = grey() / 255.0
    return np.where(tones <= 0.04045, tones / 12.92, ((tones + 0.055) / 1.055) ** 2.4)


def off(data: bytes, truth: np.ndarray) -> float:
    truth = np.repeat(truth[..., None], 3, axis=2) if truth.ndim == 2 else truth
    return float(np.abs(decode_photo(data).astype(float) - truth).mean())


def test_deep_grey_is_scaled_and_not_clipped() -> None:
    values = grey().astype(np.int64)
    files = {
        "16 bits": tiff((values * 257).astype(np.uint16), BLACK_IS_ZERO),
        "16 bits, white is zero": tiff((65535 - values * 257).astype(np.uint16), WHITE_IS_ZERO),
        "12 of 16 bits": tiff((values * 4095 // 255).astype(np.uint16), BLACK_IS_ZERO),
        "10 of 16 bits": tiff((values * 1023 // 255).astype(np.uint16), BLACK_IS_ZERO),
        "8 of 32 bits": tiff(values.astype(np.uint32), BLACK_IS_ZERO),
        "16 of 32 bits": tiff((values * 257).astype(np.int32), BLACK_IS_ZERO, SIGNED),
        "32 bits": tiff((values * 0x01010101).astype(np.uint32), BLACK_IS_ZERO),
        "32 bits, one for the sign": tiff((values * 0x00808080).astype(np.int32), BLACK_IS_ZERO, SIGNED),
        "16 bits around zero": tiff((values * 257 - 32768).astype(np.int16), BLACK_IS_ZERO, SIGNED),
        "floating to 1": tiff((values / 255).astype(np.float32), BLACK_IS_ZERO, FLOATING),
        "floating to 255": tiff(values.astype(np.float32), BLACK_IS_ZERO, FLOATING),
        "floating to 65535": tiff((values * 257).astype(np.float32), BLACK_IS_ZERO, FLOATING),
        "floating around zero": tiff((values / 127.5 - 1).astype(np.float32), BLACK_IS_ZERO, FLOATING),
        "16 bits as PNG": saved(Image.fromarray((values * 257).astype(np.uint16)), "PNG"),
    }
    assert {name: round(off(data, grey())) for name, data in files.items()} == dict.fromkeys(files, 0)


def test_numbers_that_are_none_do_not_move_the_others() -> None:
    values = (grey() / 255).astype(np.float32)
    values[0, :3], values[1, :3] = np.nan, np.inf
    assert off(tiff(values, BLACK_IS_ZERO, FLOATING), grey()) < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_profile_of_a_grey_picture_is_honoured(kind: str) -> None:
    written = Image.fromarray((in_light() ** (1 / 1.8) * 255).round().astype(np.uint8))
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    assert off(saved(written, kind, icc_profile=profile("GRAY", 1.8), **options), grey()) < 1.5
    assert off(saved(written, kind, **options), grey()) > 10, "without it the tones are others"


def test_the_profile_of_deep_grey_is_honoured() -> None:
    light = Image.fromarray((in_light() * 65535).round().astype(np.uint16))
    for kind in ("PNG", "TIFF"):
        assert off(saved(light, kind, icc_profile=profile("GRAY", 1.0)), grey()) < 1.5
    opaque = Image.merge("LA", [Image.fromarray((in_light() ** (1 / 1.8) * 255).round().astype(np.uint8))] * 2)
    opaque.putalpha(255)
    assert off(saved(opaque, "PNG", icc_profile=profile("GRAY", 1.8)), grey()) < 1.5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_the_profile_of_colours_is_honoured(mode: str, kind: str) -> None:
    swapped = Image.fromarray(np.asarray(portrait())[..., [1, 0, 2]].copy())
    image = swapped.quantize(256) if mode == "P" else swapped.convert(mode)
    if kind == "WEBP" and mode == "P":
        pytest.skip("WebP has no palettes")
    data = saved(image, kind, icc_profile=SWAPPED, **({"lossless": True} if kind == "WEBP" else {}))
    assert off(data, np.asarray(portrait())) < 4


@pytest.mark.parametrize("wrong", [b"no profile" * 30, profile("GRAY", 1.0)[:150], profile("GRAY", 1.0)])
def test_a_profile_that_says_nothing_of_the_colours_is_passed_over(wrong: bytes) -> None:
    assert off(saved(portrait(), "PNG", icc_profile=wrong), np.asarray(portrait())) == 0


def test_what_is_transparent_is_white() -> None:
    truth, clear = np.asarray(portrait()).copy(), np.full(portrait().size[::-1], 255, np.uint8)
    truth[:30], clear[:30] = 255, 0
    colours, grey_alone = portrait().convert("RGBA"), portrait().convert("LA")
    for image in (colours, grey_alone):
        image.putalpha(Image.fromarray(clear))
    marked = np.asarray(portrait()).copy()
    marked[:30] = (1, 2, 3)
    deep = np.where(clear == 0, 7, grey().astype(np.uint16) * 257 | 1).astype(np.uint16)
    grey_truth = np.where(clear == 0, 255, grey())
    assert off(saved(colours, "PNG"), truth) == off(saved(colours, "TIFF"), truth) == 0
    assert off(saved(colours, "WEBP", lossless=True), truth) == 0
    assert off(saved(colours.quantize(256), "PNG"), truth) < 5
    assert off(saved(grey_alone, "PNG"), grey_truth) == 0
    assert off(saved(Image.fromarray(marked), "PNG", transparency=(1, 2, 3)), truth) == 0
    assert off(saved(Image.fromarray(deep), "PNG", transparency=7), grey_truth) < 1


def test_half_transparent_colours_are_mixed_with_white_once() -> None:
    colours = portrait().convert("RGBA")
    colours.putalpha(128)
    mixed = (np.asarray(portrait()) * 128.0 + 255 * 127) / 255
    multiplied = np.asarray(colours.convert("RGBa"))
    assert off(saved(colours, "PNG"), mixed) < 1
    assert off(tiff(multiplied, RGB, extra=1), mixed) < 1


def test_other_ways_to_write_colours_are_read() -> None:
    colours = portrait()
    lab = ImageCms.profileToProfile(
        colours, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    files = {
        "Lab": saved(lab, "TIFF"),
        "YCbCr": saved(colours.convert("YCbCr"), "TIFF"),
        "CMYK JPEG": saved(colours.convert("CMYK"), "JPEG", quality=95),
        "CMYK TIFF": saved(colours.convert("CMYK"), "TIFF"),
        "16 bits": tiff(np.asarray(colours).astype(np.uint16) * 257, RGB),
        "palette": saved(colours.quantize(256), "BMP"),
    }
    assert {name: off(data, np.asarray(colours)) < 4 for name, data in files.items()} == dict.fromkeys(files, True)


def test_pixels_of_a_kind_that_is_not_read_are_refused_with_the_remedy() -> None:
    with pytest.raises(BadImage, match="save it as PNG"):
        decode_photo(tiff((np.asarray(portrait()) / 255).astype(np.float32), RGB, FLOATING))
