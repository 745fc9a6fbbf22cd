"""Claims: how a client's finished upload becomes a file, once.

A claim is a sealed token that says what a client was allowed to upload, and where to. The client keeps a URL for that path until
it expires, so the object there is never what a row gets: redeeming a claim copies it, create-only, to a second path that only the
claim knows, and checks the copy. Whoever redeems the claim again finds that path taken; whatever the client uploads afterwards
reaches no row.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column
from sqlalchemy.orm import ColumnProperty, QueryableAttribute

from filerow._column import StoredObject
from filerow._content import Meter
from filerow._document import Facts
from filerow._paths import PathRequest, generate_path, safe_extension, uuid7_hex
from filerow._registry import storages
from filerow._rules import SNIFF_BYTES, Rules, resolve_type
from filerow._signing import Keys, Purpose, Secret, resolve_keys
from filerow._transfer import Delete
from filerow.backends._obstore_steps import Call, Steps, run, run_async
from filerow.backends._paths import check_path
from filerow.backends._streams import in_thread
from filerow.backends._types import ObjectInfo
from filerow.exceptions import ClaimError, ContentTypeError, FileValidationError, ObjectExistsError, ObjectNotFoundError

if TYPE_CHECKING:
    from filerow.backends.base import StorageBackend

__all__ = (
    "Claim",
    "Target",
    "missing_of",
    "parts_of",
    "plain_rules",
    "redeem_steps",
    "redeem_token_steps",
    "run",
    "run_async",
    "target_of",
)

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


class Target(NamedTuple):
    """The column that an upload is for.

    Attributes:
        name: ``table.column``.
        table: The table's name.
        column: The column's name.
        type: The column's type.
        rules: What the column demands.
    """

    name: str
    table: str
    column: str
    type: StoredObject
    rules: Rules

    @property
    def backend(self) -> str:
        """Key of the backend; empty for the default one."""
        return self.type.backend

    def incoming_path(self, filename: str) -> str:
        """Return a path for the client to upload to; what is never claimed there is found by a sweep."""
        return generate_path(self.table, self.column, filename, shards=self.type.shards)

    def final_path(self, filename: str, backend: str) -> str:
        """Return the path that the file will have."""
        if self.type.path is None:
            return self.incoming_path(filename)
        request = PathRequest(self.table, self.column, uuid7_hex(), safe_extension(filename), filename)
        return check_path(self.type.path(request), backend, "put")


def target_of(column: object) -> Target:
    """Return what is to be known of a mapped attribute, or of a column of a table.

    Raises:
        TypeError: It is neither, or not one of files.
    """
    key = ""
    if isinstance(column, QueryableAttribute):
        key = column.key
        column = column.property.columns[0] if isinstance(column.property, ColumnProperty) else column
    if not isinstance(column, Column) or not isinstance(column.type, StoredObject):
        msg = f"direct upload is for a column of files, such as Document.file, not for {column!r}"
        raise TypeError(msg)
    table = getattr(column.table, "name", "files")
    return Target(f"{table}.{column.name}", table, column.name, column.type, column.type.rules(key or column.name))


class Claim(NamedTuple):
    """What a client may upload, and what it becomes.

    Attributes:
        backend: Key of the backend.
        path: Where the client uploads to.
        target: Where the file will be.
        column: ``table.column`` that the file is for.
        filename: The client's name for it, cleaned.
        size: Bytes that it must have, exactly.
        content_type: The type that was announced, and is stored with the object.
        checksum: ``sha256:<hex>`` that it must have; ``None`` when the client gave none.
        rules: The column's rules, as far as they are plain values.
        expires_at: Seconds since the Unix epoch from which the claim is refused.
        upload_id: The store's name for a multipart upload; empty for an upload in one request.
        part_size: Bytes of each part but the last.
        validated: The column has validators, which a sealed token cannot carry.
    """

    backend: str
    path: str
    target: str
    column: str
    filename: str
    size: int
    content_type: str
    checksum: str | None
    rules: Mapping[str, Any]
    expires_at: float
    upload_id: str = ""
    part_size: int = 0
    validated: bool = False

    def seal(self, keys: Keys) -> str:
        """Return the token."""
        values = {key: value for key, value in self._asdict().items() if value and key != "expires_at"}
        return keys.seal(Purpose.CLAIM, values, expires_at=self.expires_at)

    @classmethod
    def unseal(cls, keys: Keys, token: str) -> Claim:
        """Return what a token says.

        Raises:
            InvalidTokenError: We did not make it, or not as a claim.
            ExpiredTokenError: It is too old.
            ClaimError: Another release of the library made it.
        """
        payload = keys.unseal(Purpose.CLAIM, token)
        values: dict[str, Any] = {"size": 0, "checksum": None, "rules": {}, "expires_at": payload.pop("exp"), **payload}
        try:
            return cls(**values)
        except TypeError:
            msg = "this claim was made by another release of this application; upload the file again"
            raise ClaimError(msg) from None

    def check_column(self, column: str) -> None:
        """Refuse the claim for another column.

        Raises:
            ClaimError: It is for another one.
        """
        if self.column != column:
            msg = f"this claim is for {self.column}, not for {column}"
            raise ClaimError(msg)

    def sealed_rules(self, field: str) -> Rules:
        """Return the rules that the claim carries.

        Raises:
            ClaimError: It cannot carry them all, or another release of the library made it.
        """
        if self.validated:
            msg = (
                f"column {self.column!r} has validators, which a claim cannot carry: redeem it with uploads.claim(token), or "
                "FileObject.from_claim(token, column)"
            )
            raise ClaimError(msg)
        try:
            plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in self.rules.items()}
            plain["field"] = field
            return Rules(**plain)
        except TypeError:
            msg = "this claim was made by another release of this application; upload the file again"
            raise ClaimError(msg) from None


class Part(NamedTuple):
    """One part of a multipart upload: bytes ``[start, end)`` of the file."""

    number: int
    start: int
    end: int


def parts_of(claim: Claim) -> list[Part]:
    """Return the parts of a multipart upload, in order."""
    starts = range(0, claim.size, claim.part_size)
    return [Part(number, start, min(start + claim.part_size, claim.size)) for number, start in enumerate(starts, 1)]


def missing_of(claim: Claim, there: Mapping[int, tuple[int, str]]) -> list[Part]:
    """Return the parts that a store does not have, or has in another size."""
    return [part for part in parts_of(claim) if part.number not in there or there[part.number][0] != part.end - part.start]


def plain_rules(rules: Rules) -> tuple[dict[str, Any], bool]:
    """Return the rules that JSON can carry, and whether there are others."""
    values = {key: value for key, value in rules._asdict().items() if key != "field" and value is not None and value != ()}
    plain = {key: value for key, value in values.items() if _is_plain(value)}
    return plain, len(plain) < len(values)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) or (isinstance(value, tuple) and all(isinstance(v, str) for v in value))


def plain_type(content_type: str) -> str:
    """Return a media type under the one name that we compare by."""
    return _SAME_TYPES.get(content_type, content_type)


def redeem_token_steps(token: str, column: object, secret: Secret | None, *, development: bool) -> Steps[Facts]:
    """Redeem a token: with its column's rules, or with those that it carries; see :func:`redeem_steps`."""
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
        FileValidationError: The column's rules refuse the file.
    """
    backend = storages.get_backend(claim.backend)
    if claim.upload_id:
        yield from _complete_steps(claim, backend)
    yield from _check_size_steps(claim, backend)
    copied = yield from _copy_steps(claim, backend)
    check = _Check(claim, rules, backend)
    try:
        if copied.size is None:
            copied = yield Call(backend.head, backend.head_async, (claim.target,), {})
        yield Call(check.run, check.run_async, (), {})
    except BaseException as error:
        # What the store answered is no verdict on the file: then the upload stays, and the claim can be tried again.
        refused = isinstance(error, ClaimError | FileValidationError)
        yield _delete(backend, claim.target, *([claim.path] if refused else []))
        raise
    yield _delete(backend, claim.path)
    return check.facts(copied)


def _complete_steps(claim: Claim, backend: StorageBackend) -> Steps[None]:
    from filerow.backends._obstore_direct import direct_of

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


def _check_size_steps(claim: Claim, backend: StorageBackend) -> Steps[None]:
    """Look at the upload before it is copied, for not every store could bind its size."""
    try:
        info: ObjectInfo = yield Call(backend.head, backend.head_async, (claim.path,), {})
    except ObjectNotFoundError:
        used = yield Call(backend.exists, backend.exists_async, (claim.target,), {})
        raise (_used() if used else _nothing()) from None
    if info.size != claim.size:
        yield _delete(backend, claim.path)
        raise _other_size(claim, info.size)


def _copy_steps(claim: Claim, backend: StorageBackend) -> Steps[ObjectInfo]:
    try:
        return (yield Call(backend.copy, backend.copy_async, (claim.path, claim.target), {}))  # type: ignore[no-any-return]
    except ObjectExistsError:
        raise _used() from None
    except ObjectNotFoundError:  # somebody else was faster, between the last step and this one
        raise _used() from None


def _delete(backend: StorageBackend, *paths: str) -> Call:
    job = Delete(backend, paths)
    return Call(job.run, job.run_async, (), {})


class _Check:
    """Reads the copy once, in bounded memory: its first bytes, its size and its checksum."""

    def __init__(self, claim: Claim, rules: Rules, backend: StorageBackend) -> None:
        self._claim = claim
        self._rules = rules
        self._backend = backend
        self._meter = Meter(rules, claim.filename)
        self._head = b""
        self._content_type = ""

    def run(self) -> None:
        """Check, blocking."""
        for chunk in self._backend.stream(self._claim.target):
            self._feed(chunk)
        self._finish()

    async def run_async(self) -> None:
        """Check without blocking the event loop."""
        async for chunk in self._backend.stream_async(self._claim.target):
            await in_thread(self._feed, chunk)
        self._finish()

    def facts(self, info: ObjectInfo) -> Facts:
        """Return what the file is."""
        return Facts(
            backend=self._backend.key,
            path=self._claim.target,
            filename=self._claim.filename,
            content_type=self._content_type,
            size=self._meter.size,
            checksum=self._meter.checksum,
            etag=info.etag,
            version_id=info.version_id,
            last_modified=info.last_modified or time.time(),
        )

    def _feed(self, chunk: bytes) -> None:
        self._meter.feed(chunk)
        if not self._content_type:
            self._head += chunk[: SNIFF_BYTES - len(self._head)]
            if len(self._head) >= SNIFF_BYTES:
                self._check_head()

    def _finish(self) -> None:
        claim, meter = self._claim, self._meter
        if not self._content_type:
            self._check_head()
        if meter.size != claim.size:
            raise _other_size(claim, meter.size)
        if claim.checksum is not None and claim.checksum != meter.checksum:
            msg = f"the upload was announced with {claim.checksum}, but has {meter.checksum}"
            raise ClaimError(msg)

    def _check_head(self) -> None:
        claim = self._claim
        content_type, proven = resolve_type(self._head, claim.content_type, claim.filename)
        self._rules.check_type(content_type, proven=proven)
        announced = plain_type(claim.content_type)
        # The store keeps, and may serve, the type that was announced. One that promises nothing is no danger.
        if plain_type(content_type) != announced and announced != "application/octet-stream":
            msg = f"{self._rules.field}: the file was announced as {claim.content_type}, but its first bytes are {content_type}"
            raise ContentTypeError(msg, field=self._rules.field, limit=claim.content_type, actual=content_type)
        self._content_type = content_type


def _used() -> ClaimError:
    return ClaimError("this claim was used before; a claim makes one file")


def _nothing() -> ClaimError:
    return ClaimError("nothing was uploaded for this claim, or it was used before and its file is gone")


def _other_size(claim: Claim, size: int | None) -> ClaimError:
    return ClaimError(f"the upload was announced with {claim.size} bytes, but has {size}")
