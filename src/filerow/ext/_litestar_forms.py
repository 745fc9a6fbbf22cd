"""Litestar's forms: files are checked, and empty file inputs are not files.

A form without files is refused.

A browser sends an empty input as a part without a name, and Litestar makes it an empty string, or ``None`` for an optional
``UploadFile``. Here an optional ``FileObject`` becomes ``None`` too, and lists of files become empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.datastructures import FormMultiDict, UploadFile
from litestar.enums import RequestEncodingType
from litestar.handlers import HTTPRouteHandler
from litestar.params import BodyKwarg
from litestar.types import Empty
from litestar.typing import FieldDefinition
from litestar.utils.scope.state import ScopeState

from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow.ext._uploads import FormField, carries_files, checked_async, is_upload, refuse_texts, required, target_of

_EACH = ""
"""Stands for the name of each field, where a handler takes a whole form as one file or one list of files."""


@dataclass(frozen=True)
class Uploaded:
    """An uploaded file, checked by its column's rules before the handler runs.

    ``file: Annotated[FileObject, Uploaded(Document.file)]`` is a field of the body's dataclass, msgspec struct or pydantic model;
    ``FileObject | None`` allows it to be missing or empty. For a list column the field is a ``FileObjectList``. Without it, and
    in a body with a DTO, the file is checked when it is assigned and stored. The upload is read when a session stores the file;
    Litestar closes it after the response.

    Args:
        column: The column, such as ``Document.file``.
    """

    column: object

    def __post_init__(self) -> None:
        """Check that it is a file column.

        Raises:
            TypeError: It is not.
        """
        target_of(self.column)


class CheckedUpload(UploadFile):
    """An upload that its column's rules allow; Litestar closes it.

    Attributes:
        checked: The pending file.
    """

    __slots__ = ("checked",)

    def __init__(self, upload: UploadFile, checked: FileObject) -> None:
        self.content_type, self.filename, self.headers = upload.content_type, upload.filename, upload.headers
        self.file = upload.file
        self.checked = checked


def see_to_files(handler: HTTPRouteHandler) -> None:
    """Make a form handler check files, and treat empty inputs as no file.

    A form without files is refused, and an empty input too, unless the form allows the file to be missing.

    Args:
        handler: A registered handler that has not been called yet.
    """
    models = _models_of_form(handler)
    wanted, absent = _files_of_form(handler, models)
    if not wanted:
        return
    targets = _targets_of_form(models)
    theirs = [layer.before_request for layer in handler.ownership_layers if layer.before_request]

    async def before_request(request: Request[Any, Any, Any]) -> Any:
        if not carries_files(request.headers.get("content-type")):
            _refuse_without_files(wanted, await request.form())
        if absent or targets:
            await request.form()
            form = ScopeState.from_scope(request.scope).form  # Litestar makes the data from this, and changes it the same way
            if form is not Empty:
                form |= {name: nothing() for name, nothing in absent.items() if form.get(name) == ""}
                form |= {name: await _checked(part, name, targets) for name, part in form.items()}
        return await theirs[-1](request) if theirs else None

    handler.before_request = before_request


def _refuse_without_files(wanted: Mapping[str, bool], form: FormMultiDict) -> None:
    for name, is_needed in wanted.items():
        refuse_texts(name, form.getall(name, []))
        if is_needed:
            raise required(name, "")


async def _checked(part: Any, name: str, targets: Mapping[str, FormField]) -> Any:
    """Return a part of a form with its uploads checked by their column's rules."""
    target = targets.get(name) or targets.get(_EACH)
    if isinstance(part, list):
        return [await _checked(one, name, targets) for one in part]
    if target is None or not is_upload(part):
        return part
    return CheckedUpload(part, await checked_async(part, target, name))


def _models_of_form(handler: HTTPRouteHandler) -> list[FieldDefinition]:
    """Return the types of a form that are checked here."""
    data = handler.parsed_data_field
    body = data.kwarg_definition if data is not None else None
    if data is None or not isinstance(body, BodyKwarg) or body.media_type != RequestEncodingType.MULTI_PART:
        return []
    if body.multipart_form_part_limit is not None or handler.resolve_data_dto() is not None:
        return []  # read by Litestar with its own limit, or by a DTO
    return [data, *data.inner_types] if data.is_union else [data]


def _fields_of(models: Sequence[FieldDefinition]) -> dict[str, FieldDefinition]:
    return {
        name: FieldDefinition.from_annotation(hint)
        for model in models
        if isinstance(model.annotation, type)
        for name, hint in model.get_type_hints(include_extras=True).items()
    }


def _targets_of_form(models: Sequence[FieldDefinition]) -> dict[str, FormField]:
    """Return the columns of the form's files, by the names of their fields."""
    fields = {_EACH: models[0]} | _fields_of(models)
    marks = {name: _mark_of(field) for name, field in fields.items()}
    return {name: target_of(mark.column) for name, mark in marks.items() if mark is not None}


def _mark_of(field: FieldDefinition) -> Uploaded | None:
    marks = (mark for part in (field, *field.inner_types) for mark in part.metadata)
    return next((mark for mark in marks if isinstance(mark, Uploaded)), None)


def _files_of_form(
    handler: HTTPRouteHandler, models: Sequence[FieldDefinition]
) -> tuple[dict[str, bool], dict[str, Callable[[], Any]]]:
    """Return each file's flag "required", and the factory of its missing value."""
    data = handler.parsed_data_field
    if data is None or not models:
        return {}, {}
    if any(is_a(model.annotation, FileObject) or is_list_of_files(model) for model in models):
        return {"data": not data.is_optional}, {}
    fields = _fields_of(models)
    absent: dict[str, Callable[[], Any]] = {name: _none for name, field in fields.items() if _is_optional_file(field)}
    absent |= {name: list for name, field in fields.items() if is_list_of_files(field)}
    needed = {name: True for name, field in fields.items() if is_a(field.annotation, FileObject)}
    return needed | dict.fromkeys(absent, False), absent


def _none() -> None:
    return None


def _is_optional_file(field: FieldDefinition) -> bool:
    return field.is_optional and any(is_a(part.annotation, FileObject) for part in field.inner_types)


def is_list_of_files(field: FieldDefinition) -> bool:
    """Return True for ``FileObjectList`` and ``list[FileObject]``, optional or not."""
    choices = field.inner_types if field.is_union else (field,)
    return any(
        is_a(one.annotation, FileObjectList) or (one.origin is list and is_a(one.inner_types[0].annotation, FileObject))
        for one in choices
    )


def is_a(annotation: object, kind: type) -> bool:
    """Return True for a class, or a subclass of it."""
    return isinstance(annotation, type) and issubclass(annotation, kind)
