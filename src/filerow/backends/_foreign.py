"""What the backends on other people's clients share."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from filerow._buffers import Buffer
from filerow.backends._paths import check_path
from filerow.exceptions import ContentError, InvalidPathError

PART = 5 << 20
"""Bytes in one part of a multipart upload; content up to this size goes in one request."""

NOT_THERE = "the store says that it has written this object, and a moment later that there is none"
"""It lags behind, or something between answered in its place. Which of the two, and so what is there, nobody knows."""


def contiguous(buffer: object) -> Buffer:
    """Return the same bytes as obstore takes them: flat, contiguous, unsigned."""
    if isinstance(buffer, (bytes, bytearray)):
        return buffer
    if not isinstance(buffer, memoryview):
        msg = f"content must come in bytes, bytearray or memoryview, not {type(buffer).__name__}"
        raise ContentError(msg)  # str above all: obstore would read it as the name of a local file
    if buffer.c_contiguous:
        return buffer if buffer.format == "B" and buffer.ndim == 1 else buffer.cast("B")
    return buffer.tobytes()


def peek(chunks: Iterator[Buffer], limit: int = PART) -> bytes | Iterator[Buffer]:
    """Return content of at most ``limit`` bytes, else an iterator over all of it."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(own(chunk))
        size += len(held[-1])
        if size > limit:
            return chain(held, chunks)
    return b"".join(held)


def own(chunk: Buffer) -> bytes:
    """Return bytes that do not change when the source fills its buffer again."""
    return chunk if isinstance(chunk, bytes) else bytes(contiguous(chunk))


def staging_path(path: str) -> str:
    """Return a free path beside ``path``; a sweep finds what a crash leaves there."""
    folder, slash, name = path.rpartition("/")
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62  # version and variant of a UUID 7 (RFC 9562)
    shard = _SHARD.match(name)  # of a generated path; a sweep asks whether name and folder agree
    return f"{folder}{slash}{value:032x}" if shard is None else f"{folder}{slash}{value >> 32:024x}{shard[1]}"


_SHARD = re.compile(r"[0-9a-f]{24}([0-9a-f]{8})(?:\.|\Z)")


_INEXACT = re.compile(r"\A/|/\Z|//|[\x00-\x1f\x7f\ud800-\udfff]")
_LOCAL_STAGING = re.compile(r"#\d+(?:/|\Z)")


def check_exact(path: str, protocol: str) -> None:
    """Check that obstore, which strips slashes, would look for this very path.

    Raises:
        FileNotFoundError: It cannot express this path, so there is no object either.
    """
    if _INEXACT.search(path) or (protocol == "file" and _LOCAL_STAGING.search(path)):
        raise FileNotFoundError(path)


def is_portable(path: str) -> bool:
    """Return True if Filerow could choose this path, so its name cannot be at fault."""
    try:
        check_path(path, "", "")
    except InvalidPathError:
        return False
    return True


_SECRET = re.compile(
    r"secret|token|passw(?:or)?d|passphrase|account_key|access_key(?!_id)|connection_string|sas|service_account|credential|private"
    r"|authoriz"
)
_KEY_IN_CONNECTION = re.compile(r"(?:AccountKey|SharedAccessSignature)=([^;]{4,})")  # of a connection string of Azure
_QUERY = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?\"'<>]*)\?[^\s\"'<>]*", re.IGNORECASE)
_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s\"'<>]+@", re.IGNORECASE)


def secrets_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the values that must never be shown."""
    found: list[str] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            found += secrets_of(value)
        elif isinstance(value, str) and len(value) > 3 and _SECRET.search(str(name).lower()):  # noqa: PLR2004
            found += [value, *_KEY_IN_CONNECTION.findall(value)]
    return tuple(found)


def not_pickled(backend: object) -> TypeError:
    """Return the error of pickling a backend whose client holds credentials."""
    return TypeError(f"{backend!r} is not pickled, for its client holds the store's credentials; make it where it is needed")


def clean_message(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Shorten a native error to one line, without secrets and signed queries."""
    text = text.partition("\n\nDebug source")[0]
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _NOISE.sub("", _PAGE.sub(_page, _XML_ERROR.sub(_in_words, text)))
    text = " ".join(_USERINFO.sub(r"\1***@", _QUERY.sub(r"\1?…", text)).split())
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"


_MOST = 1_000
# What is another with each request, so that the same failure of many objects would be as many messages.
_NOISE = re.compile(
    r" in [\d.]+(?:ns|µs|ms|s)\b(?:, after \d+ retries, max_retries: \d+, retry_timeout: [\d.]+\w*)?"
    r"|\bRequestId:\s*[\w-]+|\bTime:\s*[\d:.TZ-]+"
)
_XML_ERROR = re.compile(r"(?:<\?xml[^>]*>\s*)?<((?:\w+:)?)Error\b[^>]*>.*?</\1Error>", re.DOTALL)
_IN_XML = re.compile(r"<(?:\w+:)?(Code|Message)>([^<]*)<")
_PAGE = re.compile(r"<(?:!doctype\s+html|html)\b.*", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>([^<]{1,100})", re.IGNORECASE)


def _in_words(found: re.Match[str]) -> str:
    """Return an XML error's code and message; the rest may be the request itself."""
    parts = dict(reversed(_IN_XML.findall(found[0])))
    return _unescaped(": ".join(filter(None, (parts.get("Code"), parts.get("Message"))))) or "an error without a code"


def _page(found: re.Match[str]) -> str:
    """Return the title of a web page, as a proxy may send for the store."""
    title = _TITLE.search(found[0])
    titled = f" titled {_unescaped(title[1].strip())!r}" if title else ""
    return f"a web page{titled}, which comes from a proxy or another server than the store"


def _unescaped(text: str) -> str:
    import html  # its table of entities takes long to load, and only errors need it

    return html.unescape(text)
