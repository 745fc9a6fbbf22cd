"""Reads width and height of the primary item of HEIC and AVIF (ISO/IEC 23008-12)."""

from __future__ import annotations

import math
import struct
from typing import TypeAlias

from filerow._validation.containers.isobmff import boxes
from filerow._validation.window import Window

_Span: TypeAlias = tuple[int, int | None]

_MOST_ASSOCIATIONS = 64 << 10
_PADDING = 64
"""Encoders fill whole blocks and cut the rest off; what is cut further is decoded all the same, and counts."""


def heif_size(window: Window) -> tuple[int, int, bool] | None:
    """Return width, height, and True if the picture is turned; ``None`` if unknown."""
    meta = _first(window, b"meta", (0, None))
    if meta is None:
        return None
    inside = (meta[0] + 4, meta[1])
    primary, properties = _first(window, b"pitm", inside), _first(window, b"iprp", inside)
    if properties is None:
        return None
    held, associated = _first(window, b"ipco", properties), _first(window, b"ipma", properties)
    if held is None:
        return None
    wanted = None if associated is None else _associations(window, associated, _primary(window, primary))
    return _size(window, [box for number, box in enumerate(boxes(window, *held), 1) if wanted is None or number in wanted])


def _first(window: Window, name: bytes, within: _Span) -> _Span | None:
    return next(((start, end) for kind, start, end in boxes(window, *within) if kind == name), None)


def _primary(window: Window, box: _Span | None) -> int | None:
    if box is None:
        return None
    data = window.read_from(box[0], 8)
    return struct.unpack_from(">I" if data[0] else ">H", data, 4)[0] if len(data) == 8 else None


def _associations(window: Window, box: _Span, item: int | None) -> set[int]:
    """Return the property numbers of an item, or of the first if none is primary."""
    start, end = box
    data = window.read_from(start, min((end or start) - start, _MOST_ASSOCIATIONS))
    version, wide = data[0], data[3] & 1
    place = 8
    for _ in range(struct.unpack_from(">I", data, 4)[0]):
        number = struct.unpack_from(">I" if version else ">H", data, place)[0]
        place += 4 if version else 2
        count = data[place]
        place += 1
        if item is None or number == item:
            found = struct.unpack_from(f">{count}{'H' if wide else 'B'}", data, place)
            return {each & (0x7FFF if wide else 0x7F) for each in found}
        place += count * (2 if wide else 1)
    return set()


def _size(window: Window, properties: list[tuple[bytes, int, int | None]]) -> tuple[int, int, bool] | None:
    width = height = 0
    turned = False
    for name, start, _ in properties:
        if name == b"ispe":
            sides = struct.unpack(">II", window.read_from(start + 4, 8))
            width, height = max((width, height), sides, key=math.prod)
        elif name == b"irot":
            turned = bool(window.read_from(start, 1)[0] & 1)
        elif name == b"clap":
            wide, wide_parts, high, high_parts = struct.unpack(">4I", window.read_from(start, 16))
            if wide_parts == high_parts == 1 and 0 <= width - wide < _PADDING and 0 <= height - high < _PADDING:
                width, height = wide, high
    return (width, height, turned) if width and height else None
