"""Reads the width and height of an image from its header, without decoding it.

A picture may be stored lying on its side and say that it is to be shown upright; phones do so. Its width and height are those
that it is shown with, or those that it is stored with, as the caller asks.

TIFF, JPEG 2000 and BMP are read by ``imagesize``; PNG, JPEG, GIF, WebP, AVIF, HEIC and SVG here, because it takes the sixteen-bit
numbers of GIF as signed ones, WebP's scaling bits as part of the size, and any element's attributes for those of an SVG's root.
Decoders also go by the second header of a PNG or JPEG, and by a frame that is larger than its GIF; it does not look at these.
Images are untrusted, so a look at one ends after a limited number of reads and bytes.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from filerow._validation.exif import is_turned
from filerow._validation.heif import heif_size
from filerow._validation.window import ReadAt, Window

_SVG_BYTES = 64 << 10

# Markers of JPEG (ITU-T T.81, table B.1).
_FIRST_SEGMENT = 0xC0
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NO_SEGMENT = frozenset(range(0xD0, 0xD9))
_SCAN_OR_END = frozenset({0xD9, 0xDA})
_APP1 = 0xE1
_WEBP_EXIF = 8

_MOST_PIXELS = 1 << 32  # a side longer than any format can say is a misreading
_NUMBER = r"[+-]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})(?:e[+-]?\d{1,2})?"
_LENGTH = re.compile(rf"\s*({_NUMBER})\s*(px|pt|pc|mm|cm|in|q)?\s*", re.IGNORECASE | re.ASCII)
_VIEW_BOX = re.compile(rf"\s*{_NUMBER}[\s,]+{_NUMBER}[\s,]+({_NUMBER})[\s,]+({_NUMBER})\s*", re.IGNORECASE | re.ASCII)
# CSS pixels per unit (CSS Values and Units, section 6.2).
_UNITS = {"": 1.0, "px": 1.0, "pt": 96 / 72, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0, "q": 96 / 101.6}
_MOST_ENTITY = 200

_Found: TypeAlias = tuple[int, int] | tuple[int, int, bool] | None
"""Width, height, and whether both are to be exchanged."""


def dimensions(read_at: ReadAt, content_type: str, size: int | None = None, *, shown: bool = True) -> tuple[int, int] | None:
    """Return an image's width and height in pixels by its header, or ``None``.

    Args:
        read_at: Gives bytes of the image.
        content_type: What its first bytes prove it to be.
        size: Its length in bytes, where known.
        shown: As it is shown: turned, where EXIF or HEIF says so. ``False`` for how it is stored.
    """
    if not content_type.startswith("image/"):
        return None
    if content_type == "image/svg+xml":
        found: _Found = _svg(read_at(0, _SVG_BYTES))
    elif content_type in _READERS:
        found = _header(_READERS[content_type], Window(read_at, size))
    else:
        import imagesize  # not needed before the first image with a limit

        found = imagesize.get(Window(read_at, size), exif_rotation=shown)
    if found is None or not all(0 < side < _MOST_PIXELS for side in found[:2]):
        return None
    width, height, turned = (*found, False)[:3]
    return (height, width) if turned and shown else (width, height)


def _header(reader: Callable[[Window], _Found], window: Window) -> _Found:
    try:
        return reader(window)
    except (ValueError, struct.error, IndexError):  # it has no end, or breaks off
        return None


def _gif(window: Window) -> tuple[int, int] | None:
    """Read the screen descriptor, or a larger first image (GIF89a, sections 18, 20)."""
    head = window.read(13)
    if len(head) < 13 or head[:6] not in {b"GIF87a", b"GIF89a"}:
        return None
    width, height = struct.unpack_from("<HH", head, 6)
    if head[10] & 0x80:  # a table of colours
        window.seek(3 << (head[10] & 7) + 1, os.SEEK_CUR)
    while (block := window.read(1)) not in {b"", b";"}:
        if block == b",":
            place = window.read(8)
            if len(place) == 8:
                left, top, wide, high = struct.unpack("<4H", place)
                return max(width, left + wide), max(height, top + high)
        elif block == b"!" and window.read(1):
            while size := int.from_bytes(window.read(1), "big"):
                window.seek(size, os.SEEK_CUR)
    return (width, height) if block or window.has_end else None


def _png(window: Window) -> _Found:
    """Read the one image header (PNG, section 11.2.1), and EXIF before the pixels."""
    if window.read(8) != b"\x89PNG\r\n\x1a\n":
        return None
    found: tuple[int, int] | None = None
    turned = False
    while (chunk := window.read(8))[4:] not in {b"IDAT", b"IEND"}:
        if len(chunk) < 8:
            return (*found, turned) if found and window.has_end else None
        length, kind = struct.unpack(">I4s", chunk)
        start = window.tell()
        if kind == b"IHDR":
            sides = window.read(8)
            if found is not None or len(sides) < 8:
                return None
            found = struct.unpack(">II", sides)
        elif kind == b"eXIf":
            turned = is_turned(window, start, length)
        window.seek(start + length + 4)
    return (*found, turned) if found else None


def _jpeg(window: Window) -> _Found:
    """Read the one frame header (JPEG, ITU-T T.81, section B.2.2), as decoders do."""
    if window.read(2) != b"\xff\xd8":
        return None
    found: tuple[int, int] | None = None
    turned: bool | None = None
    while byte := window.read(1):
        marker = 0
        while byte == b"\xff":  # any number of them may come before a marker
            byte = window.read(1)
            marker = int.from_bytes(byte)
        if marker in _SCAN_OR_END:
            return (*found, bool(turned)) if found else None
        if marker < _FIRST_SEGMENT or marker in _NO_SEGMENT:
            continue
        start = window.tell()
        length = int.from_bytes(window.read(2))
        if marker in _FRAMES:
            frame = window.read(5)
            if found is not None or len(frame) < 5:
                return None
            height, width = struct.unpack_from(">HH", frame, 1)
            found = width, height
        elif marker == _APP1 and turned is None and window.read(6) == b"Exif\0\0":
            turned = is_turned(window, start + 8, length - 8)
        window.seek(start + max(length, 2))
    return (*found, bool(turned)) if found and window.has_end else None


def _webp(window: Window) -> _Found:
    """Read the header of VP8 (RFC 6386), VP8L or VP8X (RFC 9649), and later EXIF."""
    head = window.read(30)
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        sides = int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
        return (*sides, bool(head[20] & _WEBP_EXIF) and _is_turned_webp(window))
    return None


def _is_turned_webp(window: Window) -> bool:
    """Return True if the EXIF of a WebP turns it; unreachable EXIF does not."""
    place = 12
    try:
        while len(chunk := window.read_from(place, 8)) == 8:
            kind, length = struct.unpack("<4sI", chunk)
            if kind == b"EXIF":
                marked = 6 if window.read(6) == b"Exif\0\0" else 0  # not by the standard, but written
                return is_turned(window, place + 8 + marked, length - marked)
            place += 8 + length + (length & 1)
    except ValueError:
        pass
    return False


_READERS: dict[str, Callable[[Window], _Found]] = {
    "image/gif": _gif,
    "image/png": _png,
    "image/apng": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
    "image/avif": heif_size,
    "image/heic": heif_size,
    "image/heic-sequence": heif_size,
    "image/heif": heif_size,
    "image/heif-sequence": heif_size,
}


# -- SVG -------------------------------------------------------------------------------------------------------------------


class _FoundError(Exception):
    """The root element was found, so parsing can stop."""


def _svg(head: bytes) -> tuple[int, int] | None:
    """Return an SVG's width and height (SVG 2, section 8.2), or those of its viewBox."""
    root = _root_of(head)
    if root is None:
        return None
    view = _VIEW_BOX.fullmatch(root.get("viewBox", ""))
    box = (float(view[1]), float(view[2])) if view else None
    width, height = _length(root.get("width", "")), _length(root.get("height", ""))
    if box and min(box) > 0:
        if width is None:
            width = box[0] if height is None else height * box[0] / box[1]
        if height is None:
            height = width * box[1] / box[0]
    if width is None or height is None or not 0 < width < _MOST_PIXELS or not 0 < height < _MOST_PIXELS:
        return None
    return math.ceil(width), math.ceil(height)


