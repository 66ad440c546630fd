"""Photos in and out: bytes to RGB arrays and back.

Every array of this project is RGB, uint8, [H, W, 3]; OpenCV's BGR exists only inside the functions of this file.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from . import orientation, png, tones
from .orientation import turn

MAX_PIXELS = 64_000_000
"""A larger photo is refused before it is decoded: a small file can declare gigabytes of pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""Pillow decoders that may see a stranger's bytes (JPEG's also reads the MPO that phones write)."""

HEIF = "HEIF"
EVERY = (*FORMATS, HEIF)
TIFF_BEGINS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

BLANK = 6.0
"""A frame with less contrast, in grey levels, shows nothing."""
FRAMES = 64
"""So many frames are looked at, fewer of large pictures, where the first one is blank."""


@cache
def known_formats() -> tuple[str, ...]:
    """FORMATS, and HEIF (called HEIC by phones) where the package pi-heif is installed."""
    try:
        import pi_heif
    except ImportError:
        return FORMATS
    pi_heif.register_heif_opener()
    return EVERY


class BadImage(ValueError):
    """The bytes are no picture that can be used; the message says why, in words for the photo's owner."""

    def __init__(self, message: str, kind: Literal["damaged", "unknown", "too_large"] = "damaged") -> None:
        super().__init__(message)
        self.kind = kind


def decode_photo(source: bytes | Path, max_pixels: int = MAX_PIXELS) -> NDArray:
    """Read a photo from bytes or a file: RGB uint8 [H, W, 3], turned upright by its orientation, colours brought to
    sRGB. Of an animated picture, the first frame that shows something.

    Raises BadImage when the picture is empty, in no known format, damaged, cut short or larger than `max_pixels`.
    """
    return turn(*decode_stored(source, max_pixels))


def decode_reduced(source: bytes | Path, side: int, max_pixels: int = MAX_PIXELS) -> tuple[NDArray, float]:
    """As `decode_photo`; but a large JPEG is halved while it is decoded, as often as both of its sides keep `side`
    pixels, which takes a quarter of the time. The second is the scale that it has then (<= 1).
    """
    with _opened(source, max_pixels) as image:
        longer = max(image.size)
        image.draft(None, (side, side))
        picture = turn(*_first_that_shows(image, max_pixels))
        return picture, max(picture.shape[:2]) / longer


def decode_stored(source: bytes | Path, max_pixels: int = MAX_PIXELS) -> tuple[NDArray, int]:
    """The same, not turned, as those see it who label the pixels of a file; and its orientation, for `turn`."""
    with _opened(source, max_pixels) as image:
        return _first_that_shows(image, max_pixels)


def thumbnail(source: bytes | Path, side: int, max_pixels: int = MAX_PIXELS) -> NDArray:
    """A photo made smaller, its longer side at most `side`; of a large JPEG only what that needs is decoded."""
    return shrink(decode_reduced(source, 2 * side, max_pixels)[0], side)[0]


def decode_map(source: bytes | Path, max_pixels: int = MAX_PIXELS) -> NDArray:
    """A picture of numbers, one for each pixel as it is stored (a label map, a mask): uint8 [H, W]. Of a palette they
    are the places in it, whatever its colours. Raises BadImage, also for a picture of colours or of larger numbers.
    """
    with _opened(source, max_pixels) as image:
        orientation.load(image)
        values = np.asarray(image)
        if image.mode in ("LA", "RGB", "RGBA"):
            colours = values[..., : 1 if image.mode == "LA" else 3]
            if (colours != colours[..., :1]).any():
                raise BadImage("it has colours where each pixel should be one number")
            values = colours[..., 0]
        if values.ndim != 2 or values.min(initial=0) < 0 or values.max(initial=0) > 255:
            raise BadImage("its pixels should be numbers from 0 to 255")
        return values.astype(np.uint8)


def media_type(source: bytes, formats: Sequence[str], max_pixels: int = MAX_PIXELS) -> str:
    """What a photo is by its first bytes; the picture is not decoded. Raises BadImage, also for other `formats`."""
    with _opened(source, max_pixels, formats) as image:
        # MPO: a JPEG with more pictures behind it, as phones write it
        return "image/jpeg" if image.format == "MPO" else str(Image.MIME[image.format or ""])


@contextmanager
def _opened(source: bytes | Path, max_pixels: int, formats: Sequence[str] = EVERY) -> Iterator[ImageFile.ImageFile]:
    """A stranger's picture, its header read. Whatever a decoder raises while it is open is a BadImage: decoders meet
    damage that nobody foresaw, and one photo must not stop the others.
    """
    try:
        with _file(source) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about metadata; its limit of pixels is above ours
            with Image.open(file, formats=[form for form in known_formats() if form in formats]) as image:
                _require_size(image, max_pixels)
                yield image
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(_why_unknown(source), "unknown") from error
    except Image.DecompressionBombError as error:
        raise BadImage(
            f"the picture is too large; the limit is {max_pixels / 1e6:g} megapixels", "too_large"
        ) from error
    except Exception as error:
        raise BadImage(f"the picture is damaged or cut short ({error or type(error).__name__})") from error


