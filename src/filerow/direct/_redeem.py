"""Turns a client's finished upload into the content of a file for a row.

The client keeps a URL for the path it uploads to until that expires, so the object there is never what a row gets, nor is
anything that the client has sent with it: headers, metadata, tags. A claim is looked at here, as far as a form wants to know at
once, and nothing is used up. The commit reads the upload once, checks what it reads as any other content, and writes that under
a path and with headers of ours.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import aclosing, contextmanager

from filerow._buffers import Buffer
from filerow._content import Claimed, Content
from filerow._document import Facts
from filerow._execution.steps import Call, Steps, threaded
from filerow._file.read_ahead import Ranges
from filerow._file.transfer import Delete, Placed, changed_since, used_before
from filerow._registry import storages
from filerow._tokens import Secret, resolve_keys
from filerow._validation.checks import Checks
from filerow._validation.rules import Rules
from filerow._validation.types import is_announced_honestly
from filerow.backends._rewrite import rewrite_call
from filerow.backends._types import ObjectInfo, PutOptions, Rewritten
from filerow.backends.base import StorageBackend
from filerow.direct._claims import Claim, missing_of, parts_of, target_of
from filerow.exceptions import (
    ClaimError,
    ContentTypeError,
    FileValidationError,
    InvalidTokenError,
    ObjectHiddenError,
    ObjectNotFoundError,
    StorageError,
)

_REWRITTEN_FROM = 8 << 20
"""Size in bytes from which a copy by the store, with two more requests, is quicker than writing the bytes again."""


_ARCHIVED = re.compile("BlobArchived|InvalidObjectState")
"""What Azure and S3 answer to a read of an object that a client has put into an archive."""


def token_steps(token: str, column: object, secret: Secret | None, audience: str, *, development: bool) -> Steps[Content]:
    """Look at the upload of a token by its column's rules; see :func:`redeem_steps`."""
    keys = resolve_keys(secret, development=development, user="direct upload")
    if column is None:
        claim = Claim.unseal(keys, token)
        rules = claim.sealed_rules(claim.column.rpartition(".")[2])
    else:
        target = target_of(column)
        rules = target.rules
        with of_field(rules.field):
            claim = Claim.unseal(keys, token)
            claim.check_column(target.column.name)
    claim.check_audience(audience)
    return (yield from redeem_steps(claim, rules))


@contextmanager
def of_field(field: str) -> Generator[None]:
    """Have what refuses a claim name the field, as what refuses a file does."""
    try:
        yield
    except InvalidTokenError as error:
        error.field = error.field or field
        raise


def redeem_steps(claim: Claim, rules: Rules) -> Steps[Content]:
    """Look at an upload; return it as content. Nothing is copied or used up.

    Raises:
        ClaimError: Nothing was uploaded, or something else, or the claim was used before.
        FileValidationError: The column's rules refuse the file by its size or its first bytes.
    """
    with of_field(rules.field):
        return (yield from _look_steps(claim, rules))


def _look_steps(claim: Claim, rules: Rules) -> Steps[Content]:
    backend = storages.get_backend(claim.backend)
    if claim.upload_id:
        yield from _complete_steps(claim, backend)
    uploaded = yield from _check_size_steps(claim, backend)
    try:
        content_type = yield threaded(_first_look, claim, rules, backend)
    except (ClaimError, FileValidationError):
        yield _purge(backend, claim, uploaded)
        raise
    except StorageError as error:
        if not _ARCHIVED.search(f"{error} {error.__cause__}"):
            raise
        yield _purge(backend, claim, uploaded)
        msg = (
            "the upload lies in an archive, from which it cannot be read; upload it again without an access tier or storage class"
        )
        raise ClaimError(msg, code="upload-differs") from error
    marks = uploaded.version_id, claim.marker, uploaded.etag, claim.checksum
    claimed = Claimed(claim.backend, claim.path, *marks, claim.column, rules.field)
    return _Uploaded(claim, backend, claimed, content_type)


def _complete_steps(claim: Claim, backend: StorageBackend) -> Steps[None]:
    from filerow.backends.obstore.backend import direct_of

    direct = direct_of(backend)
    there = yield direct.call(direct.parts, claim.path, claim.upload_id)
    if there is None:  # completed by an attempt that failed later, or aborted: the object is there, or it is not
        return
    missing = missing_of(claim, there)
    if missing:
        msg = f"the upload is not complete: {len(missing)} of {len(parts_of(claim))} parts are missing; resume it"
        raise ClaimError(msg, code="upload-incomplete", limit=len(parts_of(claim)), actual=len(parts_of(claim)) - len(missing))
    wanted = {part.number: there[part.number] for part in parts_of(claim)}
    yield direct.call(direct.complete, claim.path, claim.upload_id, wanted)


