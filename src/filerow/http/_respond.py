"""From an object and a request to a response: preconditions, range, file. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from filerow._file.variant import LargeVariant
from filerow.backends.base import StorageBackend
from filerow.http._conditional import ConditionOutcome, Validators, entity_tag, evaluate, http_date, if_range_holds
from filerow.http._ranges import UNSATISFIABLE, requested_range
from filerow.http._reply import Body, Headers, Reply, RequestHeaders, lowered, plain

READS = ("GET", "HEAD")
_ANSWERS = frozenset({*READS, "POST", "PUT", "PATCH", "DELETE", "QUERY"})
"""Methods of handlers that may respond with a file."""


class Representation(NamedTuple):
    """The data for the response to a read request.

    Attributes:
        backend: Where the object is.
        path: Its path.
        size: Its length in bytes.
        known: The validators of this version.
        headers: How a browser may show it, and who may cache it.
        cache_control: The value of ``Cache-Control``.
        file: What clients may see of the file, for those who listen to events.
    """

    backend: StorageBackend
    path: str
    size: int
    known: Validators
    headers: Headers
    cache_control: str
    file: Mapping[str, Any] | None = None


def validators(checksum: str | None, etag: str | None, last_modified: float | None, *, settled: bool = False) -> Validators:
    """Return a version's validators; no time in the future (RFC 9110, 8.8.2.1)."""
    modified = None if last_modified is None else int(min(last_modified, time.time()))
    return Validators(entity_tag(checksum, etag), modified, settled)


def answers(method: str) -> bool:
    """Return True if a handler of this method may respond with a file."""
    return method in _ANSWERS


def not_allowed(*methods: str) -> Reply:
    """Refuse a method (status 405)."""
    return plain(405, ("allow", ", ".join(methods)))


def respond(what: Representation, method: str, headers: RequestHeaders) -> Reply:
    """Respond to a request with a stored object.

    A handler of any method may respond like this. Preconditions and ranges count only for ``GET`` and ``HEAD`` (RFC 9110,
    sections 13.2.1 and 14.2): other methods have already done their work.
    """
    if not answers(method):
        return not_allowed(*READS)
    asked = lowered(headers) if method in READS else {}
    outcome = evaluate(method, asked, what.known)
    identity = (*_validator_headers(what.known), ("cache-control", what.cache_control))
    if outcome is ConditionOutcome.FAILED:
        return plain(outcome.value, *identity)
    if outcome is ConditionOutcome.NOT_MODIFIED:
        return Reply(outcome.value, identity)  # no content-length: it would mean the file's (section 8.6)
    part = None
    if method == "GET" and if_range_holds(asked, what.known):
        part = requested_range(asked.get("range"), what.size)
    if part is UNSATISFIABLE:
        return plain(416, ("content-range", f"bytes */{what.size}"), ("accept-ranges", "bytes"), *identity)
    start, end = part or (0, what.size)
    found: Headers = (*what.headers, *identity, ("accept-ranges", "bytes"), ("content-length", str(end - start)))
    if part is not None:
        found = (*found, ("content-range", f"bytes {start}-{end - 1}/{what.size}"))
    body = Body(what.backend, what.path, start, end, what.file) if method != "HEAD" and end > start else b""
    return Reply(outcome.value if part is None else 206, found, body)


def respond_with_variant(id_: str, method: str, headers: RequestHeaders, cache_control: str) -> Headers | Reply:
    """Return what identifies a variant, or the response that needs none of its bytes.

    Its tag is weak (RFC 9110, section 8.8.1): whoever makes it again, perhaps with another Pillow, gets an equal image of other
    bytes. So no part of it is ever sent.

    Args:
        id_: The variant's.
        method: The request's method.
        headers: The request's headers.
        cache_control: The value of ``Cache-Control``.
    """
    known = Validators(f'W/"{id_}"')
    identity = (*_validator_headers(known), ("cache-control", cache_control))
    outcome = evaluate(method, lowered(headers) if method in READS else {}, known)
    if outcome is ConditionOutcome.NOT_MODIFIED:
        return Reply(outcome.value, identity)
    return plain(outcome.value, *identity) if outcome is ConditionOutcome.FAILED else identity


def whole(content: bytes | LargeVariant, method: str, headers: Headers) -> Reply:
    """Respond with all of a variant."""
    if isinstance(content, LargeVariant):
        body: Body | bytes = Body(content.backend, content.path, 0, content.size, reported=False)
        length = content.size
    else:
        body, length = content, len(content)
    return Reply(200, (*headers, ("content-length", str(length))), b"" if method == "HEAD" else body)


def _validator_headers(known: Validators) -> Headers:
    found: Headers = ()
    if known.etag is not None:
        found = (*found, ("etag", known.etag))
    if known.modified is not None:
        found = (*found, ("last-modified", http_date(known.modified)))
    return found
