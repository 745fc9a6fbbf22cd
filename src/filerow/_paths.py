"""How objects are named, and how a client's name is made fit to be shown.

A path is ours: ``{table}/{column}/{uuid7 hex}{extension}``. A client's filename only ever gives it a short, checked extension.
"""

from __future__ import annotations

import os
import re
import time
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

__all__ = ("PathRequest", "clean_filename", "content_disposition", "generate_path", "safe_extension", "uuid7_hex")

STAGING = "staged"
"""The folder of files that were saved on their own, before any row owned them."""

MAX_FILENAME_BYTES = 255

_DEFAULT_NAME = "file"
_EXTENSION = re.compile(r"\.[a-z0-9]{1,10}\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_. -]*[A-Za-z0-9_]\Z")
_SEPARATORS = re.compile(r"[/\\]")
_UNSAFE_SEGMENT = re.compile(r"[^A-Za-z0-9_.-]")
# RFC 8187 attr-char: what a filename* parameter may hold unescaped besides letters and digits.
_ATTR_CHARS = "!#$&+-.^_`|~"
# "Cc" controls, "Cf" formats (RTL overrides, zero-width characters), "Cs" lone surrogates, "Zl"/"Zp" line separators.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class PathRequest(NamedTuple):
    """What a ``StoredObject(path=...)`` callable is given to build a path from.

    Attributes:
        table: Name of the table the column belongs to.
        column: Name of the column.
        token: A fresh UUIDv7 (RFC 9562) in hex: unique, and ordered by time. Put it into the path.
        extension: ``.png`` or the like, lower-case and checked; empty when the filename has none worth keeping.
        filename: The cleaned client filename. A hint, never a path: it is the client's choice.
        instance: The mapped object, when the ORM stores the file.
    """

    table: str
    column: str
    token: str
    extension: str
    filename: str
    instance: object = None


def uuid7_hex() -> str:
    """Return a UUIDv7 (RFC 9562, section 5.7) as 32 hex digits: 48 bits of Unix milliseconds, then 74 random bits."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000) << 80
    value |= 0x7 << 76 | (random >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | random & ((1 << 62) - 1)
    return f"{value:032x}"


def safe_extension(filename: str) -> str:
    """Return the extension of a filename, lower-case, if it is one to ten ASCII letters or digits; else nothing."""
    match = _EXTENSION.search(filename.lower())
    return match.group() if match and match.start() > 0 else ""


def generate_path(table: str, column: str, filename: str, *, shards: int = 0) -> str:
    """Return a path that was never used and never will be.

    Args:
        table: Table name; characters that a store could trip over become ``_``.
        column: Column name; likewise.
        filename: Where the extension comes from.
        shards: Spread the paths over this many folders, so that a busy column has no single hot prefix; 0 for none.
    """
    token = uuid7_hex()
    folder = _folder(table, column)
    if shards > 1:
        width = len(f"{shards - 1:x}")
        folder = f"{folder}/{int(token[-8:], 16) % shards:0{width}x}"
    return f"{folder}/{token}{safe_extension(filename)}"


@lru_cache(maxsize=1024)
def _folder(table: str, column: str) -> str:
    return f"{_segment(table)}/{_segment(column)}"


def _segment(name: str) -> str:
    cleaned = _UNSAFE_SEGMENT.sub("_", name)[:80]
    return cleaned if cleaned.strip(".") else "_"


def clean_filename(name: str | None) -> str:
    """Return a client's filename made safe to show: no folders, no invisible characters, at most 255 bytes.

    The result is for people and for headers that encode it; it never reaches a path.
    """
    if not name:
        return _DEFAULT_NAME
    if _PLAIN.match(name) and len(name) <= MAX_FILENAME_BYTES:  # most names need nothing
        return name
    import unicodedata  # most names do not come this far

    visible = "".join(c for c in name if unicodedata.category(c) not in _INVISIBLE)
    visible = unicodedata.normalize("NFC", visible)  # only now, for what was between two characters may have kept them apart
    base = _SEPARATORS.split(visible.rstrip("/\\ "))[-1].strip()
    if not base.strip(". "):
        return _DEFAULT_NAME
    return _shorten(base)


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_FILENAME_BYTES:
        return name
    suffix = os.path.splitext(name)[1]  # noqa: PTH122 - a display name, not a path of this machine
    suffix = suffix if len(suffix.encode()) <= 20 else ""  # noqa: PLR2004 - longer is no extension
    room = MAX_FILENAME_BYTES - len(suffix.encode())
    return name.removesuffix(suffix).encode()[:room].decode(errors="ignore").rstrip() + suffix


def content_disposition(filename: str, *, inline: bool = False) -> str:
    """Return a ``Content-Disposition`` value (RFC 6266) in ASCII, with ``filename*`` (RFC 8187) where ASCII is not enough."""
    kind = "inline" if inline else "attachment"
    name = clean_filename(filename)
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    value = f'{kind}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"
    return value
