"""Litestar forms: a form without files is refused, and a file input left empty is not a file.

A browser sends an empty input as a part without a name, and Litestar makes it an empty string, or ``None`` for an optional
``UploadFile``. Here an optional ``FileObject`` becomes ``None`` too, and lists of files become empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from litestar.enums import RequestEncodingType
from litestar.params import BodyKwarg
from litestar.types import Empty
from litestar.typing import FieldDefinition
from litestar.utils.scope.state import ScopeState

from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow.ext._uploads import carries_files, refuse_texts, required

if TYPE_CHECKING:
    from litestar import Request
    from litestar.datastructures import FormMultiDict
    from litestar.handlers import HTTPRouteHandler

__all__ = ("see_to_files",)


def see_to_files(handler: HTTPRouteHandler) -> None:
    """Make a form handler refuse a form without files, and treat empty file inputs as no file.

    The latter only where the form allows the file to be missing.

    Args:
        handler: A registered handler that has not been called yet.
    """
    wanted, absent = _files_of_form(handler)
    if not wanted:
        return
    theirs = [layer.before_request for layer in handler.ownership_layers if layer.before_request]

    async def before_request(request: Request[Any, Any, Any]) -> Any:
        if not carries_files(request.headers.get("content-type")):
            _refuse_without_files(wanted, await request.form())
        if absent:
            await request.form()
            form = ScopeState.from_scope(request.scope).form  # Litestar makes the data from this, and changes it the same way
            if form is not Empty:
                form |= {name: nothing() for name, nothing in absent.items() if form.get(name) == ""}
        return await theirs[-1](request) if theirs else None

    handler.before_request = before_request


def _refuse_without_files(wanted: Mapping[str, bool], form: FormMultiDict) -> None:
    for name, is_needed in wanted.items():
        refuse_texts(name, form.getall(name, []))
        if is_needed:
            raise required(name, "")


def _files_of_form(handler: HTTPRouteHandler) -> tuple[dict[str, bool], dict[str, Callable[[], Any]]]:
    """Return whether each file of a form is required, and a factory for the value of each that may be missing, by name."""
    data = handler.parsed_data_field
    body = data.kwarg_definition if data is not None else None
    if data is None or not isinstance(body, BodyKwarg) or body.media_type != RequestEncodingType.MULTI_PART:
        return {}, {}
    if body.multipart_form_part_limit is not None or handler.resolve_data_dto() is not None:
        return {}, {}  # read by Litestar with its own limit, or by a DTO
    models = [inner for inner in data.inner_types if not inner.is_none_type] if data.is_union else [data]
    if any(_is_a(model, FileObject) or _is_list_of_files(model) for model in models):
        return {"data": not data.is_optional}, {}
    hints = {
        name: hint for model in models if isinstance(model.annotation, type) for name, hint in model.get_type_hints().items()
    }
    fields = {name: FieldDefinition.from_annotation(hint) for name, hint in hints.items()}
    absent: dict[str, Callable[[], Any]] = {name: _none for name, field in fields.items() if _is_optional_file(field)}
    absent |= {name: list for name, field in fields.items() if _is_list_of_files(field)}
    needed = {name: True for name, field in fields.items() if _is_a(field, FileObject)}
    return needed | dict.fromkeys(absent, False), absent


def _none() -> None:
    return None


def _is_optional_file(field: FieldDefinition) -> bool:
    return field.is_optional and any(_is_a(part, FileObject) for part in field.inner_types)


def _is_list_of_files(field: FieldDefinition) -> bool:
    choices = field.inner_types if field.is_union else (field,)
    return any(
        _is_a(part, FileObjectList) or (part.origin is list and _is_a(part.inner_types[0], FileObject)) for part in choices
    )


def _is_a(field: FieldDefinition, kind: type) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, kind)
