"""The pydantic schema of a file: its input, its output and its JSON Schema.

::

    class DocumentOut(BaseModel):
        model_config = ConfigDict(from_attributes=True)
        id: int
        file: FileObject | None

        @computed_field
        @property
        def url(self) -> str | None:
            return self.file.sign() if self.file else None

Only a ``FileObject`` comes in, or an upload of a framework. JSON (``model_dump(mode="json")``, ``model_dump_json()``) shows the
public view, into which ``include=`` and ``exclude=`` reach. ``model_dump()`` keeps the object, so ``Model(**other.model_dump())``
works. A document that a client sends is refused, because it could name any object of any backend. Code that moves documents
between trusted places asks for them with ``context={"filerow": "document"}``, in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from filerow._content import unwrap_upload
from filerow._file.object import FileObject
from filerow._file.view import REFUSED
from filerow._requirements import needs
from filerow.exceptions import UntrustedDocumentError

with needs("pydantic", "a file in a model of pydantic"):
    from pydantic_core import CoreSchema, PydanticCustomError, PydanticSerializationError, SchemaSerializer, core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

    from filerow._file.list import FileObjectList


View: TypeAlias = Callable[[FileObject], dict[str, Any]]

CONTEXT_KEY = "filerow"
DOCUMENT = "document"

_NOT_A_FILE = "Input should be a FileObject: make one with FileObject.from_upload(upload) or FileObject(content=...), not {given}"


_UNTYPED = (
    "a FileObject is where the type does not say so, such as Any: annotate it as FileObject, or pass file.public_view(); for a "
    "task queue or another service pass file.to_reference()"
)


def core_schema_for(cls: type[FileObject], show: View | None = None) -> CoreSchema:
    """Return the schema of a file: instances in, the public view out.

    Args:
        cls: The class of the file.
        show: What makes the view of one field. Default: the public view, and all fields share one component in OpenAPI.
    """
    name, number = (cls.__qualname__, id(cls)) if show is None else ("SignedFileObject", hash(show))
    return core_schema.with_info_plain_validator_function(
        partial(_validate, cls),
        ref=f"{cls.__module__}.{name}:{number}",
        serialization=core_schema.plain_serializer_function_ser_schema(
            partial(_serialize, show or FileObject.public_view), info_arg=True
        ),
    )


_serializers: dict[type[FileObject], SchemaSerializer] = {}


def serializer_for(cls: type[FileObject]) -> SchemaSerializer:
    """Return what writes files where a field's type does not say that it has them.

    That is in fields of type ``Any``, and with ``serialize_as_any=True``. See :func:`_serialize_untyped`.
    """
    if cls not in _serializers:
        written = core_schema.plain_serializer_function_ser_schema(_serialize_untyped, info_arg=True)
        _serializers[cls] = SchemaSerializer(core_schema.any_schema(serialization=written))
    return _serializers[cls]


def list_schema_for(cls: type[FileObjectList], handler: GetCoreSchemaHandler) -> CoreSchema:
    """Return the schema of a list of files; validation makes a new list."""
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
    if info.include is None and info.exclude is None and not info.mode_is_json():
        return value
    shown = show(value)
    if info.exclude_none:
        shown = {name: part for name, part in shown.items() if part is not None}
    return _selected(shown, info.include, info.exclude)


def _serialize_untyped(value: FileObject, info: core_schema.SerializationInfo[Any]) -> object:
    """Show a file in an answer, and nowhere else.

    Web frameworks write answers by alias. What reads a message of a task queue could make no file of its public view.

    Raises:
        PydanticSerializationError: It is not an answer.
    """
    if info.mode_is_json() and not info.by_alias and not _asks_for_documents(info.context):
        raise PydanticSerializationError(_UNTYPED)
    return _serialize(FileObject.public_view, value, info)


def _selected(shown: Mapping[str, Any], include: object, exclude: object) -> dict[str, Any]:
    """Apply pydantic's ``include=`` and ``exclude=``: names, or a nested mapping."""
    chosen: dict[str, Any] = {}
    for name, value in shown.items():
        wanted, unwanted = _inside(include, name, default=True), _inside(exclude, name, default=False)
        if wanted is False or unwanted is True:
            continue
        further = None if wanted is True else wanted, None if unwanted is False else unwanted
        chosen[name] = _selected(value, *further) if isinstance(value, Mapping) and further != (None, None) else value
    return chosen


def _inside(chosen: object, name: str, *, default: bool) -> object:
    """Return what is selected of one name: all, nothing, or some of its parts."""
    if chosen is None:
        return default
    if not isinstance(chosen, Mapping):
        return isinstance(chosen, Container) and name in chosen
    said = chosen.get(name, chosen.get("__all__", False))
    return True if said is ... else said


def _asks_for_documents(context: object) -> bool:
    return isinstance(context, Mapping) and context.get(CONTEXT_KEY) == DOCUMENT
