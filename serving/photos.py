"""What is believed of an uploaded file before anything decodes it: nothing but its bytes and its size."""

from __future__ import annotations

import io
import warnings

from PIL import Image, UnidentifiedImageError

from models.images import known_formats
from serving import problems

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF")
"""What phones, cameras and browsers make; HEIF is also called HEIC."""


def inspect(content: bytes, max_bytes: int, max_pixels: int) -> str:
    """The media type of a photo, read from its first bytes; the picture itself is not decoded.

    Raises ProblemError for what is no picture of FORMATS, has too many bytes, or declares too many pixels.
    """
    if not content:
        raise problems.not_an_image("the file is empty")
    if len(content) > max_bytes:
        raise problems.too_large(f"the photo has more than {max_bytes / 1e6:g} megabytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is the stricter one
            with Image.open(
                io.BytesIO(content), formats=[form for form in FORMATS if form in known_formats()]
            ) as image:
                (width, height), form = image.size, image.format
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise _refusal(error, max_pixels) from error
    if width * height > max_pixels:
        raise problems.too_large(
            f"the photo has {width} x {height} pixels; the limit is {max_pixels / 1e6:g} megapixels"
        )
    return "image/jpeg" if form == "MPO" else str(Image.MIME[form or ""])


def _refusal(error: Exception, max_pixels: int) -> problems.ProblemError:
    if isinstance(error, Image.DecompressionBombError):
        return problems.too_large(f"the limit is {max_pixels / 1e6:g} megapixels")
    if isinstance(error, UnidentifiedImageError):
        return problems.not_an_image("send a JPEG, PNG, WebP or HEIC file, whatever its name says")
    return problems.bad_photo("the picture is damaged or cut short")
