"""How a client may upload: what each store binds of size, type and expiry."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from filerow._execution.steps import Call, Steps
from filerow._media_types import OCTET_STREAM
from filerow._presentation import is_shown, present
from filerow.backends._types import SignRequest
from filerow.backends.base import StorageBackend
from filerow.direct._claims import Claim, missing_of
from filerow.exceptions import ClaimError, FileTooLargeError, UnsupportedOperationError

S3Method: TypeAlias = Literal["POST", "PUT"]

_LADDER: tuple[tuple[str, ...], ...] = (("content_type", "content_length"), ("content_type",), ())
"""What a signed PUT is asked to bind, the most first; not every store can, and redeeming the claim checks all of it anyway."""


_TYPED = tuple(names for names in _LADDER if "content_type" in names)
"""The same where everybody may open an upload: one of any type could be a page."""


class TicketPart(NamedTuple):
    """One part of a multipart upload: PUT the bytes ``[start, end)`` to ``url``.

    Attributes:
        number: Its number, from 1 on.
        url: Where to; empty while the part's checksum is missing, see ``Ticket.checksum``.
        start: Offset of its first byte.
        end: Offset after its last byte.
        headers: To be sent with the request.
    """

    number: int
    url: str
    start: int
    end: int
    headers: Mapping[str, str] = MappingProxyType({})


class Ticket(NamedTuple):
    """What a client needs to upload one file.

    Attributes:
        method: ``PUT`` (the body is the file), ``POST`` (a form: the fields, then the file as ``file``), or ``PARTS``.
        url: Where to; empty for ``PARTS``.
        headers: To be sent with the request.
        fields: The form's fields, for ``POST``.
        claim: The token to give back when the upload has succeeded.
        expires_at: Seconds since the Unix epoch until which URL and claim are good.
        parts: For ``PARTS``: what is still to be uploaded, each by a PUT of its own.
        part_size: For ``PARTS``: bytes of each part but the last.
        size: Bytes of the whole file.
        checksum: ``sha256`` if the store demands a checksum that was not given yet. Then there is no URL: ask for it with
            ``resume``, giving ``checksum``, or for ``PARTS`` ``checksums`` by the numbers of the parts that are to be sent next.
    """

    method: Literal["PUT", "POST", "PARTS"]
    url: str
    headers: Mapping[str, str]
    fields: Mapping[str, str]
    claim: str
    expires_at: float
    parts: tuple[TicketPart, ...] = ()
    part_size: int = 0
    size: int = 0
    checksum: Literal["", "sha256"] = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the ticket as JSON values, for the client."""
        return {
            **self._asdict(),
            "headers": dict(self.headers),
            "fields": dict(self.fields),
            "parts": [{**part._asdict(), "headers": dict(part.headers)} for part in self.parts],
        }


