"""What Litestar needs to know about files as values: how they are encoded and decoded, and their OpenAPI schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
from litestar.datastructures import UploadFile
from litestar.exceptions import ImproperlyConfiguredException, ValidationException
from litestar.openapi.spec import OpenAPIFormat, OpenAPIType, Schema
from litestar.params import BodyKwarg
from litestar.plugins import OpenAPISchemaPlugin, SerializationPlugin, SerializationPluginProtocol
from litestar.typing import FieldDefinition
from sqlalchemy import inspect
from sqlalchemy.orm import Mapper

from filerow._file.list import FileObjectList
from filerow._file.object import ENCTYPE_NEEDED, FileObject
from filerow._file.view import REFUSED, view_of
from filerow._orm.column import StoredObject
from filerow.exceptions import ContentError, FileValidationError, UntrustedDocumentError
from filerow.ext._litestar_forms import CheckedUpload

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.dto import AbstractDTO
    from litestar.dto.data_structures import DTOFieldDefinition
    from litestar.openapi.spec import Reference

__all__ = ("DECODERS", "ENCODERS", "FileDTO", "FileDTOPlugin", "FileSchemaPlugin")


def _is_file(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, FileObject)


def _is_file_list(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, FileObjectList)


def _uploads(value: object) -> Iterable[object]:
    """Return the uploads in what Litestar parsed from a multipart body: one, several with one name, or the whole form."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [upload for part in value for upload in _uploads(part)]
    return [value] if isinstance(value, UploadFile | FileObject) else []


def _decode_file(kind: type[Any], value: object) -> FileObject:
    """Make a pending file from an upload; JSON can never be one.

    Raises:
        UntrustedDocumentError: A client sent a document.
        ContentError: There is not exactly one upload.
        FileValidationError: The user chose no file.
    """
    found = list(_uploads(value))
    if value == "":
        msg = "a file is needed"
        raise FileValidationError(msg)
    if not found:
        raise UntrustedDocumentError(_refused(value))
    if len(found) > 1:
        msg = f"one file is expected here, but {len(found)} were uploaded"
        raise ContentError(msg)
    return _file(kind, found[0])


def _decode_list(kind: type[Any], value: object) -> FileObjectList:
    """Make a list of pending files from one or more uploads."""
    found = list(_uploads(value))
    if not found and value not in ([], ""):
        raise UntrustedDocumentError(_refused(value))
    files: FileObjectList = kind(_file(FileObject, upload) for upload in found)
    return files


def _refused(value: object) -> str:
    return f"{REFUSED}; {ENCTYPE_NEEDED}" if isinstance(value, str) else REFUSED


def _file(kind: type[FileObject], upload: object) -> FileObject:
    if isinstance(upload, CheckedUpload):
        return upload.checked
    return upload if isinstance(upload, FileObject) else kind.from_upload(upload)


ENCODERS: dict[Any, Callable[[Any], Any]] = {
    FileObject: view_of,
    FileObjectList: lambda files: [view_of(file) for file in files],
}
"""To clients a file is its public view."""

DECODERS: list[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]]] = [
    (_is_file, _decode_file),
    (_is_file_list, _decode_list),
]
"""From clients a file is an upload and nothing else."""


_VIEW = {"filename": str, "content_type": str, "size": int | None, "last_modified": datetime | None, "metadata": dict[str, Any]}
PublicFile: Any = TypedDict("FileObject", _VIEW)  # type: ignore[misc]
"""The public view, under its name in an application's schema."""


