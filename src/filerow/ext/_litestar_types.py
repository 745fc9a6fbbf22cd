"""What Litestar must know of files: encoding, decoding, OpenAPI schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from litestar.datastructures import UploadFile
from litestar.openapi.spec import OpenAPIFormat, OpenAPIType, Schema
from litestar.params import BodyKwarg
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from filerow._file.list import FileObjectList
from filerow._file.object import ENCTYPE_NEEDED, FileObject
from filerow._file.view import REFUSED
from filerow.exceptions import ContentError, FileValidationError, UntrustedDocumentError
from filerow.ext._litestar_forms import CheckedUpload, is_a

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.openapi.spec import Reference


_is_file = partial(is_a, kind=FileObject)
_is_file_list = partial(is_a, kind=FileObjectList)


def _uploads(value: object) -> Iterable[object]:
    """Return the uploads in a multipart body as Litestar has parsed it.

    It may be one, several with one name, or the whole form.
    """
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
        raise FileValidationError("a file is needed")
    if not found:
        raise UntrustedDocumentError(_refused(value))
    if len(found) > 1:
        raise ContentError(f"one file is expected here, but {len(found)} were uploaded")
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
    FileObject: FileObject.public_view,
    FileObjectList: lambda files: [file.public_view() for file in files],
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
    """Describes a file: bytes in a request, its public view in a response."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        """Return True if this is a file or a list of files."""
        return _is_file(value) or _is_file_list(value)

    def to_openapi_schema(  # type: ignore[override]  # Litestar looks through references too
        self, field_definition: FieldDefinition, schema_creator: SchemaCreator
    ) -> Schema | Reference:
        """Return the schema of a file or of a list of files.

        Litestar's creator prefers aliases when it describes a request; that is how the two directions are distinguished here.
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
