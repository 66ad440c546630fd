"""From any kind of pixels that Pillow opens to sRGB: RGB uint8 [H, W, 3].

Colour profiles are honoured, what is transparent becomes white. Deep grey (16 or 32 bits, floating) is scaled, never
clipped. Which number is white is written nowhere in most of these files, so the brightest pixel tells:

- whole numbers: the fewest of 8, 10, 12, 14, 16, 24 or 32 bits that hold it (cameras and scanners write 12 bits into
  16), or 15 or 31 where one more is for the sign;
- floating: 1.0; where it is beyond 1.5, the same as for whole numbers;
- where there are numbers below zero: black is as far below it as white is above.

Numbers are tones as a screen shows them, not amounts of light, unless a profile says otherwise.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin

BITS, SIGNED_BITS = (8, 10, 12, 14, 16, 24, 32), (8, 10, 12, 14, 15, 16, 24, 31)
BEYOND = 1.5
"""Floating pictures whose white is 1.0 shoot over it where they were sharpened or made smaller."""
TOLERANCE = 0.05
WHITE_IS_ZERO = 0
PHOTOMETRIC, SAMPLE_FORMAT, UNSIGNED = 262, 339, 1
TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
INTENT = ImageCms.Intent.PERCEPTUAL


def to_srgb(image: Image.Image) -> NDArray:
    """The pixels of a loaded picture."""
    if image.mode.startswith("I") or image.mode == "F":
        return _shown_deep(image)
    shown = _on_white(image)
    profile = _profile(image.info.get("icc_profile"), shown.mode)
    if profile is None or (_is_grey(profile) and not _is_grey_picture(shown)):
        return np.asarray(shown.convert("RGB"))
    if shown.mode != "CMYK":
        # A grey picture may have the profile of the colour picture that it was, and WebP has no grey pixels.
        shown = shown.convert("L" if _is_grey(profile) else "RGB")
    return np.asarray(_converted(shown, profile))


def _on_white(image: Image.Image) -> Image.Image:
    """The picture as L, RGB or CMYK, or a mode that Pillow converts to RGB rightly; what is transparent is white."""
    if image.mode in ("1", "L") and "transparency" in image.info:
        image = image.convert("L" if image.mode == "1" else "LA")
    if image.mode in TRANSPARENT or "transparency" in image.info:
        grey = image.mode in ("LA", "La")
        if image.mode in ("La", "RGBa"):  # colours that were multiplied by their opacity
            image = image.convert(image.mode.upper())
        opaque = image.convert("LA" if grey else "RGBA")
        colours = opaque.convert("L" if grey else "RGB")
        return Image.composite(colours, Image.new(colours.mode, colours.size, "white"), opaque.getchannel("A"))
    kept = image.mode in ("L", "RGB", "CMYK", "LAB", "YCbCr", "HSV")
    return image if kept else image.convert("L" if image.mode == "1" else "RGB")


def _profile(data: object, mode: str) -> ImageCms.ImageCmsProfile | None:
    """The colour profile of a picture, if it has one that is readable and of pictures like it. One that is not says
    nothing about the colours: they are taken as sRGB.
    """
    if not isinstance(data, bytes):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = _space(profile)
        fits = {"GRAY": ("L", "RGB"), "RGB": ("L", "RGB", "YCbCr"), "CMYK": ("CMYK",)}.get(space, ())
        if mode in fits:
            _converted(Image.new({"GRAY": "L"}.get(space, space), (1, 1)), profile)
            return profile
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return None


def _is_grey(profile: ImageCms.ImageCmsProfile) -> bool:
    return _space(profile) == "GRAY"


def _space(profile: ImageCms.ImageCmsProfile) -> str:
    described: Any = profile.profile  # of a class that Pillow gives no name
    return described.xcolor_space.strip()


def _is_grey_picture(image: Image.Image) -> bool:
    if image.mode != "RGB":
        return image.mode == "L"
    pixels = np.asarray(image)
    return bool((pixels[..., :1] == pixels[..., 1:]).all())


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), INTENT, outputMode="RGB")
    assert converted is not None  # in place only when asked
    return converted


def _shown_deep(image: Image.Image) -> NDArray:
    """Grey with more than 8 bits."""
    values = _values(image)
    tones = _scaled(values)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        tones = 255 - tones
    profile = _profile(image.info.get("icc_profile"), "L")
    if profile is None:
        shown = np.repeat((tones + 0.5).astype(np.uint8)[..., None], 3, axis=2)
    else:
        shown = _through(tones, profile)
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # one grey of a PNG means transparent
        shown[values == clear] = 255
    return shown


def _values(image: Image.Image) -> NDArray:
    """[H, W] of the numbers as they are stored."""
    values = np.asarray(image)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if image.mode == "I" and tags.get(SAMPLE_FORMAT, (UNSIGNED,)) in (UNSIGNED, (UNSIGNED,)):
        return values.view(np.uint32)  # Pillow has no unsigned mode of 32 bits
    return values


def _scaled(values: NDArray) -> NDArray:
    """Numbers of any range as tones from 0 to 255, float32."""
    kind = values.dtype.kind
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        known = values[np.isfinite(values)]
        values = np.nan_to_num(values, nan=0.0, posinf=known.max(initial=0.0), neginf=known.min(initial=0.0))
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    white = _white(max(-low, high), kind)
    black = -white if low < -TOLERANCE * white else 0.0
    return ((values - black) * (255 / (white - black))).clip(0, 255)


def _white(brightest: float, kind: str) -> float:
    """The number that means white, by numpy's kind of number: f, i or u."""
    if kind == "f" and brightest <= BEYOND:
        return 1.0
    held = brightest / (1 + TOLERANCE) if kind == "f" else brightest
    limits = (2.0**bits - 1 for bits in (SIGNED_BITS if kind == "i" else BITS))
    return next((limit for limit in limits if held <= limit), brightest)


def _through(tones: NDArray, profile: ImageCms.ImageCmsProfile) -> NDArray:
    """Grey tones [H, W] of 0 to 255 through a colour profile, which Pillow knows for whole numbers only."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    ramp = ramp if _is_grey(profile) else ramp.convert("RGB")
    curve = np.asarray(_converted(ramp, profile))[0].astype(np.float32)
    channels = [np.interp(tones, np.arange(256), curve[:, channel]) for channel in range(3)]
    return (np.stack(channels, axis=-1) + 0.5).astype(np.uint8)