def _check_size_steps(claim: Claim, backend: StorageBackend) -> Steps[ObjectInfo]:
    """Look at the size of the upload, for not every store could bind it."""
    try:
        info: ObjectInfo = yield Call(backend.head, backend.head_async, (claim.path,))
    except ObjectNotFoundError:
        used = yield Call(backend.exists, backend.exists_async, (claim.marker,))
        raise (used_before("") if used else _nothing()) from None
    except ObjectHiddenError as error:  # to credentials that may not list, what is missing is forbidden
        raise _nothing() from error
    if info.size != claim.size:
        yield _purge(backend, claim, info)
        msg = f"the upload was announced with {claim.size} bytes, but has {info.size}"
        raise ClaimError(msg, code="upload-differs", limit=claim.size, actual=info.size)
    return info


def _purge(backend: StorageBackend, claim: Claim, info: ObjectInfo) -> Call:
    return Delete(backend, {claim.path: info.version_id}).call


class _Uploaded(Content):
    """What a client has uploaded, read from the store when its row is written."""

    ranged = True

    def __init__(self, claim: Claim, backend: StorageBackend, claimed: Claimed, content_type: str) -> None:
        self.size = claim.size
        self.filename = claim.filename
        self.content_type = content_type
        self.claimed = claimed
        self._field = claimed.field
        self._path = claimed.path
        self._length = claim.size
        self._upload = ObjectInfo(claimed.path, claim.size, claimed.etag, claimed.version)
        self._backend = backend
        self._restart()

    def _restart(self) -> None:
        self._ranges = Ranges(self._backend, self._path)
        self._looked_at: list[tuple[int, bytes]] = []

    def peek_late(self, offset: int, size: int) -> bytes:
        with _still_there(self._field):
            found = self._ranges.peek(offset, size)
        self._looked_at.append((offset, found))
        return found

    def chunks(self) -> Iterator[Buffer]:
        self._restart()
        left = self._length
        with _still_there(self._field):
            for chunk in self._backend.stream(self._path):
                left = self._left(left, chunk)
                yield chunk

    def rewrite(self, backend: str, path: str, options: PutOptions) -> Call | None:
        if backend != self._backend.key or self._length < _REWRITTEN_FROM:
            return None
        able = self._backend.capabilities
        if not able.keeps_content_type and not able.keeps_metadata:  # such as a directory: a file has nothing but its bytes
            return Call(self._copy, self._copy_async, (path,))
        if self._upload.etag is None:
            return None
        return rewrite_call(self._backend, self._upload, path, options)

    def _copy(self, path: str) -> Rewritten:
        with _still_there(self._field):
            info = self._backend.copy(self._path, path, create_only=False)
        return Rewritten(info.etag, info.version_id, None)

    async def _copy_async(self, path: str) -> Rewritten:
        with _still_there(self._field):
            info = await self._backend.copy_async(self._path, path, create_only=False)
        return Rewritten(info.etag, info.version_id, None)

    async def chunks_async(self) -> AsyncIterator[Buffer]:
        self._restart()
        left = self._length
        with _still_there(self._field):
            async with aclosing(self._backend.stream_async(self._path)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    left = self._left(left, chunk)
                    yield chunk

    def _left(self, left: int, chunk: Buffer) -> int:
        """Refuse more bytes than announced as soon as they come."""
        if len(chunk) > left:
            msg = f"the upload was announced with {self._length} bytes, but has more"
            raise ClaimError(msg, code="upload-differs", field=self._field, limit=self._length)
        self._compare(self._length - left, chunk)
        return left - len(chunk)

    def _compare(self, start: int, chunk: Buffer) -> None:
        """Refuse bytes that differ from those by which the type was recognised."""
        for offset, seen in self._looked_at:
            first, end = max(offset, start), min(offset + len(seen), start + len(chunk))
            if first < end and bytes(chunk[first - start : end - start]) != seen[first - offset : end - offset]:
                raise changed_since(self._field)


def _first_look(claim: Claim, rules: Rules, backend: StorageBackend) -> str:
    """Check the size and first bytes of an upload; return its type.

    Raises:
        FileValidationError: The column refuses it, or it is not what was announced.
        ClaimError: It is gone.
    """
    known = Facts(filename=claim.filename, content_type=claim.content_type, size=claim.size)
    checks = Checks(Placed(backend, claim.path, claim.size, peekable=True), known, rules)
    with _still_there():
        checks.beforehand()
    announced, actual = claim.content_type, checks.content_type
    if not is_announced_honestly(announced, actual):
        msg = f"{rules.field}: the file was announced as {announced}, but its first bytes are {actual}"
        raise ContentTypeError(msg, field=rules.field, limit=announced, actual=actual)
    return actual


@contextmanager
def _still_there(field: str = "") -> Generator[None]:
    """Report an upload that is gone: its claim was used, or it was aborted."""
    try:
        yield
    except ObjectNotFoundError:
        raise _nothing(field) from None


def _nothing(field: str = "") -> ClaimError:
    msg = "nothing was uploaded for this claim, or it was used before and its file is gone"
    return ClaimError(msg, code="upload-missing", field=field)