class FileSchemaPlugin(OpenAPISchemaPlugin):
    """Describes a file: in a request as the bytes of a multipart field, in a response as its public view."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        """Return True if this is a file or a list of files."""
        return _is_file(value) or _is_file_list(value)

    def to_openapi_schema(  # type: ignore[override]  # Litestar looks through references too
        self, field_definition: FieldDefinition, schema_creator: SchemaCreator
    ) -> Schema | Reference:
        """Return the schema of a file or of a list of files.

        Litestar's creator prefers aliases when it describes a request; that is how the two directions are told apart here.
        """
        if schema_creator.prefer_alias:
            one: Schema | Reference = Schema(
                type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, content_media_type="application/octet-stream"
            )
        else:
            one = schema_creator.for_field_definition(FieldDefinition.from_annotation(PublicFile))
        many = _is_file_list(field_definition.annotation)
        schema = Schema(type=OpenAPIType.ARRAY, items=one) if many else one
        if field_definition.name == "data" and isinstance(field_definition.kwarg_definition, BodyKwarg):
            return Schema(type=OpenAPIType.OBJECT, properties={"files" if many else "file": schema})
        return schema


_LIST = FieldDefinition.from_annotation(list[FileObject])
_LIST_OR_NONE = FieldDefinition.from_annotation(list[FileObject] | None)
_SHAPE = ("raw", "annotation", "args", "inner_types", "instantiable_origin", "origin", "safe_generic_origin")


def _shape(field: FieldDefinition) -> FieldDefinition | None:
    """Return how a list of files, or an optional one, is shown; ``None`` for anything else."""
    if _is_file_list(field.annotation):
        return _LIST
    is_list = any(_is_file_list(inner.annotation) for inner in field.inner_types)
    return _LIST_OR_NONE if field.is_optional and is_list else None


class FileDTO:
    """Lets one of Litestar's or Advanced Alchemy's DTOs take models with lists of files; list it as the first base.

    ::

        class DocumentDTO(FileDTO, SQLAlchemyDTO[Document]): ...

    Litestar's DTOs take apart every collection field, and can only rebuild one written like ``list[X]``; a ``FileObjectList``
    stops the application at startup. Here it is treated as a ``list[FileObject]``.
    """

    __slots__ = ()

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Iterator[DTOFieldDefinition]:
        """Yield the fields of a model, see Litestar's ``AbstractDTO``."""
        fields: Iterable[DTOFieldDefinition] = super().generate_field_definitions(model_type)  # type: ignore[misc]
        for field in fields:
            shape = _shape(field)
            yield field if shape is None else replace(field, **{name: getattr(shape, name) for name in _SHAPE})

    def decode_builtins(self, value: dict[str, Any]) -> Any:
        """Make the model of a form, see Litestar's ``AbstractDTO``; for a list, a single upload becomes a list of one.

        Raises:
            ValidationException: The form is invalid.
        """
        fields = self.generate_field_definitions(self.model_type)  # type: ignore[attr-defined]
        lists = {field.name for field in fields if field.annotation in {_LIST.annotation, _LIST_OR_NONE.annotation}}
        form = {name: [part] if name in lists and isinstance(part, UploadFile) else part for name, part in value.items()}
        try:
            return super().decode_builtins(form)  # type: ignore[misc]
        except msgspec.ValidationError as error:
            raise ValidationException(str(error)) from error


class FileDTOPlugin(SerializationPlugin):
    """Makes a :class:`FileDTO` from the DTO that another plugin makes for a mapped class with lists of files.

    Advanced Alchemy's plugin does that for every handler that takes or returns a mapped class.

    Args:
        plugins: The application's plugins, including those added later.
    """

    def __init__(self, plugins: Sequence[object]) -> None:
        self._plugins = plugins
        self._made: dict[type[AbstractDTO[Any]], type[AbstractDTO[Any]]] = {}

    def supports_type(self, field_definition: FieldDefinition) -> bool:
        """Return True if this is a mapped class with a list of files, or a collection of those, that another plugin supports."""
        kinds = [field_definition.annotation, *(inner.annotation for inner in field_definition.inner_types)]
        return any(map(_has_file_list, kinds)) and self._other(field_definition) is not None

    def create_dto_for_type(self, field_definition: FieldDefinition) -> type[AbstractDTO[Any]]:
        """Return the other plugin's DTO with ours as its first base."""
        other = self._other(field_definition)
        if other is None:
            msg = f"no plugin makes a DTO for {field_definition.annotation!r}"
            raise ImproperlyConfiguredException(msg)
        theirs = other.create_dto_for_type(field_definition)
        if theirs not in self._made:
            self._made[theirs] = type(theirs.__name__, (FileDTO, theirs), {})
        return self._made[theirs]

    def _other(self, field_definition: FieldDefinition) -> SerializationPluginProtocol | None:
        for plugin in self._plugins:
            if plugin is not self and isinstance(plugin, SerializationPluginProtocol) and plugin.supports_type(field_definition):
                return plugin
        return None


def _has_file_list(annotation: object) -> bool:
    mapper = inspect(annotation, raiseerr=False) if isinstance(annotation, type) else None
    kinds: list[object] = [column.type for column in mapper.columns] if isinstance(mapper, Mapper) else []
    return any(isinstance(kind, StoredObject) and kind.multiple for kind in kinds)
