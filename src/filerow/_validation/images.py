"""Width and height of an image, read from its header: nothing is decoded, so a decompression bomb costs nothing.

TIFF, AVIF, HEIC, JPEG 2000 and BMP are read by ``imagesize``; PNG, JPEG, GIF, WebP and SVG here, because it takes the sixteen-bit
numbers of GIF as signed ones, WebP's scaling bits as part of the size, and any element's attributes for those of an SVG's root.
Decoders also go by the second header of a PNG or JPEG, and by a frame that is larger than its GIF; it does not look at these.
An image is a stranger's work: whatever it claims, a look at it ends after so many reads and bytes.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Callable
from typing import NoReturn, TypeAlias

__all__ = ("ReadAt", "dimensions")

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""Returns up to so many bytes (second argument) from an offset (first), fewer only at the end of what can be seen."""

_BLOCK = 16 << 10
_MOST_BYTES = 256 << 10
_MOST_READS = 20_000
_SVG_BYTES = 64 << 10

# Markers of JPEG (ITU-T T.81, table B.1).
_FIRST_SEGMENT = 0xC0
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NO_SEGMENT = frozenset(range(0xD0, 0xD9))
_SCAN_OR_END = frozenset({0xD9, 0xDA})

_MOST_PIXELS = 1 << 32  # a side longer than any format can say is a misreading
_FAR = 1 << 62

_NUMBER = r"[+-]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})(?:e[+-]?\d{1,2})?"
_LENGTH = re.compile(rf"\s*({_NUMBER})\s*(px|pt|pc|mm|cm|in|q)?\s*", re.IGNORECASE | re.ASCII)
_VIEW_BOX = re.compile(rf"\s*{_NUMBER}[\s,]+{_NUMBER}[\s,]+({_NUMBER})[\s,]+({_NUMBER})\s*", re.IGNORECASE | re.ASCII)
# CSS pixels per unit (CSS Values and Units, section 6.2).
_UNITS = {"": 1.0, "px": 1.0, "pt": 96 / 72, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0, "q": 96 / 101.6}
_MOST_ENTITY = 200


def dimensions(read_at: ReadAt, content_type: str, size: int | None = None) -> tuple[int, int] | None:
    """Return an image's width and height in pixels as its header says them (not turned by EXIF), or ``None`` when it does not.

    Args:
        read_at: Gives bytes of the image.
        content_type: What its first bytes prove it to be.
        size: Its length in bytes, where known.
    """
    if not content_type.startswith("image/"):
        return None
    if content_type == "image/svg+xml":
        found = _svg(read_at(0, _SVG_BYTES))
    elif content_type == "image/gif":
        found = _header(_gif, _Window(read_at, size))
    elif content_type in {"image/png", "image/apng"}:
        found = _header(_png, _Window(read_at, size))
    elif content_type == "image/jpeg":
        found = _header(_jpeg, _Window(read_at, size))
    elif content_type == "image/webp":
        found = _webp(read_at(0, 30))
    else:
        import imagesize  # not needed before the first image with a limit

        # Without the EXIF orientation, for which it would read more of the file; the number of pixels is the same.
        found = imagesize.get(_Window(read_at, size), exif_rotation=False)
    if found is None or not all(0 < side < _MOST_PIXELS for side in found):
        return None
    return found


def _webp(head: bytes) -> tuple[int, int] | None:
    """Frame header of VP8 (RFC 6386, section 9.1), of VP8L and of VP8X (RFC 9649)."""
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":  # noqa: PLR2004
        return None
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    if kind == b"VP8L" and head[20] == 0x2F:  # noqa: PLR2004
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


class _Window:
    """What imagesize sees of an image: a file that gives out so many bytes in so many reads and then fails."""

    def __init__(self, read_at: ReadAt, size: int | None) -> None:
        self.has_end = size is not None  # what is not seen of others may be anything
        self._read_at = read_at
        self._end = _FAR if size is None else size
        self._position = 0
        self._reads = _MOST_READS
        self._bytes = _MOST_BYTES
        self._block = (0, b"")

    def read(self, size: int = -1) -> bytes:
        self._reads -= 1
        self._bytes -= max(size, 0)
        if size < 0 or self._reads < 0 or self._bytes < 0:
            msg = "this image's header is longer than any honest one"
            raise ValueError(msg)
        data = b""
        while len(data) < size:
            part = self._from_block(self._position, size - len(data))
            if not part:
                break
            self._position += len(part)
            data += part
        return data

    def _from_block(self, position: int, size: int) -> bytes:
        start, block = self._block
        if not start <= position < start + len(block):
            start = position - position % _BLOCK
            block = self._read_at(start, _BLOCK)
            self._block = start, block
        return block[position - start : position - start + size]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._reads -= 1
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = min(max(0, start + offset), _FAR)
        return self._position


