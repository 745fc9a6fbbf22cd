"""From a framework's upload to a pending file that its column accepts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Column
from sqlalchemy.orm import QueryableAttribute

from filerow._content import unwrap_upload
from filerow._file.object import ENCTYPE_NEEDED, FileObject
from filerow._orm.column import StoredObject
from filerow.exceptions import ContentTypeError, FileTooLargeError, FileValidationError
from filerow.http._capacity import upload_capacity

if TYPE_CHECKING:
    from filerow.direct import DirectUploads


_WITHOUT_FILES = frozenset({"application/x-www-form-urlencoded", "text/plain"})
"""Values of ``enctype`` besides ``multipart/form-data`` (HTML, section 4.10.19.6); the first is the default."""

LONGEST_PAYLOAD = 64 * 1024
"""Maximum size in bytes of a request to begin, resume or abort a direct upload; the longest of ``filerow.js`` has about 5,000."""


class FormField(NamedTuple):
    """The target of an upload.

    Attributes:
        type: The column's type, which has the rules.
        field: The column's name, which is also the form field's.
    """

    type: StoredObject
    field: str


def target_of(column: object) -> FormField:
    """Return the type and the name of a file column.

    Args:
        column: A mapped attribute (``Document.file``), a ``Column``, or a ``StoredObject`` alone, whose field is ``file``.

    Raises:
        TypeError: ``column`` is not a file column.
    """
    if isinstance(column, StoredObject):
        return FormField(column, "file")
    key, kind = "", None
    if isinstance(column, QueryableAttribute):
        key, columns = column.key, column.property.columns if hasattr(column.property, "columns") else []
        kind = columns[0].type if columns else None
    elif isinstance(column, Column):
        key, kind = column.key, column.type
    if not isinstance(kind, StoredObject):
        raise TypeError(f"expected a file column, such as Document.file, or a StoredObject, not {column!r}")
    return FormField(kind, key)


def checked(upload: object, target: FormField, field: str = "") -> FileObject:
    """Return a pending file from an upload that the column's rules allow.

    The upload is not closed.

    Raises:
        FileValidationError: A rule refuses the file.
        ContentError: The value is not an upload.
    """
    return target.type.check(FileObject.from_upload(upload), field=field or target.field)


async def checked_async(upload: object, target: FormField, field: str = "") -> FileObject:
    """Return a pending file from an upload that the column's rules allow.

    See :func:`checked`.
    """
    return await target.type.check_async(FileObject.from_upload(upload), field=field or target.field)


def is_upload(value: object) -> bool:
    """Return True if a form's value is an upload.

    Browsers send an empty file field as an upload without a name.
    """
    return unwrap_upload(value) is not None and bool(value.filename)  # type: ignore[attr-defined]  # every upload has one


def payload_of(content_type: str | None, body: bytes) -> object:
    """Return the JSON value in the body of a direct upload request, unchecked.

    Another site's page can make a browser send any form, but not JSON: that needs CORS, which is refused.

    Args:
        content_type: The request's ``Content-Type``, which must be ``application/json``.
        body: Its body, read up to ``LONGEST_PAYLOAD`` bytes; one more shows that it is too long.

    Raises:
        ContentTypeError: The type is another one.
        FileTooLargeError: The body is too long.
        FileValidationError: The body is not JSON, or is unreasonable: nested too deeply, or with numbers too long.
    """
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise ContentTypeError(
            "an upload request must be sent as application/json", limit="application/json", code="request-not-json", rule=""
        )
    if len(body) > LONGEST_PAYLOAD:
        raise too_long(len(body))
    try:
        payload: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadPayloadError("a JSON object is needed") from error
    return payload


def uploads_to_mount(uploads: Mapping[str, DirectUploads] | None, authorize: object) -> dict[str, DirectUploads]:
    """Return the direct uploads to mount, by name.

    Raises:
        ValueError: Nothing decides who may upload.
    """
    if uploads and authorize is None:
        raise ValueError("clients that may upload directly can store files: decide who may with authorize=... (a function)")
    return dict(uploads or {})


class UnknownUploadsError(FileValidationError):
    """A request names direct uploads that the application has not mounted."""

    status_code = 404
    code = "uploads-not-found"


def uploads_called(name: str, uploads: Mapping[str, DirectUploads]) -> DirectUploads:
    """Return the direct uploads named in a URL.

    Raises:
        UnknownUploadsError: There are none with this name.
    """
    found = uploads.get(name)
    if found is None:
        raise UnknownUploadsError("there are no direct uploads with this name")
    return found


class BadPayloadError(FileValidationError):
    """The body of a direct upload request is not JSON."""

    status_code = 400
    code = "request-not-json"


class SlowRequestError(FileValidationError):
    """The body of a request for direct upload did not come in time."""

    status_code = 408
    code = "request-too-slow"


TOO_SLOW = "the request came too slowly"


def too_long(actual: int) -> FileTooLargeError:
    """Return the error for a direct upload request of at least this length.

    It is longer than any valid one.
    """
    msg = f"an upload request may have at most {LONGEST_PAYLOAD} bytes"
    return FileTooLargeError(msg, limit=LONGEST_PAYLOAD, actual=actual, code="request-too-large", rule="")


async def bounded(chunks: AsyncIterable[bytes]) -> bytes:
    """Return a body of at most ``LONGEST_PAYLOAD`` bytes that comes in time.

    Raises:
        FileTooLargeError: It is longer; no more of it is read.
        SlowRequestError: It takes longer than an upload may say nothing.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(upload_capacity.idle):
            async for chunk in chunks:
                body += chunk
                if len(body) > LONGEST_PAYLOAD:
                    raise too_long(len(body))
    except TimeoutError:
        raise SlowRequestError(TOO_SLOW) from None
    return bytes(body)


def uploads_in(field: str, values: Sequence[object], content_type: str | None, *, optional: bool) -> list[object]:
    """Return the uploads of a form's field.

    Args:
        field: The field's name.
        values: All its values.
        content_type: The request's ``Content-Type``.
        optional: Allow the field to have none.

    Raises:
        FileValidationError: There is none, or the form was sent in a way that has no files.
    """
    uploads = [value for value in values if is_upload(value)]
    if not uploads:
        refuse_texts(field, [value for value in values if isinstance(value, str)])
        if not optional:
            raise required(field, None if carries_files(content_type) else "")
    return uploads


def carries_files(content_type: str | None) -> bool:
    """Return False if a form was sent in a way that has no files.

    A page's form without an ``enctype`` is.
    """
    return (content_type or "").partition(";")[0].strip().lower() not in _WITHOUT_FILES


def required(field: str, given: object = None) -> FileValidationError:
    """Return the error for a field without a file.

    Args:
        field: Its name.
        given: What the form has instead. A string means that the form was not sent as ``multipart/form-data``.
    """
    if isinstance(given, str):
        return FileValidationError(f"{field}: no file was sent; {ENCTYPE_NEEDED}", field=field, code="form-without-files")
    return FileValidationError(f"{field}: a file is needed", field=field, code="file-missing")


def refuse_texts(field: str, given: Sequence[object]) -> None:
    """Refuse a form that names files but sends none.

    A field left empty does not count.

    Args:
        field: The field's name.
        given: All values of the field in the form.

    Raises:
        FileValidationError: The values are strings.
    """
    if any(given) and all(isinstance(value, str) for value in given):
        raise required(field, "")
