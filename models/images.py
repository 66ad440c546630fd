"""Photos in and out: bytes to RGB arrays and back.

Every array of this project is RGB, uint8, [H, W, 3]; OpenCV's BGR exists only inside the functions of this file.
"""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

MAX_PIXELS = 64_000_000
"""A larger photo is refused before it is decoded: a small file can declare gigabytes of pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""Pillow decoders that may see a stranger's bytes (JPEG's also reads the MPO that phones write)."""


@cache
def known_formats() -> tuple[str, ...]:
    """FORMATS, and HEIF (called HEIC by phones) where the package pi-heif is installed."""
    try:
        import pi_heif
    except ImportError:
        return FORMATS
    pi_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


class BadImage(ValueError):
    """The bytes are no picture that can be used; the message says why, in words for the photo's owner."""


def decode_photo(source: bytes | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a photo from bytes or a file: RGB uint8 [H, W, 3], turned upright by its EXIF tag, colours brought to sRGB.

    Raises BadImage when the picture is empty, in no known format, damaged, cut short or larger than `max_pixels`.
    """
    data = source if isinstance(source, bytes) else _read(source)
    if not data:
        raise BadImage("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is the stricter one
            with Image.open(io.BytesIO(data), formats=known_formats()) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise BadImage(
                        f"the picture has {width} x {height} pixels; the limit is {max_pixels / 1e6:.0f} megapixels"
                    )
                image.load()
                return np.asarray(_to_srgb(ImageOps.exif_transpose(image)))
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage("not a picture in a known format (JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF)") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"the picture is too large; the limit is {max_pixels / 1e6:.0f} megapixels") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:  # what Pillow's decoders raise on damage
        raise BadImage(f"the picture is damaged or cut short ({error})") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot read {path}: {error.strerror or error}") from error


def _to_srgb(image: Image.Image) -> Image.Image:
    """Any mode and colour profile to sRGB; what is transparent becomes white."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip 16-bit grey instead of scaling it
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        profile = None
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if profile and image.mode in ("RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # a broken profile says nothing about the colours: take them as sRGB
            converted = None
        image = image if converted is None else converted
    return image.convert("RGB")


def decode(data: bytes) -> np.ndarray:
    """Decode a picture that this project wrote (JPEG or PNG column of a table): RGB uint8 [H, W, 3]."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise BadImage("a stored picture cannot be decoded")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def decode_labels(data: bytes) -> np.ndarray:
    """Decode a label map (PNG): uint8 [H, W], the class ids."""
    labels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if labels is None:
        raise BadImage("a stored label map cannot be decoded")
    return labels


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """RGB uint8 [H, W, 3] to JPEG bytes."""
    return _encode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png(image: np.ndarray) -> bytes:
    """RGB uint8 [H, W, 3] or a label map [H, W] to PNG bytes."""
    return _encode(".png", image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [])


def _encode(kind: str, image: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(kind, image, options)
    if not done:
        raise BadImage(f"cannot encode an array of shape {image.shape} as {kind}")
    return data.tobytes()


def shrink(image: np.ndarray, max_side: int) -> tuple[np.ndarray, float]:
    """The picture with its longer side at most `max_side` (area-averaged), and the scale that was applied (<= 1)."""
    scale = min(1.0, max_side / max(image.shape[:2]))
    if scale == 1.0:
        return image, 1.0
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """A square picture at another size, without aliasing."""
    if image.shape[0] == size:
        return image
    smaller = size < image.shape[0]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def grid(images: list[np.ndarray], columns: int, gap: int = 4) -> np.ndarray:
    """A contact sheet: RGB pictures of one size, row by row on white."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
