"""Decides how a browser gets an uploaded file: shown, or only saved.

A page that a browser shows from our origin can do there what its user can. So only types that no browser executes are shown, and
all others are saved. The same decision is stored with an object, bound in its signed URLs, and made by our own route; every
header that says it comes from here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from filerow._media_types import LONGEST_TYPE, OCTET_STREAM, bare_type, canonical
from filerow._paths import content_disposition

# No "+": types that end in "+xml" are XML for a browser (WHATWG MIME Sniffing, section 4.6), with the scripts it may hold.
_SHOWN = re.compile(r"(?:image/(?!svg)|audio/|video/)[a-z0-9._-]+\Z|application/pdf\Z|text/plain\Z")

# A Content-Disposition does not keep <script src>, <link> or <object> from using a file. What these would take from our origin is
# called a row of bytes, which together with "nosniff" they refuse; a download has its filename all the same. SVG keeps its type,
# for <img> needs it and runs no script.
_USED_AS_CODE = re.compile(
    r"(?!image/svg\+xml\Z)(?:.*(?:\+xml|/xml(?:-.*)?|/xslt?|html|(?:java|ecma|j|live)script(?:[0-9.]*))"
    r"|text/(?:css|x-component|cache-manifest)|multipart/.*|message/.*|application/(?:x-shockwave-flash|x-mimearchive|wasm))\Z"
)

_SANDBOX = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox"
# A player is a page that loads its own address again, by CORS, which a sandbox of another origin refuses. Scripts stay off.
_PLAYER = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; sandbox allow-same-origin"
# Not every viewer of PDF works in a sandbox, and each is one: what a PDF can script is the viewer, never a page of our origin.
_VIEWER = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"


class Presentation(NamedTuple):
    """What to store with an object or bind in its URL for safe answers.

    Attributes:
        content_type: The media type; ``application/octet-stream`` for types that a page could use as code.
        content_disposition: ``inline`` or ``attachment``, with the filename (RFC 6266).
    """

    content_type: str
    content_disposition: str


def is_shown(content_type: str | None) -> bool:
    """Return True if a browser may show this type: most images, media, PDF, text."""
    bare = bare_type(content_type)
    return _SHOWN.match(bare) is not None and _SHOWN.match(canonical(bare)) is not None


def present(content_type: str | None, filename: str, *, inline: bool = True) -> Presentation:
    """Return how a file is given to a browser.

    Args:
        content_type: What it is.
        filename: What it is called when it is saved.
        inline: Show it, if its type may be shown; no argument shows another type.
    """
    stored, shown = _judged((content_type or "")[:LONGEST_TYPE])
    return Presentation(stored, content_disposition(filename, inline=inline and shown))


@lru_cache(maxsize=256)  # there are few types, and a file is stored with each
def _judged(content_type: str) -> tuple[str, bool]:
    """Return the type to store, by canonical name, and whether it may be shown."""
    bare = bare_type(content_type) or OCTET_STREAM
    as_code = _USED_AS_CODE.match(bare) or _USED_AS_CODE.match(canonical(bare))
    return OCTET_STREAM if as_code else canonical(bare), is_shown(bare)


def safe_headers(content_type: str | None, filename: str, *, inline: bool = True) -> tuple[tuple[str, str], ...]:
    """Return headers that keep a browser from executing a file; see :func:`present`."""
    shown = present(content_type, filename, inline=inline)
    return (
        # A charset keeps browsers from guessing one.
        ("content-type", "text/plain; charset=utf-8" if shown.content_type == "text/plain" else shown.content_type),
        ("content-disposition", shown.content_disposition),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", _policy(shown.content_type)),
    )


def _policy(bare: str) -> str:
    if bare.startswith(("audio/", "video/")):
        return _PLAYER
    return _VIEWER if bare == "application/pdf" else _SANDBOX
