"""Recognises OLE files ([MS-CFB]) by the streams at their root."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from filerow._media_types import ENCRYPTED_OFFICE, EXCEL
from filerow._validation.window import ReadAt, Window

SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_OLE = "application/x-ole-storage"
_WORD = "application/msword"
_POWERPOINT = "application/vnd.ms-powerpoint"
_MOST_SECTORS = 64
_LARGEST_SECTOR_SHIFT = 12
_NO_ENTRY = 0xFFFFFFFA
_BY_STREAM = {
    "encryptedpackage": ENCRYPTED_OFFICE,
    "worddocument": _WORD,
    "workbook": EXCEL,
    "book": EXCEL,
    "powerpoint document": _POWERPOINT,
    "__properties_version1.0": "application/vnd.ms-outlook",
    "visiodocument": "application/vnd.visio",
    "quill": "application/vnd.ms-publisher",
}
TYPES = frozenset({*_BY_STREAM.values(), "application/x-msi"})
"""What such a file may be."""

_MSI = bytes.fromhex("84100c0000000000c000000000000046")
# Where the directory is not seen: what the first sector holds.
_BY_FIRST_SECTOR = (
    (b"\xec\xa5\xc1\0", _WORD),
    (b"\x09\x08\x10\0\0\x06\x05\0", EXCEL),
    (b"\x0f\0\xe8\x03", _POWERPOINT),
    (b"\xa0\x46\x1d\xf0", _POWERPOINT),
    (b"\0\x6e\x1e\xf0", _POWERPOINT),
)


def ole_type(head: bytes, read_at: ReadAt, size: int | None) -> str:
    """Return the type of an OLE file; see :func:`.zip.zip_type` for the arguments."""
    try:
        directory = b"".join(_sectors(head, Window(read_at, size, most_blocks=12)))
    except (ValueError, struct.error):
        directory = b""
    if directory[80:96] == _MSI:
        return "application/x-msi"
    for name in _at_root(directory):
        found = _BY_STREAM.get(name.lower())
        if found:
            return found
    return next((kind for start, kind in _BY_FIRST_SECTOR if head.startswith(start, 512)), _OLE)


def _sectors(head: bytes, window: Window) -> Iterator[bytes]:
    """Yield the directory's sectors, as far as the header's table names them."""
    shift = struct.unpack_from("<H", head, 30)[0]
    if not 7 <= shift <= _LARGEST_SECTOR_SHIFT:
        return
    size = 1 << shift
    tables = struct.unpack_from("<109I", head, 76)
    sector = struct.unpack_from("<I", head, 48)[0]
    for _ in range(_MOST_SECTORS):
        if sector >= _NO_ENTRY:
            return
        part = window.read_from((sector + 1) << shift, size)
        if len(part) < size:
            return
        yield part
        table, entry = divmod(sector, size // 4)
        if table >= len(tables) or tables[table] >= _NO_ENTRY:
            return
        sector = struct.unpack("<I", window.read_from(((tables[table] + 1) << shift) + 4 * entry, 4))[0]


def _at_root(directory: bytes) -> Iterator[str]:
    """Yield the names of the root's own children, which are a tree of siblings."""
    count = len(directory) // 128
    seen: set[int] = set()
    waiting = [struct.unpack_from("<I", directory, 76)[0]] if count else []
    while waiting:
        entry = waiting.pop()
        if entry >= count or entry in seen:
            continue
        seen.add(entry)
        place = entry * 128
        length = min(struct.unpack_from("<H", directory, place + 64)[0], 64)
        yield directory[place : place + max(length - 2, 0)].decode("utf-16-le", "replace")
        waiting += struct.unpack_from("<II", directory, place + 68)
