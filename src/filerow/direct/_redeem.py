"""How a client's finished upload becomes a file, once.

The client keeps a URL for the path it uploads to until that expires, so the object there is never what a row gets: redeeming a
claim copies it, create-only, to a second path that the claim names, and checks the copy. Whoever redeems the claim again finds
that path taken; whatever the client uploads afterwards reaches no row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from filerow._buffers import Buffer
from filerow._content import Content, Meter
from filerow._document import Facts
from filerow._execution.steps import Call, Steps, run, run_async
from filerow._execution.threads import in_thread
from filerow._file.transfer import Delete
from filerow._presentation import present
from filerow._registry import storages
from filerow._tokens import Secret, resolve_keys
from filerow._validation.checks import Checks
from filerow._validation.rules import Rules
from filerow._validation.types import OCTET_STREAM
from filerow.backends._types import ObjectInfo
from filerow.direct._claims import Claim, check_redeemable_once, missing_of, parts_of, target_of
from filerow.exceptions import (
    ClaimError,
    ContentTypeError,
    FileValidationError,
    ObjectExistsError,
    ObjectHiddenError,
    ObjectNotFoundError,
)

if TYPE_CHECKING:
    from filerow.backends.base import StorageBackend

__all__ = ("redeem", "redeem_async", "redeem_steps")

_BLOCK = 64 << 10
_LARGEST_BLOCK = 256 << 10
_MOST_REQUESTS = 16
_MOST_READ = 2 << 20

_SAME_TYPES = {
    "application/x-gzip": "application/gzip",
    "application/x-pdf": "application/pdf",
    "application/x-rar": "application/vnd.rar",
    "application/x-rar-compressed": "application/vnd.rar",
    "application/x-zip-compressed": "application/zip",
    "audio/mp3": "audio/mpeg",
    "audio/vnd.wave": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/x-wav": "audio/wav",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-icon": "image/vnd.microsoft.icon",
    "image/x-png": "image/png",
    "video/x-m4v": "video/mp4",
}
"""Names that browsers and recognisers use for the same type."""

_CONTAINERS = frozenset({"application/gzip", "application/zip"})
"""What the bytes of many application types prove to be."""


def redeem(token: str, column: object, secret: Secret | None, *, development: bool) -> Facts:
    """Redeem a token with its column's rules, or with those that it carries; see :func:`redeem_steps`."""
    return run(_token_steps(token, column, secret, development=development))


async def redeem_async(token: str, column: object, secret: Secret | None, *, development: bool) -> Facts:
    """Redeem a token; see :func:`redeem`."""
    return await run_async(_token_steps(token, column, secret, development=development))


def _token_steps(token: str, column: object, secret: Secret | None, *, development: bool) -> Steps[Facts]:
    claim = Claim.unseal(resolve_keys(secret, development=development, user="direct upload"), token)
    if column is None:
        return (yield from redeem_steps(claim, claim.sealed_rules(claim.column.rpartition(".")[2])))
    target = target_of(column)
    claim.check_column(target.name)
    return (yield from redeem_steps(claim, target.rules))


def redeem_steps(claim: Claim, rules: Rules) -> Steps[Facts]:
    """Take what was uploaded, check it, and return the facts of a file that no row owns yet.

    Raises:
        ClaimError: Nothing was uploaded, or something else, or the claim was used before.
        UnsupportedOperationError: The store could let the claim be used twice; what was uploaded stays.
        FileValidationError: The column's rules refuse the file.
    """
    backend = storages.get_backend(claim.backend)
    check_redeemable_once(backend)
    if claim.upload_id:
        yield from _complete_steps(claim, backend)
    uploaded = yield from _check_size_steps(claim, backend)
    copied = yield from _copy_steps(claim, backend)
    check = _UploadCheck(claim, rules, backend)
    try:
        if copied.size is None:
            copied = yield Call(backend.head, backend.head_async, (claim.target,), {})
        _check_headers(claim, copied, backend.protocol)
        yield Call(check.run, check.run_async, (), {})
    except BaseException as error:
        # What the store answered is no verdict on the file: then the upload stays, and the claim can be tried again.
        refused = isinstance(error, ClaimError | FileValidationError)
        upload = {claim.path: uploaded.version_id} if refused else {}
        yield _purge(backend, {claim.target: copied.version_id, **upload})
        raise
    yield _purge(backend, {claim.path: uploaded.version_id})
    return check.facts(copied)


def _complete_steps(claim: Claim, backend: StorageBackend) -> Steps[None]:
    from filerow.backends.obstore.backend import direct_of

    direct = direct_of(backend)
    there = yield direct.call(direct.parts, claim.path, claim.upload_id)
    if there is None:  # completed by an attempt that failed later, or aborted: the object is there, or it is not
        return
    missing = missing_of(claim, there)
    if missing:
        msg = f"the upload is not complete: {len(missing)} of {len(parts_of(claim))} parts are missing; resume it"
        raise ClaimError(msg)
    etags = {part.number: there[part.number][1] for part in parts_of(claim)}
    yield direct.call(direct.complete, claim.path, claim.upload_id, etags)


def _check_size_steps(claim: Claim, backend: StorageBackend) -> Steps[ObjectInfo]:
    """Look at the upload before it is copied, for not every store could bind its size."""
    try:
        info: ObjectInfo = yield Call(backend.head, backend.head_async, (claim.path,), {})
    except ObjectNotFoundError:
        used = yield Call(backend.exists, backend.exists_async, (claim.target,), {})
        raise (_used() if used else _nothing()) from None
    except ObjectHiddenError as error:  # to credentials that may not list, what is missing is forbidden
        raise _nothing() from error
    if info.size != claim.size:
        yield _purge(backend, {claim.path: info.version_id})
        raise _other_size(claim, info.size)
    return info


