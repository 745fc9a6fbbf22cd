"""Litestar's DTOs with lists of files, and with forms that browsers send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from litestar import Controller, Router
from litestar.config.app import AppConfig
from litestar.datastructures import UploadFile
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.exceptions import ImproperlyConfiguredException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.plugins import SerializationPlugin, SerializationPluginProtocol
from litestar.routes import HTTPRoute
from litestar.typing import FieldDefinition
from sqlalchemy import inspect
from sqlalchemy.orm import Mapper

from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._orm.column import StoredObject
from filerow.ext._litestar_forms import is_a, is_list_of_files

_LIST = FieldDefinition.from_annotation(list[FileObject])
_LIST_OR_NONE = FieldDefinition.from_annotation(list[FileObject] | None)
_SHAPE = ("raw", "annotation", "args", "inner_types", "instantiable_origin", "origin", "safe_generic_origin")


def _shape(field: FieldDefinition) -> FieldDefinition | None:
    """Return how a list of files is shown; ``None`` for anything else."""
    if is_a(field.annotation, FileObjectList):
        return _LIST
    is_list = any(is_a(inner.annotation, FileObjectList) for inner in field.inner_types)
    return _LIST_OR_NONE if field.is_optional and is_list else None


class FileDTO:
    """Lets a DTO take lists of files, and forms as browsers send them.

    It may be one of Litestar's or of Advanced Alchemy's.

    The plugin puts it before each DTO of a model with files. For handlers that are registered later, list it first yourself::

        class DocumentDTO(FileDTO, SQLAlchemyDTO[Document]): ...

    Litestar's DTOs take apart every collection field, and can only rebuild one written like ``list[X]``; a ``FileObjectList``
    stops the application at startup. Here it is treated as a ``list[FileObject]``.
    """

    __slots__ = ()

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Iterator[DTOFieldDefinition]:
        """Yield the fields of a model; a list column may be missing, and is empty then.

        See Litestar's ``AbstractDTO``.
        """
        fields: Iterable[DTOFieldDefinition] = super().generate_field_definitions(model_type)  # type: ignore[misc]
        is_mapped = inspect(model_type, raiseerr=False) is not None
        for field in fields:
            shape = _shape(field)
            if shape is None:
                yield field
                continue
            changed: dict[str, Any] = {name: getattr(shape, name) for name in _SHAPE}
            if is_mapped and not (field.has_default or field.default_factory):
                changed["default_factory"] = list
            yield replace(field, **changed)

    def decode_builtins(self, value: dict[str, Any]) -> Any:
        """Make the model of a form, see Litestar's ``AbstractDTO``.

        For a list, a single upload becomes a list of one. A file input that was left empty is not a file, and in a partial DTO it
        changes nothing.

        Raises:
            ValidationException: The form is invalid.
        """
        handler = self.asgi_connection.route_handler.handler_id  # type: ignore[attr-defined]
        model = self._dto_backends[handler]["data_backend"].transfer_model_type  # type: ignore[attr-defined]
        try:
            return super().decode_builtins(_form_of(model, value))  # type: ignore[misc]
        except msgspec.ValidationError as error:
            raise ValidationException(str(error)) from error


def _form_of(model: type[Any], form: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form with its files as a DTO's struct takes them."""
    seen = dict(form)
    for one in msgspec.structs.fields(model):
        part = form.get(one.encode_name)
        field = FieldDefinition.from_annotation(one.type)
        is_list = is_list_of_files(field)
        if isinstance(part, UploadFile) and is_list:
            seen[one.encode_name] = [part]
        elif part == "" and (is_list or any(is_a(inner.annotation, FileObject) for inner in field.inner_types)):
            if one.default is msgspec.UNSET:
                del seen[one.encode_name]
            elif is_list or field.is_optional:
                seen[one.encode_name] = [] if is_list else None
    return seen


_with_files: dict[type[AbstractDTO[Any]], type[AbstractDTO[Any]]] = {}
"""The DTOs with :class:`FileDTO`, by those that were made without."""


