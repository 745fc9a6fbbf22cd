"""How pydantic sees a file: what may come in, what goes out, and what the JSON Schema says of both.

::

    class DocumentOut(BaseModel):
        model_config = ConfigDict(from_attributes=True)
        id: int
        file: FileObject | None

        @computed_field
        @property
        def url(self) -> str | None:
            return self.file.sign() if self.file else None

Only a ``FileObject`` comes in, or an upload of a framework, and only the public view goes out. A document that a client sends
is refused, for it names any object of any backend. Code that moves documents between trusted places asks for them with
``context={"filerow": "document"}``, in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from filerow._content import unwrap_upload
from filerow._file.object import FileObject
from filerow._file.view import REFUSED, json_schema_for, view_of
from filerow._requirements import needs
from filerow.exceptions import UntrustedDocumentError

with needs("pydantic", "a file in a model of pydantic"):
    from pydantic_core import CoreSchema, PydanticCustomError, core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

    from filerow._file.list import FileObjectList

__all__ = ("core_schema_for", "json_schema_for", "list_schema_for")

View: TypeAlias = Callable[[FileObject], dict[str, Any]]

CONTEXT_KEY = "filerow"
DOCUMENT = "document"

_NOT_A_FILE = "Input should be a FileObject: make one with FileObject.from_upload(upload) or FileObject(content=...), not {given}"


def core_schema_for(cls: type[FileObject], show: View | None = None) -> CoreSchema:
    """Return the schema of a file: instances in, the public view out.

    Args:
        cls: The class of the file.
        show: What makes the view of one field; :func:`view_of` when left out, and all fields share one component in OpenAPI.
    """
    return core_schema.with_info_plain_validator_function(
        partial(_validate, cls),
        ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}" if show is None else None,
        serialization=core_schema.plain_serializer_function_ser_schema(partial(_serialize, show or view_of), info_arg=True),
    )


def list_schema_for(cls: type[FileObjectList], handler: GetCoreSchemaHandler) -> CoreSchema:
    """Return the schema of a list of files, which makes a new list: a model must not change the row it was read from."""
    files = core_schema.list_schema(handler.generate_schema(FileObject))
    return core_schema.no_info_after_validator_function(cls, files)


def _validate(cls: type[FileObject], value: object, info: core_schema.ValidationInfo[Any]) -> FileObject:
    if isinstance(value, cls):
        return value
    if isinstance(value, Mapping) and _asks_for_documents(info.context):
        return cls.from_dict(value)
    if unwrap_upload(value) is not None:  # a form with a file in it, as a framework has parsed it
        return cls.from_upload(value)
    if isinstance(value, Mapping | str | bytes):
        raise UntrustedDocumentError(REFUSED)
    raise PydanticCustomError("file_object_type", _NOT_A_FILE, {"given": type(value).__name__})


def _serialize(show: View, value: object, info: core_schema.SerializationInfo[Any]) -> object:
    if not isinstance(value, FileObject):  # a default or model_construct() may have put anything there
        return value
    if _asks_for_documents(info.context):
        return value.to_dict()
    return show(value)


def _asks_for_documents(context: object) -> bool:
    return isinstance(context, Mapping) and context.get(CONTEXT_KEY) == DOCUMENT