def _copy_steps(claim: Claim, backend: StorageBackend) -> Steps[ObjectInfo]:
    try:
        return (yield Call(backend.copy, backend.copy_async, (claim.path, claim.target), {}))  # type: ignore[no-any-return]
    except ObjectExistsError:
        raise _used() from None
    except ObjectNotFoundError:  # somebody else was faster, between the last step and this one
        raise _used() from None


def _check_headers(claim: Claim, info: ObjectInfo, protocol: str) -> None:
    """Refuse an object that its store would serve as another type, for not every store could bind the type."""
    stored = present(claim.content_type, claim.filename).content_type
    if info.size != claim.size:
        raise _other_size(claim, info.size)
    # Some S3-compatible stores put a guess in the place of a type that says nothing; there the disposition is bound too.
    guessed = protocol == "s3" and stored == OCTET_STREAM
    if info.content_type not in {None, stored} and not guessed:
        msg = f"the file was announced as {stored}, but uploaded as {info.content_type}"
        raise ContentTypeError(msg, limit=stored, actual=info.content_type)


def _purge(backend: StorageBackend, versions: Mapping[str, str | None]) -> Call:
    job = Delete(backend, versions)
    return Call(job.run, job.run_async, (), {})


class _Uploaded(Content):
    """The copy, as content to be checked. Each look is a request, so it reads ahead in growing blocks, and not without end."""

    peekable = True

    def __init__(self, claim: Claim, backend: StorageBackend) -> None:
        self.size = claim.size
        self._path = claim.target
        self._backend = backend
        self._first: bytes | None = None
        self._later = (0, b"")
        self._requests = 0
        self._read = 0

    def chunks(self) -> Iterator[Buffer]:
        return self._backend.stream(self._path)

    def peek(self, offset: int, size: int) -> bytes:
        if self._first is None:
            self._first = self._fetch(0, _BLOCK)
        if offset + size <= len(self._first) or len(self._first) < _BLOCK:
            return self._first[offset : offset + size]
        start, block = self._later
        if not start <= offset <= offset + size <= start + len(block):
            start, block = self._later = offset, self._fetch(offset, size)
        return block[offset - start : offset - start + size]

    def _fetch(self, offset: int, least: int) -> bytes:
        """Read a block.

        Raises:
            ValueError: Enough was read to know that nobody needs to look there.
        """
        length = max(least, min(_BLOCK << self._requests, _LARGEST_BLOCK))
        if self._requests == _MOST_REQUESTS or self._read + length > _MOST_READ:
            msg = f"the header of this file reaches further than {_MOST_READ} bytes, or takes more than {_MOST_REQUESTS} looks"
            raise ValueError(msg)
        self._requests += 1
        self._read += length
        return self._backend.read(self._path, offset, offset + length)


class _UploadCheck:
    """Looks the copy over by its column's rules, then reads it once, in bounded memory, for its size and checksum."""

    def __init__(self, claim: Claim, rules: Rules, backend: StorageBackend) -> None:
        self._claim = claim
        self._rules = rules
        self._backend = backend
        self._meter = Meter(rules, claim.filename)
        known = Facts(filename=claim.filename, content_type=claim.content_type, size=claim.size)
        self._checks = Checks(_Uploaded(claim, backend), known, rules)

    def run(self) -> None:
        """Check, blocking."""
        self._checks.everything()
        self._check_type()
        for chunk in self._backend.stream(self._claim.target):
            self._meter.feed(chunk)
        self._check_bytes()

    async def run_async(self) -> None:
        """Check without blocking the event loop."""
        await self._checks.everything_async()
        self._check_type()
        async for chunk in self._backend.stream_async(self._claim.target):
            await in_thread(self._meter.feed, chunk)
        self._check_bytes()

    def facts(self, info: ObjectInfo) -> Facts:
        """Return what the file is."""
        return Facts(
            backend=self._backend.key,
            path=self._claim.target,
            filename=self._claim.filename,
            content_type=self._checks.content_type,
            size=self._meter.size,
            checksum=self._meter.checksum,
            etag=info.etag,
            version_id=info.version_id,
            last_modified=info.last_modified or time.time(),
            metadata=self._checks.metadata,
        )

    def _check_type(self) -> None:
        """Refuse bytes of another type than the one that was announced, and is stored."""
        announced, actual = self._claim.content_type, self._checks.content_type
        same = _SAME_TYPES.get(announced, announced) == _SAME_TYPES.get(actual, actual)
        contained = actual in _CONTAINERS and announced.startswith("application/")
        if not (same or contained or announced == OCTET_STREAM):
            field = self._rules.field
            msg = f"{field}: the file was announced as {announced}, but its first bytes are {actual}"
            raise ContentTypeError(msg, field=field, limit=announced, actual=actual)

    def _check_bytes(self) -> None:
        claim, meter = self._claim, self._meter
        if meter.size != claim.size:
            raise _other_size(claim, meter.size)
        if claim.checksum is not None and claim.checksum != meter.checksum:
            msg = f"the upload was announced with {claim.checksum}, but has {meter.checksum}"
            raise ClaimError(msg)


def _used() -> ClaimError:
    return ClaimError("this claim was used before; a claim makes one file")


def _nothing() -> ClaimError:
    return ClaimError("nothing was uploaded for this claim, or it was used before and its file is gone")


def _other_size(claim: Claim, size: int | None) -> ClaimError:
    return ClaimError(f"the upload was announced with {claim.size} bytes, but has {size}")
