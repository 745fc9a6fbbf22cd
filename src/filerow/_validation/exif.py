"""Reads the orientation of a picture from EXIF (CIPA DC-008, tag 0x0112)."""

from __future__ import annotations

import struct

from filerow._validation.window import Window

_ORIENTATION = 0x0112
_SHORT = 3
_TURNED = range(5, 9)
_MOST_ENTRIES = 500


def is_turned(window: Window, start: int, length: int) -> bool:
    """Return True if EXIF exchanges width and height when the picture is shown."""
    head = window.read_from(start, 8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if order is None or len(head) < 8:
        return False
    directory = struct.unpack_from(f"{order}I", head, 4)[0]
    count = window.read_from(start + directory, 2)
    if len(count) < 2 or directory >= length:
        return False
    for _ in range(min(struct.unpack(f"{order}H", count)[0], _MOST_ENTRIES)):
        entry = window.read(12)
        if len(entry) < 12:
            return False
        tag, kind = struct.unpack_from(f"{order}HH", entry)
        if tag == _ORIENTATION:
            return kind == _SHORT and struct.unpack_from(f"{order}H", entry, 8)[0] in _TURNED
    return False