def _length(text: str) -> float | None:
    """Return a length in CSS pixels; ``None`` for percentages and relative units."""
    match = _LENGTH.fullmatch(text)
    return float(match[1]) * _UNITS[(match[2] or "").lower()] if match else None


def _root_of(head: bytes) -> dict[str, str] | None:
    """Return the attributes of the root if it is ``svg``; no entity is expanded."""
    from xml.parsers import expat  # only for SVG

    found: dict[str, str] = {}

    def started(name: str, attributes: dict[str, str]) -> NoReturn:
        if name.rpartition(":")[2] == "svg":
            found.update(attributes)
        raise _FoundError

    def declared(name: str, is_parameter: int, value: str | None, *_: object) -> None:
        # Drawing programs declare short names for namespaces. Entities within entities are how a few bytes become a billion.
        if is_parameter or value is None or len(value) > _MOST_ENTITY or "&" in value or "%" in value:
            raise ValueError(f"the entity {name!r} is not one that a drawing needs")

    parser = expat.ParserCreate()
    parser.StartElementHandler = started
    parser.EntityDeclHandler = declared
    try:
        parser.Parse(head, True)  # noqa: FBT003 - positional in the standard library
    except _FoundError:
        return found or None
    except (expat.ExpatError, LookupError, ValueError):
        return None
    return None
