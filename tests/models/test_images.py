import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from models import images
from models.images import BadImage, decode_photo
from tests.models.support import PHOTOS


def _bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _left_red() -> Image.Image:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30, 0] = 255
    pixels[:, 30:, 2] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_formats_decode_to_rgb(kind: str) -> None:
    image = decode_photo(_bytes(_left_red(), kind))
    assert image.shape == (40, 60, 3) and image.dtype == np.uint8
    assert image[20, 10, 0] > 200 and image[20, 10, 2] < 60, "red comes first"


def test_exif_rotation_is_honoured() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to see it upright
    image = decode_photo(_bytes(_left_red(), "JPEG", exif=exif))
    assert image.shape == (60, 40, 3)
    assert image[10, 20, 0] > 200 and image[50, 20, 2] > 200, "what was left is now above"


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "I;16", "1"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = Image.fromarray(np.full((20, 20), 40000, np.uint16)) if mode == "I;16" else Image.new(mode, (20, 20))
    image = decode_photo(_bytes(source, "TIFF" if mode == "CMYK" else "PNG"))
    assert image.shape == (20, 20, 3)
    if mode == "I;16":
        assert abs(int(image[0, 0, 0]) - 156) <= 1
    if mode == "RGBA":
        assert (image == 255).all(), "what is transparent is white"


def _png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\4IDAT"
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"just some words, no picture", "known format"),
        (PHOTOS[0].read_bytes()[:5000], "cut short"),
        (_bytes(_left_red(), "PNG")[:60], "cut short"),
        (_png_header(10_000, 10_000), "megapixels"),
        (_png_header(60_000, 60_000), "megapixels"),
        (b"\xff\xd8\xff\xe0" + bytes(200), "known format|cut short"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "known format"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(BadImage, match=words):
        decode_photo(data)


def test_a_missing_file_is_a_bad_image(tmp_path) -> None:
    with pytest.raises(BadImage, match="cannot read"):
        decode_photo(tmp_path / "none.jpg")


def test_encoding_keeps_colours_and_labels() -> None:
    picture = np.asarray(_left_red())
    assert np.array_equal(images.decode(images.encode_png(picture)), picture)
    assert np.abs(images.decode(images.encode_jpeg(picture))[20, 5].astype(int) - picture[20, 5]).max() < 8
    labels = np.arange(11, dtype=np.uint8).repeat(3)[None].repeat(5, 0)
    assert np.array_equal(images.decode_labels(images.encode_png(labels)), labels)