def start_steps(
    backend: StorageBackend, claim: Claim, multipart_from: int, part_size: int, tags: Mapping[str, str]
) -> Steps[Claim]:
    """Begin a multipart upload for a large file; return the claim for it.

    Raises:
        FileTooLargeError: The store cannot take, or copy, so large a file.
        UnsupportedOperationError: Clients cannot upload to this backend.
    """
    if not is_s3(backend):
        return claim
    from filerow.backends.obstore.backend import direct_of
    from filerow.backends.obstore.s3 import LEAST_PART, MOST_BYTES, MOST_PARTS

    if claim.size > MOST_BYTES:
        msg = f"{claim.filename!r} has {claim.size:,} bytes; S3 copies no more than {MOST_BYTES:,} in one request"
        raise FileTooLargeError(msg, limit=MOST_BYTES, actual=claim.size)
    direct = direct_of(backend)
    direct.check_open()
    if claim.size < multipart_from or claim.size <= LEAST_PART:
        return claim
    upload_id = yield direct.call(direct.start, claim.path, *present(claim.content_type, claim.filename), tags)
    part = max(part_size, LEAST_PART, -(-claim.size // MOST_PARTS))
    return claim._replace(upload_id=upload_id, part_size=part)


def ticket_steps(
    backend: StorageBackend,
    claim: Claim,
    token: str,
    s3_method: S3Method,
    tags: Mapping[str, str],
    checksums: Mapping[int, str] = MappingProxyType({}),
) -> Steps[Ticket]:
    """Return what the client needs for all that is not uploaded yet.

    Args:
        backend: Where to.
        claim: What may be uploaded.
        token: The claim, sealed.
        s3_method: How, on S3.
        tags: What an upload to S3 is to be tagged with.
        checksums: ``sha256:<hex>`` of the parts that are to be sent next, by number.
    """
    seconds = max(1, int(claim.expires_at - time.time()))
    if claim.upload_id:
        return (yield from _parts_steps(backend, claim, token, seconds, checksums))
    fields: dict[str, str] = {}
    headers: dict[str, str] = {}
    if not is_s3(backend):
        url, headers = yield from _signed_steps(backend, claim, seconds)
        return Ticket("PUT", url, headers, fields, token, claim.expires_at, size=claim.size)
    from filerow.backends.obstore.backend import direct_of
    from filerow.backends.obstore.s3 import Bound

    direct = direct_of(backend)
    if direct.needs_checksum and claim.checksum is None:
        return Ticket(s3_method, "", headers, fields, token, claim.expires_at, size=claim.size, checksum="sha256")
    bound = Bound(*present(claim.content_type, claim.filename), claim.size, claim.checksum, seconds, tags)
    if s3_method == "POST":
        url, fields = yield direct.call(direct.post, claim.path, bound)
    else:
        url, headers = yield direct.call(direct.put, claim.path, bound)
    return Ticket(s3_method, url, headers, fields, token, claim.expires_at, size=claim.size)


def _signed_steps(backend: StorageBackend, claim: Claim, seconds: int) -> Steps[tuple[str, dict[str, str]]]:
    """Return URL and headers of a PUT that binds as much as the backend can."""
    refused: UnsupportedOperationError | None = None
    kind, ladder = present(claim.content_type, claim.filename).content_type, _LADDER
    if backend.public_urls is not None:  # everybody may open what is uploaded, before anybody has looked at it
        kind, ladder = kind if is_shown(kind) else OCTET_STREAM, _TYPED
    values: dict[str, Any] = {"content_type": kind, "content_length": claim.size}
    for names in ladder:
        request = SignRequest("PUT", seconds, create_only=True)._replace(**{name: values[name] for name in names})
        try:
            url = yield Call(backend.sign, backend.sign_async, (claim.path, request), {})
        except UnsupportedOperationError as error:
            refused = refused or error
        else:
            return url, {"Content-Type": kind, **backend.upload_headers(request)}
    assert refused is not None  # noqa: S101 - the ladder has steps
    if ladder is _TYPED:
        msg = (
            "its files have public URLs, and the store holds no upload to a content type, so a client could publish a page; let "
            f"clients upload to a backend without public_url= and cdn= ({refused.message})"
        )
        raise UnsupportedOperationError(msg, operation="sign", backend=backend.key, path=claim.path)
    raise refused


def _parts_steps(backend: StorageBackend, claim: Claim, token: str, seconds: int, checksums: Mapping[int, str]) -> Steps[Ticket]:
    from filerow.backends.obstore.backend import direct_of
    from filerow.backends.obstore.s3 import part_of

    direct = direct_of(backend)
    there = yield direct.call(direct.parts, claim.path, claim.upload_id)
    if there is None:
        raise ClaimError("this upload was finished or aborted; begin a new one", code="upload-missing")
    wanted = missing_of(claim, there)
    known = {part.number: part_of(part.end - part.start, checksums.get(part.number)) for part in wanted}
    ready = {number: part for number, part in known.items() if part.checksum or not direct.needs_checksum}
    urls = yield direct.call(direct.part_urls, claim.path, claim.upload_id, ready, seconds)
    headers = {number: {"x-amz-checksum-sha256": part.checksum} for number, part in ready.items() if part.checksum}
    parts = tuple(
        TicketPart(part.number, urls.get(part.number, ""), part.start, part.end, headers.get(part.number, {})) for part in wanted
    )
    left: Literal["", "sha256"] = "sha256" if len(ready) < len(known) else ""
    return Ticket("PARTS", "", direct.upload_headers, {}, token, claim.expires_at, parts, claim.part_size, claim.size, left)


def abort_steps(backend: StorageBackend, claim: Claim) -> Steps[None]:
    """Remove what a client has uploaded so far; a file made of it stays."""
    if claim.upload_id:
        from filerow.backends.obstore.backend import direct_of

        direct = direct_of(backend)
        yield direct.call(direct.abort, claim.path, claim.upload_id)
    yield Call(backend.delete, backend.delete_async, (claim.path,), {})


def is_s3(backend: StorageBackend) -> bool:
    """Return True if clients upload to a backend as to S3, by forms and in parts."""
    if backend.protocol != "s3":
        return False
    from filerow.backends.obstore import ObstoreBackend

    return isinstance(backend, ObstoreBackend)
