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
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from filerow._content import unwrap_upload
from filerow._document import public_view
from filerow._file.object import FileObject, facts_of, shown_metadata
from filerow.exceptions import UntrustedDocumentError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

    from filerow._file.list import FileObjectList

__all__ = ("REFUSED", "core_schema_for", "json_schema_for", "list_schema_for", "view_of")

View: TypeAlias = Callable[[FileObject], dict[str, Any]]

CONTEXT_KEY = "filerow"
DOCUMENT = "document"

REFUSED = (
    "a file cannot be set by sending its document, which could name any object of any backend. Upload the bytes and make the "
    'file with FileObject.from_upload(upload); code that trusts the document validates with context={"filerow": "document"}'
)
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


def view_of(file: FileObject) -> dict[str, Any]:
    """Return what a client may see of a file, stored or pending."""
    # the properties know what a pending file's content says of itself
    return public_view(facts_of(file)._replace(content_type=file.content_type, size=file.size), shown_metadata(file))


def _asks_for_documents(context: object) -> bool:
    return isinstance(context, Mapping) and context.get(CONTEXT_KEY) == DOCUMENT


def json_schema_for(mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    """Return the JSON Schema of a file.

    Out, it is the public view, all of it always present. In, no JSON value is accepted at all. The exact schema for that is
    ``{"not": {}}``, but client generators fail on it or emit ``never``, and it tells a reader nothing. JSON Schema and OpenAPI
    have a word for what only the server may set: ``readOnly`` ("attempts by an application to modify the value are expected to be
    ignored or rejected"), which FastAPI users know from computed fields. So a model that is used in both directions shows one
    shape, marked ``readOnly`` on the way in, and its description says how to send a file instead.
    """
    schema: dict[str, Any] = {
        "title": "FileObject",
        "description": "A stored file.",
        "type": "object",
        "properties": {
            "filename": {"type": "string", "description": "Name to show; not a path."},
            "content_type": {"type": "string", "description": "Media type."},
            "size": _nullable("integer", description="Length in bytes.", minimum=0),
            "last_modified": _nullable("number", description="Seconds since the Unix epoch."),
            "metadata": {"type": "object", "additionalProperties": True},
        },
        "required": ["filename", "content_type", "size", "last_modified", "metadata"],
    }
    if mode == "validation":
        schema["readOnly"] = True
        schema["description"] = "A stored file. It cannot be sent as JSON: upload the bytes as multipart/form-data."
    return schema


def _nullable(kind: str, *, description: str, **limits: object) -> dict[str, Any]:
    return {"anyOf": [{"type": kind, **limits}, {"type": "null"}], "description": description}
