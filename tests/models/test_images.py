import ast
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import images
from models.images import BadImage, decode_photo
from tests.models.support import PHOTOS, ROOT


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


@pytest.mark.parametrize(("width", "height"), [(9_000, 8_000), (14_000, 14_000)])
def test_every_way_to_open_a_photo_has_the_same_limit(width: int, height: int) -> None:
    for open_it in (decode_photo, images.decode_map, lambda data: images.thumbnail(data, 96)):
        with pytest.raises(BadImage, match="megapixels"):
            open_it(_png_header(width, height))


def test_whatever_a_decoder_raises_is_a_bad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image) -> int:
        raise RecursionError("nobody foresaw this")

    monkeypatch.setattr(images.orientation, "load", fail)
    with pytest.raises(BadImage, match="nobody foresaw this"):
        decode_photo(_bytes(_left_red(), "PNG"))


def test_a_thumbnail_is_the_photo_made_smaller_and_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    small = images.thumbnail(_bytes(_left_red().resize((1200, 800)), "JPEG", exif=exif, quality=95), 90)
    assert small.shape == (90, 60, 3)
    assert small[10, 30, 0] > 200 and small[80, 30, 2] > 200


def test_a_large_jpeg_is_decoded_by_halves_and_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _bytes(_left_red().resize((1203, 807)), "JPEG", exif=exif, quality=95)
    whole = decode_photo(data)
    for side, shape in ((90, (151, 101, 3)), (400, (602, 404, 3)), (500, whole.shape)):
        picture, scale = images.decode_reduced(data, side)
        assert picture.shape == shape and scale == shape[0] / 1203
        assert picture[10, 50, 0] > 200 and picture[-10, 50, 2] > 200
    assert images.decode_reduced(_bytes(_left_red().resize((1203, 807)), "PNG"), 90)[1] == 1
    with pytest.raises(BadImage, match="the limit is"):
        images.decode_reduced(data, 90, max_pixels=900_000)


def _animated(frames: list[Image.Image], kind: str) -> bytes:
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    first, *others = frames
    return _bytes(first, kind, save_all=True, append_images=others, duration=100, **options)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_a_picture_that_begins_blank_shows_its_first_frame_that_is_not(kind: str) -> None:
    portrait = Image.fromarray(decode_photo(PHOTOS[0])).resize((80, 100))
    faded = [Image.blend(Image.new("RGB", portrait.size), portrait, share) for share in (0, 0.05, 0.1, 0.9, 1)]
    shown = decode_photo(_animated([*faded, portrait.transpose(Image.Transpose.ROTATE_180)], kind))
    assert np.abs(shown - np.asarray(faded[3]).astype(int)).mean() < 8, "more than half of the best one's contrast"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_a_picture_that_begins_transparent_shows_its_first_frame_that_is_not(kind: str) -> None:
    portrait = Image.fromarray(decode_photo(PHOTOS[0])).resize((80, 100))
    frames = [Image.new("RGBA", portrait.size, (0, 0, 0, 0)), portrait.convert("RGBA")]
    assert np.abs(decode_photo(_animated(frames, kind)) - np.asarray(portrait).astype(int)).mean() < 8


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animated_picture_is_its_first_frame_where_that_shows_something(kind: str) -> None:
    upright = Image.fromarray(decode_photo(PHOTOS[0])).resize((80, 100))
    shown = decode_photo(_animated([upright, upright.transpose(Image.Transpose.ROTATE_180)], kind))
    assert np.abs(shown - np.asarray(upright).astype(int)).mean() < 8


def test_only_so_many_blank_frames_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, load = [], images.orientation.load
    monkeypatch.setattr(images.orientation, "load", lambda image: looked_at.append(image.tell()) or load(image))
    frames = [Image.new("RGB", (8, 8), (number % 3, 0, 0)) for number in range(3 * images.FRAMES)]
    assert decode_photo(_animated(frames, "GIF")).max() <= 2
    assert len(looked_at) == images.FRAMES


def test_frames_behind_a_blank_one_that_are_damaged_cost_only_themselves() -> None:
    portrait = Image.fromarray(decode_photo(PHOTOS[0])).resize((80, 100))
    data = _animated([Image.new("RGB", portrait.size), portrait, portrait.rotate(5)], "GIF")
    shown = decode_photo(data[:-2000])
    assert np.abs(shown - np.asarray(portrait).astype(int)).mean() < 8


def test_a_map_is_numbers_as_they_are_stored() -> None:
    numbers = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = Image.fromarray(numbers).convert("P")
    palette.putpalette([255, 0, 0] * 256)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [
        _bytes(Image.fromarray(numbers), "PNG", exif=exif),
        _bytes(palette, "PNG"),
        _bytes(Image.fromarray(numbers.astype(np.uint16)), "PNG"),
        _bytes(Image.fromarray(numbers).convert("RGB"), "PNG"),
        _bytes(Image.fromarray(numbers).convert("LA"), "PNG"),
    ]
    assert all(np.array_equal(images.decode_map(data), numbers) for data in files)
    with pytest.raises(BadImage, match="colours"):
        images.decode_map(_bytes(_left_red(), "PNG"))
    with pytest.raises(BadImage, match="from 0 to 255"):
        images.decode_map(_bytes(Image.fromarray(numbers.astype(np.uint16) * 100), "PNG"))


OPENERS = {"open", "imread", "imdecode", "imdecodemulti", "imreadmulti", "VideoCapture", "exif_transpose"}
LIBRARIES = {"Image", "ImageOps", "cv2", "iio", "imageio", "plt", "skimage", "tifffile"}
OWN = {
    "engine/custom_engine.py": "what a character's own renderer drew a moment ago",
    "engine/head.py": "data/embedded",
    "engine/paint.py": "data/embedded",
    "engine/scenes.py": "data/embedded",
    "engine/skins.py": "data/embedded",
    "engine/textures.py": "data/embedded",
    "models/images.py": "the one way to open what strangers made",
}
"""The only files that open pictures, and whose. What is in data/embedded is checked against a manifest."""


def _opens_pictures(path: Path) -> bool:
    """Whether a file calls one of OPENERS of a library that reads pictures."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    named = (call for call in calls if isinstance(call, ast.Attribute) and call.attr in OPENERS)
    return any(isinstance(call.value, ast.Name) and call.value.id in LIBRARIES for call in named)


@pytest.mark.slow
def test_there_is_one_way_to_open_strangers_pictures() -> None:
    folders = ("benchmarks", "engine", "examples", "models", "orchestration", "serving", "stages")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts]
    assert len(files) > 200
    assert {path.relative_to(ROOT).as_posix() for path in files if _opens_pictures(path)} == set(OWN)


def test_encoding_keeps_colours_and_labels() -> None:
    picture = np.asarray(_left_red())
    assert np.array_equal(images.decode(images.encode_png(picture)), picture)
    assert np.abs(images.decode(images.encode_jpeg(picture))[20, 5].astype(int) - picture[20, 5]).max() < 8
    labels = np.arange(11, dtype=np.uint8).repeat(3)[None].repeat(5, 0)
    assert np.array_equal(images.decode_labels(images.encode_png(labels)), labels)
