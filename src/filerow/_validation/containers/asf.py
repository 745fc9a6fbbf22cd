"""Recognises files of Windows Media (ASF, section 3) by their streams."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from filerow._validation.window import ReadAt, Window

SIGNATURE = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")

TYPES = frozenset({"audio/x-ms-wma", "video/x-ms-wmv", "video/x-ms-asf"})

_STREAM = bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")
_SOUND = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")
_PICTURES = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")
_FIRST_OBJECT = 30
_MOST_OBJECTS = 200


def asf_type(read_at: ReadAt, size: int | None) -> str:
    """Return the type of an ASF file; see :func:`.zip.zip_type` for the arguments."""
    try:
        kinds = set(_kinds_of_streams(Window(read_at, size, most_bytes=64 << 10, most_blocks=12)))
    except ValueError:
        kinds = set()
    if _PICTURES in kinds:
        return "video/x-ms-wmv"
    return "audio/x-ms-wma" if _SOUND in kinds else "video/x-ms-asf"


def _kinds_of_streams(window: Window) -> Iterator[bytes]:
    """Yield the kind of each stream in the header; covers may come first."""
    head = window.read(_FIRST_OBJECT)
    if len(head) < _FIRST_OBJECT:
        return
    end: int = struct.unpack_from("<Q", head, 16)[0]
    place = _FIRST_OBJECT
    for _ in range(_MOST_OBJECTS):
        described = window.read_from(place, 40)
        if place >= end or len(described) < 40:
            return
        length: int = struct.unpack_from("<Q", described, 16)[0]
        if length < 24:
            return
        if described[:16] == _STREAM:
            yield described[24:]
        place += length
