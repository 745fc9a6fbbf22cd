"""SQLAdmin: file columns as uploads in forms, as links in lists and details.

Derive views from this ``ModelView`` instead of SQLAdmin's; columns of type ``StoredObject`` are found by themselves::

    from sqladmin import Admin

    from filerow.ext.fastapi import routes
    from filerow.ext.sqladmin import ModelView


    class DocumentAdmin(ModelView, model=Document):
        column_list = [Document.id, Document.name, Document.file]


    app.include_router(routes("/files"))  # serves the signed URLs of a local backend
    Admin(app, engine).add_view(DocumentAdmin)

A base class of your own goes before it: ``class DocumentAdmin(MyView, ModelView, model=Document)``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._orm.column import StoredObject
from filerow._requirements import needs
from filerow.exceptions import FileValidationError
from filerow.ext._admin import MOST_IN_LIST, files_in, links_html, links_of_async, names_of, new_files, no_files, refused

with needs("sqladmin", "filerow.ext.sqladmin"):
    import sqladmin
    from markupsafe import Markup
    from sqladmin.forms import ModelConverter, ModelConverterBase, converts
    from starlette.requests import Request

    from filerow.ext._admin_forms import FileField, field_options, input_html

__all__ = ("FileConverter", "ModelView")

_UPLOAD = "-upload"
"""Ends the name of an input: an empty one with a column's own name would be taken for a file of fastapi-storages."""


class _Widget:
    """As that of :class:`FileField`, and awaits signatures."""

    input_type = "file"

    async def __call__(self, field: _Field, **options: Any) -> Markup:
        return input_html(field, await links_of_async(field.stored), options)


class _Field(FileField):
    """A file column in a form of SQLAdmin.

    Its ``data``, which goes on to the view, is the field itself.
    """

    widget = _Widget()

    def process(self, formdata: Any, *given: Any, **options: Any) -> None:
        super().process(formdata, *given, **options)
        self.data = self

    def check(self, file: FileObject) -> None:
        self.column._check_assigned(file, self.short_name)  # noqa: SLF001 - the rest is awaited, in checked()

    async def checked(self) -> Any:
        """Return the column's new value, which all of its rules allow."""
        for file in new_files(self.change):
            await self.column.check_async(file, field=self.short_name)
        return self.value


class FileConverter(ModelConverter):
    """Makes fields for file columns.

    A converter of your own derives from it, and is named by ``form_converter`` as usual.
    """

    @converts("filerow.StoredObject")  # type: ignore[untyped-decorator]
    def conv_stored_object(self, *, prop: Any, kwargs: dict[str, Any], **_: Any) -> Any:
        """Return the field of a file column."""
        options = field_options(kwargs, prop.columns[0])
        return _Field(row=[], upload_suffix=_UPLOAD, **options)


class ModelView(sqladmin.ModelView):
    """A view that shows and takes files."""

    form_converter: ClassVar[type[ModelConverterBase]] = FileConverter

    def __init__(self) -> None:
        super().__init__()
        columns = self._mapper.column_attrs
        self._file_columns = {one.key: one.columns[0].type for one in columns if isinstance(one.columns[0].type, StoredObject)}

    async def get_object_for_edit(self, request: Request) -> Any:
        """Return the row to edit."""
        row = await super().get_object_for_edit(request)
        if row is not None:  # SQLAdmin looks for an attribute of each input that was left empty
            vars(row).update(dict.fromkeys([name + _UPLOAD for name in self._file_columns]))
        return row

    async def get_prop_value(self, obj: Any, prop: str) -> Any:
        """Return a value for an export: of a file its name."""
        value = await super().get_prop_value(obj, prop)
        return names_of(value) if isinstance(value, FileObject | FileObjectList) else value

    async def get_list_value(self, obj: Any, prop: str, request: Request | None = None) -> tuple[Any, Any]:
        """Return a value and how the list shows it."""
        if prop in self._list_formatters:
            return await super().get_list_value(obj, prop, request)
        return await self._shown(obj, prop, "2.5rem", MOST_IN_LIST) or await super().get_list_value(obj, prop, request)

    async def get_detail_value(self, obj: Any, prop: str, request: Request | None = None) -> tuple[Any, Any]:
        """Return a value and how the page of a row shows it."""
        if prop in self._detail_formatters:
            return await super().get_detail_value(obj, prop, request)
        return await self._shown(obj, prop, "8rem", None) or await super().get_detail_value(obj, prop, request)

    async def _shown(self, obj: Any, prop: str, height: str, most: int | None) -> tuple[Any, Any] | None:
        value = await super().get_prop_value(obj, prop)
        if not isinstance(value, FileObject | FileObjectList):
            return None
        return value, Markup(links_html(await links_of_async(value), height=height, most=most))  # noqa: S704 - it escapes

    async def insert_model(self, request: Request, data: dict[str, Any]) -> Any:
        """Insert a row with its files."""
        copies = "pk" in request.path_params  # "Save as new": the row that is edited keeps its own
        with _errors_at_fields(data):
            ready = {
                name: await _value_for_new_row(value, copies=copies) if isinstance(value, _Field) else value
                for name, value in data.items()
            }
            return await super().insert_model(request, ready)

    async def update_model(self, request: Request, pk: str, data: dict[str, Any]) -> Any:
        """Update a row, and its files if the form changes them."""
        with _errors_at_fields(data):
            ready = {
                name: await value.checked() if isinstance(value, _Field) else value
                for name, value in data.items()
                if not isinstance(value, _Field) or value.change
            }
            return await super().update_model(request, pk, ready)


async def _value_for_new_row(field: _Field, *, copies: bool) -> Any:
    if field.change:
        return await field.checked()
    if copies and field.stored is not None:
        return FileObjectList(files_in(field.stored)) if field.column.multiple else field.stored
    return no_files(field.column)


@contextmanager
def _errors_at_fields(data: Mapping[str, Any]) -> Generator[None]:
    """Show at its field what a rule refuses; SQLAdmin shows it above the form."""
    try:
        yield
    except FileValidationError as error:
        field = data.get(error.field)
        if isinstance(field, _Field):
            field.errors = [*field.errors, refused(error)]
        raise
