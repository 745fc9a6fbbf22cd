"""Conditional requests: RFC 9110, section 13. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from enum import Enum
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})\Z")
_OPAQUE = re.compile(r"[\x21\x23-\x7e]{1,1000}\Z")
_TAG = re.compile(r'[ \t]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|\Z)|[ \t]*,')
# The three forms that a recipient accepts (section 5.6.7); the parser alone accepts much that is not an HTTP date.
_DATE = re.compile(
    r"(?:[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
    r"|[A-Z][a-z]{5,8}, [0-9]{2}-[A-Z][a-z]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4})\Z"
)


class ConditionOutcome(Enum):
    """The result of a request's preconditions, and the status of the response."""

    PROCEED = 200
    NOT_MODIFIED = 304
    FAILED = 412


class Validators(NamedTuple):
    """What identifies a version of a file.

    Attributes:
        etag: The entity tag, quoted; a weak one with ``W/``.
        modified: When the version was stored, in whole seconds since the Unix epoch.
        settled: True if no other version can have the same time, so that the time is a strong validator (section 8.8.2.2).
    """

    etag: str | None = None
    modified: int | None = None
    settled: bool = False


def entity_tag(checksum: str | None, etag: str | None) -> str | None:
    """Return the quoted entity tag of a file, or ``None``.

    The checksum is preferred: it stays the same when a file moves to another store, and changes when the bytes do.

    Args:
        checksum: ``sha256:`` and 64 hex digits.
        etag: The store's tag, with or without quotes.
    """
    digest = _SHA256.match(checksum or "")
    if digest:
        return f'"{digest[1]}"'
    weak = "W/" if etag and etag.startswith("W/") else ""
    bare = (etag or "").removeprefix("W/").strip('"')
    return f'{weak}"{bare}"' if _OPAQUE.match(bare) else None


def http_date(seconds: float) -> str:
    """Return a time in HTTP's format (section 5.6.7)."""
    return formatdate(int(seconds), usegmt=True)


def evaluate(method: str, headers: Mapping[str, str], known: Validators) -> ConditionOutcome:
    """Evaluate preconditions in the order of section 13.2.2, except ``If-Range``.

    Args:
        method: ``GET`` and ``HEAD`` read the file; other methods would change it.
        headers: The request's headers, with names in lower case.
        known: The validators of the current file.
    """
    reads = method in {"GET", "HEAD"}
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if match is not None:
        if not _lists(match, known.etag, strong=True):
            return ConditionOutcome.FAILED
    elif not _unmodified_since(headers.get("if-unmodified-since"), known.modified, default=True):
        return ConditionOutcome.FAILED
    if none_match is not None:
        if _lists(none_match, known.etag, strong=False):
            return ConditionOutcome.NOT_MODIFIED if reads else ConditionOutcome.FAILED
    elif reads and _unmodified_since(headers.get("if-modified-since"), known.modified, default=False):
        return ConditionOutcome.NOT_MODIFIED
    return ConditionOutcome.PROCEED


def if_range_holds(headers: Mapping[str, str], known: Validators) -> bool:
    """Return True if a ``Range`` may be used (section 13.1.5)."""
    value = headers.get("if-range")
    if value is None:
        return True
    value = value.strip(" \t")
    if value.startswith(('"', "W/")):
        return value == known.etag and not value.startswith("W/")
    return known.settled and known.modified is not None and _seconds(value) == known.modified


def _lists(value: str, etag: str | None, *, strong: bool) -> bool:
    """Return True if a list of entity tags, or ``*``, has ours (section 8.8.3.2)."""
    if value.strip(" \t") == "*":
        return True  # the file exists
    place = 0
    tags: list[str] = []
    while place < len(value):
        found = _TAG.match(value, place)
        if found is None:
            return False
        tags.append(found[1] or "")
        place = found.end()
    if etag is None or (strong and etag.startswith("W/")):
        return False
    return any(tag == etag if strong else tag.removeprefix("W/") == etag.removeprefix("W/") for tag in tags)


def _unmodified_since(value: str | None, modified: int | None, *, default: bool) -> bool:
    since = None if value is None or modified is None else _seconds(value)
    return default if since is None or modified is None else modified <= since


def _seconds(value: str) -> int | None:
    """Return a date in seconds since the Unix epoch, or ``None`` if it is invalid."""
    if not _DATE.match(value):
        return None
    try:
        date = parsedate_to_datetime(value).replace(tzinfo=UTC)  # asctime's form has no zone; all forms mean UTC
    except ValueError:  # no such day
        return None
    return int((date - _EPOCH).total_seconds())
