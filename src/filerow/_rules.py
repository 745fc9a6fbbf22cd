"""What a column demands of its files, and which media type a file really has."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import Any, NamedTuple

from filerow._paths import safe_extension
from filerow.exceptions import ContentTypeError, FileTooLargeError

__all__ = ("OCTET_STREAM", "Rules", "parse_size", "resolve_type", "sniff")

OCTET_STREAM = "application/octet-stream"
SNIFF_BYTES = 8192
"""How many first bytes the type is recognised by."""

_CONTAINERS = (b"PK", b"\xd0\xcf\x11\xe0", b"\x1a\x45\xdf\xa3")
"""What ZIP (OOXML, OpenDocument), OLE (older Office) and EBML (Matroska, WebM) files start with."""

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*((?:[kmgt]i?)?b?)\s*$", re.IGNORECASE)
_UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
# Types whose files start with a signature: claiming one without it is not believed.
_SIGNED = re.compile(r"^(image/(?!svg)|audio/|video/|font/|application/(pdf|zip|gzip|x-7z|x-rar|vnd\.openxml))")
_MEDIA_TYPE = re.compile(r"^[\w!#$&^.+-]+/[\w!#$&^.+-]+$", re.ASCII)


def parse_size(value: int | str | None) -> int | None:
    """Return a number of bytes from an integer or from text such as ``"25 MB"`` (10^6) or ``"25 MiB"`` (2^20).

    Raises:
        ValueError: It is neither, or negative.
    """
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        msg = f'max_size is a number of bytes or a text like "25 MB" or "25 MiB", not {value!r}'
        raise ValueError(msg)
    unit = match[2].lower()
    base = 1024 if "i" in unit else 1000
    return int(float(match[1]) * base ** _UNITS[unit[:1]])


def sniff(head: bytes) -> str | None:
    """Return the media type that the first bytes prove, or ``None`` when they prove none."""
    if not head:
        return None
    quick, thorough = _matchers()
    matchers = thorough if head.startswith(_CONTAINERS) else quick
    return next((matcher.mime for matcher in matchers if matcher.match(head)), None)


@cache
def _matchers() -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return filetype's matchers without and with those that search a container for what it holds.

    The searching ones take three quarters of the time, and need not be asked about bytes that are no container.
    """
    import filetype

    searching = {*filetype.document_matchers, *(m for m in filetype.video_matchers if m.extension in {"mkv", "webm"})}
    every = tuple(filetype.types)
    return tuple(matcher for matcher in every if matcher not in searching), every


def resolve_type(head: bytes, claimed: str | None, filename: str) -> tuple[str, bool]:
    """Return the type to store, and whether the bytes prove it.

    What the bytes prove wins. Otherwise the claim counts, then the filename's extension, both as hints only.
    """
    proven = sniff(head)
    if proven:
        return proven, True
    hint = (claimed or "").split(";")[0].strip().lower()
    if not _MEDIA_TYPE.match(hint) or hint == OCTET_STREAM:
        hint = _by_extension(safe_extension(filename))
    return hint, False


@lru_cache(maxsize=256)
def _by_extension(extension: str) -> str:
    import mimetypes  # not needed to import the package

    return mimetypes.guess_type(f"file{extension}", strict=False)[0] or OCTET_STREAM


class Rules(NamedTuple):
    """The checks of one column.

    Attributes:
        max_size: Most bytes a file may have.
        content_types: Media types, or patterns such as ``image/*``, of which one must match.
        field: The column's name, for messages.
    """

    max_size: int | None = None
    content_types: tuple[str, ...] = ()
    field: str = ""

    def check_size(self, size: int, filename: str = "") -> None:
        """Refuse more than ``max_size`` bytes.

        Raises:
            FileTooLargeError: More bytes than allowed have passed.
        """
        if self.max_size is not None and size > self.max_size:
            what = f"{filename!r} " if filename else "the file "
            msg = f"{self.field or 'file'}: {what}has more than the {self.max_size:,} bytes allowed ({size:,} or more)"
            raise FileTooLargeError(msg, field=self.field, limit=self.max_size, actual=size)

    def check_type(self, content_type: str, *, proven: bool) -> None:
        """Refuse a type that matches no pattern, or that only the client vouches for though its files carry a signature.

        Raises:
            ContentTypeError: The type is not allowed.
        """
        if not self.content_types:
            return
        matches = any(fnmatchcase(content_type, pattern) for pattern in self.content_types)
        if matches and (proven or not _SIGNED.match(content_type)):
            return
        allowed = ", ".join(self.content_types)
        doubt = f"it is called {content_type} but its first bytes are not" if matches else f"it is {content_type}"
        msg = f"{self.field or 'file'}: only {allowed} is allowed; {doubt}"
        raise ContentTypeError(msg, field=self.field, limit=self.content_types, actual=content_type)


NO_RULES = Rules()
