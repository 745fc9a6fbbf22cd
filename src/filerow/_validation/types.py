"""Which media type a file really has: recognised by its first bytes, or else a hint by its claim or its name."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from filerow._paths import safe_extension

__all__ = ("OCTET_STREAM", "SIGNED", "SVG", "called", "resolve_type", "sniff")

OCTET_STREAM = "application/octet-stream"
SVG = "image/svg+xml"

_CONTAINERS = (b"PK", b"\xd0\xcf\x11\xe0", b"\x1a\x45\xdf\xa3")
"""What ZIP (OOXML, OpenDocument), OLE (older Office) and EBML (Matroska, WebM) files start with."""
# Types whose files start with a signature: claiming one without it is not believed.
SIGNED = re.compile(r"^(image/|audio/|video/|font/|application/(pdf|zip|gzip|x-7z|x-rar|vnd\.openxml))")
_MEDIA_TYPE = re.compile(r"^[\w!#$&^.+-]+/[\w!#$&^.+-]+$", re.ASCII)

# Signatures that filetype does not know.
_MORE = ((b"II+\0\x08\0", "image/tiff"), (b"MM\0+\0\x08", "image/tiff"), (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"))
_HEIF = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic-sequence",
    b"hevx": "image/heic-sequence",
    b"mif1": "image/heif",
    b"msf1": "image/heif-sequence",
}

# An SVG document, from its first byte (XML 1.0, section 2.8): declaration, instructions, comments and a DOCTYPE may come before
# its root. Every repetition is possessive, so that no input makes the search go back.
_SVG = re.compile(
    rb"""(?:\xef\xbb\xbf)?
    (?: \s++ | <\? .*? \?> | <!-- .*? -->
      | <!DOCTYPE \s++ (?:[\w.-]++:)? svg (?= [\s\[>] )
        (?: [^\[>"']++ | "[^"]*+" | '[^']*+'
          | \[ (?: <!-- .*? --> | "[^"]*+" | '[^']*+' | [^\]"'<]++ | <(?!!--) )*+ \] )*+ >
    )*+
    < (?:[\w.-]++:)? svg [\s/>]""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def sniff(head: bytes) -> str | None:
    """Return the media type that the first bytes prove, or ``None`` when they prove none."""
    if not head:
        return None
    quick, thorough = _matchers()
    matchers = thorough if head.startswith(_CONTAINERS) else quick
    return next((matcher.mime for matcher in matchers if matcher.match(head)), None) or _sniff_more(head)


def _sniff_more(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return _HEIF.get(head[8:12])
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "replace").encode()
    if _SVG.match(head):
        return SVG
    return next((mime for signature, mime in _MORE if head.startswith(signature)), None)


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

    What the bytes prove wins. Otherwise the claim counts, then the filename's extension, both as hints only; a type whose files
    always carry a signature is not believed without it, and the file is ``application/octet-stream``. Plain text stays plain text
    even when it is the source of an SVG: that is harmless, the other way round is not.
    """
    proven = sniff(head)
    if proven and proven != SVG:
        return proven, True
    hint = called(claimed, filename)
    if proven and hint != "text/plain":
        return proven, True
    return (OCTET_STREAM if SIGNED.match(hint) else hint), False


def called(claimed: str | None, filename: str) -> str:
    """Return the type that a client calls a file, or else its extension."""
    hint = (claimed or "").split(";")[0].strip().lower()
    if not _MEDIA_TYPE.match(hint) or hint == OCTET_STREAM:
        hint = _by_extension(safe_extension(filename))
    return hint


@lru_cache(maxsize=256)
def _by_extension(extension: str) -> str:
    import mimetypes  # not needed to import the package

    return mimetypes.guess_type(f"file{extension}", strict=False)[0] or OCTET_STREAM
