"""A PNG without its remarks. Pillow refuses a picture over a long text or a wrong checksum that stands beside it."""

from __future__ import annotations

import zlib

BEGINS = b"\x89PNG\r\n\x1a\n"
SHOWN = (b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT")
"""Chunks that a picture could do without, but that say how it looks: see the PNG specification, third edition."""
TEXTS, SAYS_ORIENTATION = (b"iTXt", b"zTXt", b"tEXt"), (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")


def essential(data: bytes) -> bytes:
    """The chunks that decide over pixels; from a cut one on, all that is there."""
    kept, at = [BEGINS], len(BEGINS)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        if _counts(data[at + 4 : at + 8], data[at + 8 : end - 4], data[end - 4 : end]):
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def _counts(kind: bytes, content: bytes, checksum: bytes) -> bool:
    if kind[:1].isupper():  # without it there is no picture
        return True
    says = kind in SHOWN or (kind in TEXTS and content.startswith(SAYS_ORIENTATION))
    return says and zlib.crc32(kind + content).to_bytes(4, "big") == checksum
