"""What is believed of an uploaded file: its bytes, and nothing that they say of themselves."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from serving import photos
from serving.problems import ProblemError
from tests.serving.support import OBAMA, astronaut

LIMIT, PIXELS = 20_000_000, 50_000_000


def encoded(form: str, size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "grey").save(file, form)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has that many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def problem(content: bytes, limit: int = LIMIT) -> ProblemError:
    with pytest.raises(ProblemError) as raised:
        photos.inspect(content, limit, PIXELS)
    return raised.value


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (OBAMA.read_bytes(), "image/jpeg"),
        (astronaut(), "image/png"),
        (encoded("WEBP"), "image/webp"),
        (Path(__file__).with_name("astronaut.heic").read_bytes(), "image/heif"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_type_is_read_from_the_bytes(content: bytes, media_type: str) -> None:
    assert photos.inspect(content, LIMIT, PIXELS) == media_type


@pytest.mark.parametrize(
    "content",
    [b"", b"a text", b"\x89PNG\r\n\x1a\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", encoded("GIF")],
    ids=["empty", "text", "signature alone", "svg", "pdf", "gif"],
)
def test_what_is_no_photo_is_refused(content: bytes) -> None:
    assert problem(content).status_code in (415, 422)


def test_more_bytes_than_may_are_refused() -> None:
    refused = problem(OBAMA.read_bytes(), limit=1000)
    assert (refused.status_code, refused.kind) == (413, "too-large")


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_small_file_of_many_pixels_is_refused_undecoded(size: tuple[int, int]) -> None:
    assert problem(bomb(*size)).kind == "too-large"