def _taking_files(dto: type[AbstractDTO[Any]]) -> type[AbstractDTO[Any]]:
    """Return a DTO with :class:`FileDTO` as its first base."""
    if dto not in _with_files:
        _with_files[dto] = type(dto.__name__, (FileDTO, dto), {})
    return _with_files[dto]


def let_dtos_take_files(app_config: AppConfig) -> None:
    """Put :class:`FileDTO` before an application's DTOs of models with files.

    Only the DTO that a handler, controller, router or the application names is another one; the DTO itself stays as it is.
    """
    for layer in (app_config, *_layers(app_config.route_handlers)):
        for name in ("dto", "return_dto"):
            dto = getattr(layer, name, None)
            if isinstance(dto, type) and issubclass(dto, AbstractDTO) and not issubclass(dto, FileDTO) and _has_files(dto):
                setattr(layer, name, _taking_files(dto))


def _layers(handlers: Iterable[Any]) -> Iterator[Any]:
    """Yield everything that may name a DTO: handlers, controllers and routers."""
    for one in handlers:
        if isinstance(one, Router):
            yield one
            registered = [handler for route in one.routes if isinstance(route, HTTPRoute) for handler in route.route_handlers]
            yield from registered
            yield from {id(handler.owner): handler.owner for handler in registered if handler.owner is not None}.values()
        elif is_a(one, Controller):
            yield one
            found = [getattr(one, name) for name in dir(one) if name not in dir(Controller)]
            yield from (handler for handler in found if isinstance(handler, BaseRouteHandler))
        else:
            yield one


def _has_files(dto: type[AbstractDTO[Any]]) -> bool:
    """Return True if the model of a DTO, or one inside it, has files."""
    left: list[Any] = [model] if (model := getattr(dto, "model_type", None)) is not None else []
    seen: set[Any] = set()
    while left:
        model = left.pop()
        seen.add(model)
        try:
            fields = list(dto.generate_field_definitions(model))
        except Exception:  # noqa: BLE001 - Litestar meets it again, and reports it with the handler's name
            return False
        parts = [part for field in fields for part in _parts(field)]
        if any(is_a(part.annotation, FileObject) or is_a(part.annotation, FileObjectList) for part in parts):
            return True
        left += [part.annotation for part in parts if dto.detect_nested_field(part) and part.annotation not in seen]
    return False


def _parts(field: FieldDefinition) -> Iterator[FieldDefinition]:
    yield field
    for inner in field.inner_types:
        yield from _parts(inner)


class FileDTOPlugin(SerializationPlugin):
    """Makes a :class:`FileDTO` from the DTO that another plugin makes.

    It does so for mapped classes with lists of files.

    Advanced Alchemy's plugin does that for every handler that takes or returns a mapped class.

    Args:
        plugins: The application's plugins, including those added later.
    """

    def __init__(self, plugins: Sequence[object]) -> None:
        self._plugins = plugins

    def supports_type(self, field_definition: FieldDefinition) -> bool:
        """Return True for a mapped class with a list of files, or a collection of it.

        Another plugin must support it.
        """
        kinds = [field_definition.annotation, *(inner.annotation for inner in field_definition.inner_types)]
        return any(map(_has_file_list, kinds)) and self._other(field_definition) is not None

    def create_dto_for_type(self, field_definition: FieldDefinition) -> type[AbstractDTO[Any]]:
        """Return the other plugin's DTO with ours as its first base."""
        other = self._other(field_definition)
        if other is None:
            raise ImproperlyConfiguredException(f"no plugin makes a DTO for {field_definition.annotation!r}")
        return _taking_files(other.create_dto_for_type(field_definition))

    def _other(self, field_definition: FieldDefinition) -> SerializationPluginProtocol | None:
        for plugin in self._plugins:
            if plugin is not self and isinstance(plugin, SerializationPluginProtocol) and plugin.supports_type(field_definition):
                return plugin
        return None


def _has_file_list(annotation: object) -> bool:
    mapper = inspect(annotation, raiseerr=False) if isinstance(annotation, type) else None
    kinds: list[object] = [column.type for column in mapper.columns] if isinstance(mapper, Mapper) else []
    return any(isinstance(kind, StoredObject) and kind.multiple for kind in kinds)
