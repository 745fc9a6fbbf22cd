"""Claims: what a client may upload, and for which column.

A claim is a sealed token that says what a client was allowed to upload, where to, and where the file will be in the end.
Everybody can read it, and only the application can make one. ``_redeem`` makes a file of what was uploaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Column, Table
from sqlalchemy.orm import ColumnProperty, QueryableAttribute

from filerow._execution.steps import Call, Steps
from filerow._file.transfer import not_once, wrong_column
from filerow._orm.column import StoredObject
from filerow._orm.fields import outbox_in
from filerow._orm.references import FileColumn
from filerow._tokens import Keys, Purpose
from filerow._validation.rules import ImageLimits, Rules
from filerow.backends.base import StorageBackend
from filerow.exceptions import ClaimError, StorageError

if TYPE_CHECKING:
    from filerow.backends.obstore.s3 import StoredPart


class Target(NamedTuple):
    """The column that an upload is for, and what it demands."""

    column: FileColumn
    rules: Rules

    @property
    def has_outbox(self) -> bool:
        """Whether an outbox records used claims; otherwise an object does."""
        return outbox_in(self.column.table.metadata) is not None


def target_of(column: object) -> Target:
    """Return what is to be known of a mapped attribute, or of a column of a table.

    Raises:
        TypeError: It is neither, or not one of files.
    """
    key = ""
    if isinstance(column, QueryableAttribute):
        key = column.key
        column = column.property.columns[0] if isinstance(column.property, ColumnProperty) else column
    if not isinstance(column, Column) or not isinstance(column.type, StoredObject) or not isinstance(column.table, Table):
        raise TypeError(f"direct upload is for a column of files, such as Document.file, not for {column!r}")
    return Target(FileColumn(column.table, column, column.type), column.type.rules(key or column.name))


class Claim(NamedTuple):
    """What a client may upload, and what it becomes.

    Attributes:
        backend: Key of the backend.
        path: Where the client uploads to.
        marker: The path of the object that records that the claim was used, if no outbox does.
        column: ``table.column`` that the file is for, with its schema where it has one.
        filename: The client's name for it, cleaned.
        size: Bytes that it must have, exactly.
        content_type: The type that was announced, and is stored with the object.
        checksum: ``sha256:<hex>`` that it must have; ``None`` when the client gave none.
        rules: The column's rules, as far as they are plain values.
        expires_at: Seconds since the Unix epoch from which the claim is refused.
        upload_id: The store's name for a multipart upload; empty for an upload in one request.
        part_size: Bytes of each part but the last.
        audience: The deployment, tenant or database that it is for; empty where the application names none.
    """

    backend: str
    path: str
    marker: str
    column: str
    filename: str
    size: int
    content_type: str
    checksum: str | None
    rules: Mapping[str, Any]
    expires_at: float
    upload_id: str = ""
    part_size: int = 0
    audience: str = ""

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
            raise ClaimError("this claim was made by another release of this application; upload the file again") from None

    def check_column(self, column: str) -> None:
        """Refuse the claim for another column.

        Raises:
            ClaimError: It is for another one.
        """
        if self.column != column:
            raise wrong_column(self.column, column)

    def check_audience(self, audience: str) -> None:
        """Refuse the claim for another audience, or for none if it has one.

        Raises:
            ClaimError: It is for another one.
        """
        if self.audience != audience:
            msg = "this claim was made for another audience= of this application, such as another tenant or database"
            raise ClaimError(msg, code="claim-misplaced")

    def sealed_rules(self, field: str) -> Rules:
        """Return the rules in the claim, for a first look; the row's own follow."""
        plain = self.rules
        image = ImageLimits(**plain.get("image", {}))
        types = tuple(plain.get("content_types", ()))
        least, image_size = plain.get("min_size", 0), plain.get("image_size", "shown")
        return Rules(plain.get("max_size"), types, field, image, min_size=least, image_size=image_size)


class UploadPart(NamedTuple):
    """One part of a multipart upload: bytes ``[start, end)`` of the file."""

    number: int
    start: int
    end: int


_asked: WeakKeyDictionary[StorageBackend, bool] = WeakKeyDictionary()
"""Whether a backend can keep a path free, where the store was asked."""


def check_once_steps(backend: StorageBackend) -> Steps[None]:
    """Refuse a backend whose store could let two requests use one claim.

    Raises:
        UnsupportedOperationError: It is one.
    """
    able = backend.capabilities.exclusive and _asked.get(backend, True)
    if able and backend not in _asked:
        with suppress(StorageError):  # asked again next time; a claim is not used on a guess either
            limits = yield Call(backend.limits, backend.limits_async, (), {})
            able = _asked[backend] = "create-only" not in limits
    if not able:
        raise not_once(backend)


def parts_of(claim: Claim) -> list[UploadPart]:
    """Return the parts of a multipart upload, in order."""
    starts = range(0, claim.size, claim.part_size)
    return [UploadPart(number, start, min(start + claim.part_size, claim.size)) for number, start in enumerate(starts, 1)]


def missing_of(claim: Claim, there: Mapping[int, StoredPart]) -> list[UploadPart]:
    """Return the parts that a store does not have, or has in another size."""
    return [part for part in parts_of(claim) if part.number not in there or there[part.number].size != part.end - part.start]


def plain_rules(rules: Rules) -> dict[str, Any]:
    """Return the rules that JSON can carry: all but the validators."""
    image = {name: limit for name, limit in rules.image._asdict().items() if limit is not None}
    sizes = {"max_size": rules.max_size, "min_size": rules.min_size, "image_size": rules.image_size}
    return {**sizes, "content_types": list(rules.content_types), "image": image}