def _header(reader: Callable[[_Window], tuple[int, int] | None], window: _Window) -> tuple[int, int] | None:
    try:
        return reader(window)
    except ValueError:  # it has no end
        return None


def _gif(window: _Window) -> tuple[int, int] | None:
    """Logical screen descriptor, or the first image where that reaches beyond it (GIF89a, sections 18 and 20)."""
    head = window.read(13)
    if len(head) < 13 or head[:6] not in {b"GIF87a", b"GIF89a"}:  # noqa: PLR2004
        return None
    width, height = struct.unpack_from("<HH", head, 6)
    if head[10] & 0x80:  # a table of colours
        window.seek(3 << (head[10] & 7) + 1, os.SEEK_CUR)
    while (block := window.read(1)) not in {b"", b";"}:
        if block == b",":
            place = window.read(8)
            if len(place) == 8:  # noqa: PLR2004
                left, top, wide, high = struct.unpack("<4H", place)
                return max(width, left + wide), max(height, top + high)
        elif block == b"!" and window.read(1):
            while size := int.from_bytes(window.read(1), "big"):
                window.seek(size, os.SEEK_CUR)
    return (width, height) if block or window.has_end else None


def _png(window: _Window) -> tuple[int, int] | None:
    """Image header (PNG, section 11.2.1), of which there is one."""
    if window.read(8) != b"\x89PNG\r\n\x1a\n":
        return None
    found: tuple[int, int] | None = None
    while (chunk := window.read(8))[4:] not in {b"IDAT", b"IEND"}:
        if len(chunk) < 8:  # noqa: PLR2004
            return found if window.has_end else None
        length, kind = struct.unpack(">I4s", chunk)
        if kind == b"IHDR":
            sides = window.read(8)
            if found is not None or len(sides) < 8:  # noqa: PLR2004
                return None
            found = struct.unpack(">II", sides)
            window.seek(-8, os.SEEK_CUR)
        window.seek(length + 4, os.SEEK_CUR)
    return found


def _jpeg(window: _Window) -> tuple[int, int] | None:
    """Frame header (JPEG, ITU-T T.81, section B.2.2), of which there is one; what is no marker is passed over, as decoders do."""
    if window.read(2) != b"\xff\xd8":
        return None
    found: tuple[int, int] | None = None
    while byte := window.read(1):
        marker = 0
        while byte == b"\xff":  # any number of them may come before a marker
            byte = window.read(1)
            marker = int.from_bytes(byte)
        if marker in _SCAN_OR_END:
            return found
        if marker < _FIRST_SEGMENT or marker in _NO_SEGMENT:
            continue
        length = window.read(2)
        if marker in _FRAMES:
            frame = window.read(5)
            if found is not None or len(frame) < 5:  # noqa: PLR2004
                return None
            height, width = struct.unpack_from(">HH", frame, 1)
            found = width, height
            window.seek(-5, os.SEEK_CUR)
        window.seek(max(int.from_bytes(length) - 2, 0), os.SEEK_CUR)
    return found if window.has_end else None


# -- SVG -------------------------------------------------------------------------------------------------------------------


class _FoundError(Exception):
    """The root element was found, so parsing can stop."""


def _svg(head: bytes) -> tuple[int, int] | None:
    """Return width and height of an SVG's root element (SVG 2, section 8.2), or of its viewBox where it has none of its own."""
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
    """Return a length in CSS pixels; ``None`` for percentages and for units that depend on a font or a window."""
    match = _LENGTH.fullmatch(text)
    return float(match[1]) * _UNITS[(match[2] or "").lower()] if match else None


def _root_of(head: bytes) -> dict[str, str] | None:
    """Return the attributes of the root element, if it is ``svg``. Nothing is fetched, and no entity is worth expanding."""
    from xml.parsers import expat  # only for SVG

    found: dict[str, str] = {}

    def started(name: str, attributes: dict[str, str]) -> NoReturn:
        if name.rpartition(":")[2] == "svg":
            found.update(attributes)
        raise _FoundError

    def declared(name: str, is_parameter: int, value: str | None, *_: object) -> None:
        # Drawing programs declare short names for namespaces. Entities within entities are how a few bytes become a billion.
        if is_parameter or value is None or len(value) > _MOST_ENTITY or "&" in value or "%" in value:
            msg = f"the entity {name!r} is not one that a drawing needs"
            raise ValueError(msg)

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
