"""Finds the media type of a file by its bytes; its claim and name are hints.

The first bytes mostly prove it (``signatures``). Formats that hold others are looked into (``containers``), within bounds, as far
as the content can be seen.
"""

from __future__ import annotations

import re
from functools import cache

from filerow._media_types import (
    CSV,
    EXCEL,
    IN_ZIP,
    OCTET_STREAM,
    REFINED,
    SVG,
    TSV,
    claimed_type,
    essence,
    is_signed,
    may_be_called,
)
from filerow._validation.containers.asf import SIGNATURE as ASF
from filerow._validation.containers.asf import TYPES as IN_ASF
from filerow._validation.containers.asf import asf_type
from filerow._validation.containers.isobmff import TYPES as IN_BOXES
from filerow._validation.containers.isobmff import isobmff_type, quicktime_type
from filerow._validation.containers.matroska import SIGNATURE as EBML
from filerow._validation.containers.matroska import TYPES as IN_MATROSKA
from filerow._validation.containers.matroska import matroska_type
from filerow._validation.containers.ole import SIGNATURE as OLE
from filerow._validation.containers.ole import TYPES as IN_OLE
from filerow._validation.containers.ole import ole_type
from filerow._validation.containers.zip import SIGNATURES as ZIPS
from filerow._validation.containers.zip import zip_type
from filerow._validation.signatures import TAG, by_first_bytes, by_signature, is_text, is_unmarked_utf_16, tagged_sound
from filerow._validation.window import ReadAt

_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})

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


def sniff(head: bytes, read_at: ReadAt | None = None, size: int | None = None) -> str | None:
    """Return the canonical media type that a file's bytes prove, or ``None``.

    Args:
        head: Its first bytes.
        read_at: Gives any of the bytes that can be seen; only the first ones when left out.
        size: How many there are, where known.
    """
    if read_at is None:
        read_at = _reader(head)
    if is_container(head):
        found = _sniff_container(head, read_at, size)
        if found:
            return found
    found = by_signature(head)
    if found:
        return found
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "replace").encode()
    return SVG if _SVG.match(head) else None


@cache
def recognised() -> frozenset[str]:
    """Return the types that bytes prove, except a few documents in a ZIP."""
    refined = frozenset().union(*REFINED.values())
    return by_first_bytes() | IN_ASF | IN_BOXES | IN_MATROSKA | IN_OLE | IN_ZIP | refined | {SVG}


def is_announced_honestly(announced: str, actual: str) -> bool:
    """Return True if an honest client may announce a file so.

    A name that no bytes prove says no more than its family: machines have many for the same file. Text is what it is called.
    """
    family = announced.partition("/")[0]
    if announced not in recognised() and family == actual.partition("/")[0] != "text" and actual != SVG:
        return True
    if actual == OCTET_STREAM and announced.startswith(("audio/", "font/", "image/", "video/")):
        return announced not in recognised()
    return may_be_called(announced, actual)


def is_container(head: bytes) -> bool:
    """Return True for a file that more than its first bytes are read of."""
    return head.startswith((*ZIPS, OLE, EBML, ASF, TAG)) or head[4:8] in _BOXES


def _sniff_container(head: bytes, read_at: ReadAt, size: int | None) -> str | None:
    if head.startswith(ZIPS):
        return zip_type(head, read_at, size)
    if head.startswith(OLE):
        return ole_type(head, read_at, size)
    if head.startswith(EBML):
        return matroska_type(read_at, size)
    if head.startswith(ASF):
        return asf_type(read_at, size)
    if head.startswith(TAG):
        return tagged_sound(head, read_at)
    return isobmff_type(head, read_at, size) if head[4:8] == b"ftyp" else quicktime_type(head, read_at, size)


def _reader(head: bytes) -> ReadAt:
    return lambda offset, length: head[offset : offset + length]


def resolve_type(
    head: bytes, claimed: str | None, filename: str, read_at: ReadAt | None = None, size: int | None = None
) -> tuple[str, bool]:
    """Return the canonical type to store, and True if the bytes prove it.

    What the bytes prove wins; where they leave open which one of a few kinds it is (a template, a document with a password), the
    name does. Otherwise the claim counts, then the filename's extension, both as hints only; a type whose files always carry a
    signature is not believed without it, and the file is ``application/octet-stream``. Plain text stays plain text even when it
    is the source of an SVG: that is harmless, the other way round is not.
    """
    proven = sniff(head, read_at, size)
    hint = claimed_type(claimed, filename)
    if proven and proven != SVG:
        return (hint if hint in REFINED.get(proven, ()) else proven), True
    if proven and hint != "text/plain":
        return proven, True
    if hint in {CSV, TSV} and essence(claimed) == EXCEL and not (is_text(head) or is_unmarked_utf_16(head)):
        hint = EXCEL
    return (OCTET_STREAM if is_signed(hint) else hint), False
