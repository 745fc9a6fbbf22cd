"""Images for tests: real ones of every format, and headers that only claim to be some."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image


def png_part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int = 1, height: int = 1, pixels: bytes = b"\0\0") -> bytes:
    """Make a PNG whose header claims the given size, whatever its pixels are."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = png_part(b"IHDR", header) + png_part(b"IDAT", zlib.compress(pixels)) + png_part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def picture(kind: str, width: int, height: int, **options: Any) -> bytes:
    """Make a real image with Pillow."""
    target = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(target, kind, **options)
    return target.getvalue()


def jpeg_with_metadata(width: int, height: int, segments: int) -> bytes:
    """Make a JPEG whose size comes after a number of full segments of metadata."""
    whole = picture("JPEG", width, height)
    segment = b"\xff\xe2" + struct.pack(">H", 0xFFFF) + b"\xff" * 0xFFFD
    return whole[:2] + segment * segments + whole[2:]


def tiff_with_directory_at_the_end(width: int, height: int, before: int) -> bytes:
    """Make a TIFF whose directory follows the bytes of its pixels, as many programs write it."""
    entries = [(256, 4, 1, width), (257, 4, 1, height)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + before) + bytes(before) + directory
