"""Photo files as few libraries write them: EXIF blocks entry by entry, TIFFs sample by sample, colour profiles."""

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

from models.images import decode_photo
from tests.models.support import PHOTOS

BYTE, ASCII, SHORT, LONG, RATIONAL, SIGNED_RATIONAL, FLOAT = 1, 2, 3, 4, 5, 10, 11
ORIENTATION = 0x0112
FROM_UPRIGHT = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera stores an upright scene under each orientation."""


def portrait(height: int = 120) -> Image.Image:
    """One of the real portraits, small and not square."""
    photo = Image.fromarray(decode_photo(PHOTOS[-1]))
    return photo.resize((height * photo.width // photo.height // 2 * 2, height))


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    method = FROM_UPRIGHT[orientation]
    return upright if method is None else upright.transpose(method)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def directory(entries: list[tuple[int, int, int, bytes]], start: int) -> bytes:
    """A little-endian IFD at offset `start`: entries of tag, type, count and value."""
    head, data = struct.pack("<H", len(entries)), b""
    after = start + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in sorted(entries):
        if len(value) > 4:
            value, data = struct.pack("<I", after + len(data)), data + value + b"\0" * (len(value) % 2)
        head += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return head + b"\0\0\0\0" + data


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0" + directory(list(entries), 8)


def tiff(samples: np.ndarray, photometric: int, kind: int = 1, extra: int | None = None) -> bytes:
    """An uncompressed little-endian TIFF of samples [H, W] or [H, W, C]. kind: 1 unsigned, 2 signed, 3 floating."""
    height, width = samples.shape[:2]
    channels, bits, data = (
        samples[0, 0].size,
        8 * samples.dtype.itemsize,
        samples.astype(samples.dtype.newbyteorder("<")),
    )
    short = lambda *values: struct.pack(f"<{len(values)}H", *values)  # noqa: E731
    entries = [
        (256, SHORT, 1, short(width)),
        (257, SHORT, 1, short(height)),
        (258, SHORT, channels, short(*[bits] * channels)),
        (259, SHORT, 1, short(1)),
        (262, SHORT, 1, short(photometric)),
        (277, SHORT, 1, short(channels)),
        (278, SHORT, 1, short(height)),
        (279, LONG, 1, struct.pack("<I", data.nbytes)),
        (339, SHORT, channels, short(*[kind] * channels)),
        *([] if extra is None else [(338, SHORT, 1, short(extra))]),
    ]
    size = len(directory([*entries, (273, LONG, 1, bytes(4))], 8))
    entries.append((273, LONG, 1, struct.pack("<I", 8 + size)))
    return b"II*\0\x08\0\0\0" + directory(entries, 8) + data.tobytes()


def profile(space: str, gamma: float, **colours: tuple[float, float, float]) -> bytes:
    """A small ICC profile of one gamma. `colours`: rXYZ, gXYZ and bXYZ of an RGB one."""
    xyz = lambda *of: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in of))  # noqa: E731
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags = {
        b"desc": b"desc\0\0\0\0\0\0\0\5test\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz(0.9642, 1, 0.8249),
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC") if colours else (b"kTRC",), curve)
    tags |= {name.encode(): xyz(*values) for name, values in colours.items()}
    table, data, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content
    head = struct.pack(">I4sI4s4s4s", start + len(data), b"test", 0x02100000, b"mntr", space.encode(), b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + data
