"""Images that tests make variants of, and how they look at the results."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

from filerow.variants import MadeVariant

RED, GREEN, BLUE, WHITE, BLACK = (220, 30, 30), (30, 180, 30), (30, 30, 220), (255, 255, 255), (0, 0, 0)
CORNERS = (RED, GREEN, BLUE, WHITE)


def four_colours(width: int = 80, height: int = 40, mode: str = "RGB") -> Image.Image:
    """Red and green above blue and white: turned in any way, it looks different."""
    image = Image.new("RGB", (width, height))
    for place, colour in enumerate(CORNERS):
        left, top = place % 2 * width // 2, place // 2 * height // 2
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image.convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def seen(made: MadeVariant | bytes) -> Image.Image:
    image = Image.open(io.BytesIO(made if isinstance(made, bytes) else made.content))
    image.load()
    return image


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Return the colours in the middle of the four quarters."""
    shown = image.convert("RGB")
    places = [(x, y) for y in (shown.height // 4, shown.height * 3 // 4) for x in (shown.width // 4, shown.width * 3 // 4)]
    return [colour(shown, *place) for place in places]


def colour(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    found = image.getpixel((x, y))
    return found if isinstance(found, tuple) else (int(found or 0),)


def alike(one: tuple[int, ...], other: tuple[int, ...], tolerance: int = 24) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def animation(frames: int = 3, size: tuple[int, int] = (60, 40), kind: str = "GIF", **options: Any) -> bytes:
    pictures = [Image.new("RGB", size, (number * 40 % 256, 200, 30)) for number in range(frames)]
    return saved(pictures[0], kind, save_all=True, append_images=pictures[1:], **{"duration": 70, "loop": 0, **options})


def png_of_zeros(width: int, height: int, *, colour_type: int = 2, rows: int | None = None) -> bytes:
    """A PNG that is small for what it says it is."""
    row = bytes(1 + width * {0: 1, 2: 3, 6: 4}[colour_type])
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gif_of_frames(frames: int, width: int, height: int) -> bytes:
    """A GIF of many large frames, each of which changes one pixel."""
    frame = b"!\xf9\x04\x08\x0a\0\0\0" + b"," + struct.pack("<4H", 0, 0, 1, 1) + b"\0\x02\x02L\x01\0"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff" + frame * frames + b";"


def tiff_of_strips(strips: int, height: int) -> bytes:
    """A TIFF that says its pixels are in a million places."""
    entries = [
        (256, 4, 1, 64), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, strips, 200), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, strips, 200 + 4 * strips),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    head = b"II*\0" + struct.pack("<I", 8) + directory
    return head.ljust(200, b"\0") + struct.pack("<I", 200) * strips + struct.pack("<I", 64) * strips
