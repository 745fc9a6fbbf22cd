"""Recognises ZIP files by their members: documents, books, applications.

The central directory at its end counts, which is what programs go by. Where it cannot be seen, in a long stream, the members are
walked from the first one on.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from filerow._validation.window import ReadAt, Window

SIGNATURES = (b"PK\3\4", b"PK\5\6", b"PK\7\x08", b"PK00PK\3\4")

_ZIP = "application/zip"
_MOST_NAMES = 2000
_MOST_DIRECTORY = 128 << 10
_TAIL = 16 << 10
_LONGEST_TAIL = 22 + 65_535
_MOST_XML = 256 << 10
_MOST_WALKED = 512 << 10

# What a member called "mimetype" may say: never a type of the uploader's choice.
_SAID = re.compile(
    rb"(application/(?:vnd\.oasis\.opendocument\.[a-z-]{1,40}|epub\+zip|vnd\.sun\.xml\.[a-z.]{1,40}|x-krita|vnd\.etsi\.asic-[es]\+zip"
    rb"|vnd\.adobe\.indesign-idml-package)|image/openraster)\s*"
)
_MAIN = re.compile(rb"application/(vnd\.[\w.-]{1,90}?)\.main(?:\+xml)?[\"']")
_OOXML = "application/vnd.openxmlformats-officedocument"
_BY_FOLDER = {
    "word/": (f"{_OOXML}.wordprocessingml.document", "application/vnd.ms-word.document.macroenabled.12"),
    "xl/": (f"{_OOXML}.spreadsheetml.sheet", "application/vnd.ms-excel.sheet.macroenabled.12"),
    "ppt/": (f"{_OOXML}.presentationml.presentation", "application/vnd.ms-powerpoint.presentation.macroenabled.12"),
    "visio/": ("application/vnd.ms-visio.drawing", "application/vnd.ms-visio.drawing.macroenabled.12"),
}
# Types of main parts that [Content_Types].xml may name, with the kind of document that each is.
_MAIN_TYPES = re.compile(
    r"vnd\.openxmlformats-officedocument\.(?:wordprocessingml\.(?:document|template)|spreadsheetml\.(?:sheet|template)"
    r"|presentationml\.(?:presentation|template|slideshow))|vnd\.ms-visio\.(?:drawing|stencil|template)"
)
_MACRO_TYPES = re.compile(
    r"vnd\.ms-(?:word\.(?:document|template)|excel\.(?:sheet|template|addin|sheet\.binary)|powerpoint\.(?:presentation|template|slideshow|addin)"
    r"|visio\.(?:drawing|stencil|template))\.macroenabled"
)


class _Member(NamedTuple):
    name: str
    method: int
    packed: int
    offset: int


def zip_type(head: bytes, read_at: ReadAt, size: int | None) -> str:
    """Return the type of a ZIP.

    Args:
        head: Its first bytes.
        read_at: Gives bytes of it.
        size: Its length in bytes, where known.
    """
    try:
        members = _directory(read_at, size) or list(_walk(Window(read_at, size, _MOST_WALKED, most_blocks=10)))
        return _type_of(members, read_at) if members else _ZIP
    except (ValueError, struct.error):
        return _type_of(list(_walk_quietly(head)), lambda offset, length: head[offset : offset + length])


def _type_of(members: Sequence[_Member], read_at: ReadAt) -> str:
    by_name = {member.name: member for member in members}
    if "mimetype" in by_name:
        said = _SAID.fullmatch(_content(by_name["mimetype"], read_at, 128))
        if said:
            return said[1].decode()
    if "[Content_Types].xml" in by_name:
        return _office(by_name, read_at)
    if "AndroidManifest.xml" in by_name and by_name.keys() & {"classes.dex", "resources.arsc"}:
        return "application/vnd.android.package-archive"
    if "META-INF/container.xml" in by_name and any(name.endswith(".opf") for name in by_name):
        return "application/epub+zip"
    if "META-INF/MANIFEST.MF" in by_name:
        return "application/java-archive"
    if "doc.kml" in by_name:
        return "application/vnd.google-earth.kmz"
    return _by_kind_of_member(members)


def _by_kind_of_member(members: Sequence[_Member]) -> str:
    if any(member.name.startswith("Index/") and member.name.endswith(".iwa") for member in members):
        return "application/x-iwork"  # Pages, Numbers or Keynote, which differ in their extension
    if members[0].name.endswith((".usdc", ".usda", ".usd")) and members[0].method == 0:
        return "model/vnd.usdz+zip"
    return _ZIP


def _office(by_name: dict[str, _Member], read_at: ReadAt) -> str:
    """Return the type of an Office document by its parts' types, or its folders.

    What holds macros is one of the macro-enabled types, whatever else it says.
    """
    types = _content(by_name["[Content_Types].xml"], read_at, _MOST_XML)
    macros = b"vbaProject" in types or any(name.lower().endswith("vbaproject.bin") for name in by_name)
    for found in _MAIN.finditer(types):
        main = found[1].decode().lower()
        if _MACRO_TYPES.fullmatch(main):
            return f"application/{main}.12"
        if _MAIN_TYPES.fullmatch(main) and not macros:
            return f"application/{main}"
    for name in by_name:
        for folder, (plain, with_macros) in _BY_FOLDER.items():
            if name.startswith(folder):
                return with_macros if macros else plain
    return "model/3mf" if "3D/3dmodel.model" in by_name else _ZIP


def _content(member: _Member, read_at: ReadAt, most: int) -> bytes:
    """Return the first bytes of a member."""
    local = read_at(member.offset, 30)
    if len(local) < 30 or local[:2] != b"PK" or member.method not in {0, 8}:
        return b""
    name, extra = struct.unpack_from("<HH", local, 26)
    packed = read_at(member.offset + 30 + name + extra, min(member.packed or most, most))
    if member.method == 0:
        return packed
    try:
        return zlib.decompressobj(-15).decompress(packed, most)
    except zlib.error:
        return b""


# -- by the central directory ----------------------------------------------------------------------------------------------


def _directory(read_at: ReadAt, size: int | None) -> list[_Member]:
    """Return the members in the central directory; none if it cannot be read."""
    if size is None:
        return []
    for length in (_TAIL, _LONGEST_TAIL):
        start = max(0, size - length)
        tail = read_at(start, size - start)
        place = tail.rfind(b"PK\5\6")
        if 0 <= place <= len(tail) - 22:
            return _members(tail, start, place, read_at)
        if not start:
            break
    return []


def _members(tail: bytes, start: int, place: int, read_at: ReadAt) -> list[_Member]:
    length, offset = struct.unpack_from("<II", tail, place + 12)
    before = start + place - length - offset  # bytes before the first member move everything
    if before < 0 or length == 0xFFFFFFFF:  # ZIP64, whose members are walked
        return []
    at = offset + before
    kept = min(length, _MOST_DIRECTORY)
    directory = tail[at - start : at - start + kept] if at >= start else read_at(at, kept)
    found: list[_Member] = []
    here = 0
    while directory.startswith(b"PK\1\2", here) and len(directory) >= here + 46 and len(found) < _MOST_NAMES:
        method = struct.unpack_from("<H", directory, here + 10)[0]
        packed = struct.unpack_from("<I", directory, here + 20)[0]
        name, extra, comment = struct.unpack_from("<HHH", directory, here + 28)
        first = struct.unpack_from("<I", directory, here + 42)[0] + before
        found.append(_Member(_text(directory[here + 46 : here + 46 + name]), method, packed, first))
        here += 46 + name + extra + comment
    return found


# -- from the first member on ----------------------------------------------------------------------------------------------


def _walk_quietly(head: bytes) -> Iterator[_Member]:
    try:
        yield from _walk(Window(lambda offset, length: head[offset : offset + length], None))
    except (ValueError, struct.error):
        return


def _walk(window: Window) -> Iterator[_Member]:
    """Yield the members in the order in which they lie, as far as they can be seen."""
    place = 4 if window.read(4) == b"PK00" else 0
    for _ in range(_MOST_NAMES):
        local = window.read_from(place, 30)
        if len(local) < 30 or local[:4] != b"PK\3\4":
            return
        flags, method = struct.unpack_from("<HH", local, 6)
        packed = struct.unpack_from("<I", local, 18)[0]
        name, extra = struct.unpack_from("<HH", local, 26)
        yield _Member(_text(window.read(name)), method, packed, place)
        place += 30 + name + extra + packed
        if flags & 8 and not packed:
            place = _next(window, place)


def _next(window: Window, place: int) -> int:
    """Return where the next member begins, of one whose length stands behind it."""
    window.seek(place)
    seen = b""
    while chunk := window.read(4096):
        at = (seen + chunk).find(b"PK\3\4")
        if at >= 0:
            return place + at - len(seen)
        place += len(chunk)
        seen = chunk[-3:]
    return place


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace").replace("\\", "/").removeprefix("/")
