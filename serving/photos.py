"""What is believed of an uploaded file before anything decodes it: nothing but its bytes and its size."""

from __future__ import annotations

from models import images
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
        return images.media_type(content, FORMATS, max_pixels)
    except images.BadImage as error:
        raise _refusal(error) from error


def _refusal(error: images.BadImage) -> problems.ProblemError:
    if error.kind == "too_large":
        return problems.too_large(str(error))
    if error.kind == "unknown":
        return problems.not_an_image("send a JPEG, PNG, WebP or HEIC file, whatever its name says")
    return problems.bad_photo("the picture is damaged or cut short")
