"""From a framework's upload to a pending file that its column would take."""

from __future__ import annotations

import json
from typing import NamedTuple

from sqlalchemy import Column
from sqlalchemy.orm import QueryableAttribute

from filerow._content import unwrap_upload
from filerow._file.object import FileObject
from filerow._orm.column import StoredObject
from filerow.exceptions import FileValidationError

__all__ = ("FormField", "checked", "checked_async", "is_upload", "payload_of", "required", "target_of")


class FormField(NamedTuple):
    """Where uploads go.

    Attributes:
        type: The column's type, which knows the rules.
        field: The column's name, which is also the name of the form field.
    """

    type: StoredObject
    field: str


def target_of(column: object) -> FormField:
    """Return the type and the name of a file column.

    Args:
        column: A mapped attribute (``Document.file``), a ``Column``, or a ``StoredObject`` alone, whose field is ``file``.

    Raises:
        TypeError: It is no file column.
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
        msg = f"this takes a file column, such as Document.file, or a StoredObject, not {column!r}"
        raise TypeError(msg)
    return FormField(kind, key)


def checked(upload: object, target: FormField, field: str = "") -> FileObject:
    """Return a pending file of an upload that the column's rules allow; the upload is not closed.

    Raises:
        FileValidationError: A rule refuses it.
        ContentError: This is no upload.
    """
    return target.type.check(FileObject.from_upload(upload), field=field or target.field)


async def checked_async(upload: object, target: FormField, field: str = "") -> FileObject:
    """Return a pending file of an upload that the column's rules allow; see :func:`checked`."""
    return await target.type.check_async(FileObject.from_upload(upload), field=field or target.field)


def is_upload(value: object) -> bool:
    """Say whether a form's value is an upload; browsers send a file field that was left empty as one without a name."""
    return unwrap_upload(value) is not None and bool(value.filename)  # type: ignore[attr-defined]  # every upload has one


def payload_of(body: bytes) -> object:
    """Return what the body of a request for direct upload says in JSON, whatever it is.

    Raises:
        ValueError: It is no JSON, or none that anybody would write: nested without end, a number of thousands of digits.
    """
    try:
        payload: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        msg = "a JSON object is needed"
        raise ValueError(msg) from error
    return payload


def required(field: str) -> FileValidationError:
    """Return the error for a field without a file."""
    return FileValidationError(f"{field}: a file is needed", field=field)