@contextmanager
def _file(source: bytes | Path) -> Iterator[BinaryIO]:
    """The bytes of a photo. Raises BadImage for a file that cannot be read or is empty."""
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    except OSError as error:
        raise BadImage(f"cannot read {source}: {error.strerror or error}") from error
    with file:
        begins = file.read(len(png.BEGINS))
        file.seek(0)
        if not begins:
            raise BadImage("the file is empty")
        yield io.BytesIO(png.essential(file.read())) if begins == png.BEGINS else file


def _why_unknown(source: bytes | Path) -> str:
    with _file(source) as file:
        begins = file.read(4)
    if begins in TIFF_BEGINS:
        return "a TIFF with pixels of a kind that is not read: save it as PNG, or with 8 bits a channel"
    return "not a picture in a known format (JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF)"


def _require_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        limit = f"{max_pixels / 1e6:g} megapixels"
        raise BadImage(f"the picture has {width} x {height} pixels; the limit is {limit}", "too_large")


def _frame(image: ImageFile.ImageFile, max_pixels: int) -> tuple[NDArray, int]:
    """RGB [H, W, 3] of the frame where the file stands, as it is stored, and its orientation."""
    _require_size(image, max_pixels)
    stands = orientation.load(image)
    return tones.to_srgb(image), stands


def _first_that_shows(image: ImageFile.ImageFile, max_pixels: int) -> tuple[NDArray, int]:
    """The first frame; where that is blank, because the picture fades in or is built up, the first of those after it
    that has half of the contrast of the best.
    """
    first = _frame(image, max_pixels)
    if not getattr(image, "is_animated", False) or (contrast := _contrast(first[0])) >= BLANK:
        return first
    start, contrasts = image.tell(), {image.tell(): contrast}
    for number in range(min(FRAMES, 1 + MAX_PIXELS // first[0][..., 0].size)):
        if number == start:
            continue
        try:
            image.seek(number)
            contrasts[number] = _contrast(_frame(image, max_pixels)[0])
        except Exception:  # the end, or damage: the frames before it are what there is
            break
    chosen = next(number for number in contrasts if 2 * contrasts[number] >= max(contrasts.values()))
    if chosen == start:
        return first
    image.seek(chosen)
    return _frame(image, max_pixels)


def _contrast(pixels: NDArray) -> float:
    """Standard deviation of the brightness, grey levels, of some hundred rows and columns."""
    few = pixels[:: max(1, len(pixels) // 200), :: max(1, pixels.shape[1] // 200)]
    return float(few.mean(axis=2).std())


def decode(data: bytes) -> NDArray:
    """Decode a picture that this project wrote (JPEG or PNG column of a table): RGB uint8 [H, W, 3]; or BadImage."""
    return _own(data, cv2.IMREAD_COLOR_RGB, "a stored picture")


def decode_labels(data: bytes, name: str = "a stored label map") -> NDArray:
    """Decode a label map (PNG): uint8 [H, W], the class ids of the pixels as they are stored. Raises BadImage."""
    return _own(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION, name)


def _own(data: bytes, flags: int, name: str) -> NDArray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise BadImage(f"{name} cannot be decoded ({error.err})") from error
    if image is None:
        raise BadImage(f"{name} cannot be decoded")
    return image.astype(np.uint8, copy=False)


def encode_jpeg(image: NDArray, quality: int = 95) -> bytes:
    """RGB uint8 [H, W, 3] to JPEG bytes."""
    return _encode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png(image: NDArray) -> bytes:
    """RGB uint8 [H, W, 3] or a label map [H, W] to PNG bytes."""
    return _encode(".png", image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [])


def encode_bmp(image: NDArray) -> bytes:
    """RGB uint8 [H, W, 3] to BMP bytes: large, without loss and at once."""
    return _encode(".bmp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [])


def _encode(kind: str, image: NDArray, options: list[int]) -> bytes:
    done, data = cv2.imencode(kind, image, options)
    if not done:
        raise BadImage(f"cannot encode an array of shape {image.shape} as {kind}")
    return data.tobytes()


def shrink(image: NDArray, max_side: int) -> tuple[NDArray, float]:
    """The picture with its longer side at most `max_side` (area-averaged), and the scale that was applied (<= 1)."""
    scale = min(1.0, max_side / max(image.shape[:2]))
    if scale == 1.0:
        return image, 1.0
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def middle(image: NDArray, size: int) -> NDArray:
    """The square in the middle of a picture, at another size."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return resize(image[top : top + side, left : left + side], size)


def resize(image: NDArray, size: int) -> NDArray:
    """A square picture at another size, without aliasing."""
    if image.shape[0] == size:
        return image
    smaller = size < image.shape[0]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def grid(images: list[NDArray], columns: int, gap: int = 4) -> NDArray:
    """A contact sheet: RGB pictures of one size, row by row on white."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
