"""Flask-Admin: file columns as uploads in forms, as links in lists.

Derive views from this ``ModelView`` instead of Flask-Admin's; columns of type ``StoredObject`` are found by themselves::

    from flask_admin import Admin

    from filerow.ext.flask import routes
    from filerow.ext.flask_admin import ModelView

    app.register_blueprint(routes("/files"))  # serves the signed URLs of a local backend
    Admin(app).add_view(ModelView(Document, session))

A base class of your own goes before it: ``class DocumentView(MyView, ModelView)``.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._requirements import needs
from filerow.exceptions import FileValidationError
from filerow.ext._admin import MOST_IN_LIST, links_html, links_of, names_of, refused

with needs("flask-admin", "filerow.ext.flask_admin"):
    from flask_admin.contrib import sqla
    from flask_admin.contrib.sqla.form import AdminModelConverter
    from flask_admin.model.form import converts
    from markupsafe import Markup

    from filerow.ext._admin_forms import FileField, field_options

if TYPE_CHECKING:  # Flask-Admin has no types

    class _Converter: ...

    class _View:
        def __init__(self, *arguments: Any, **options: Any) -> None: ...
        def create_model(self, form: Any) -> Any: ...
        def update_model(self, form: Any, model: Any) -> Any: ...
        def handle_view_exception(self, exc: Exception) -> Any: ...

else:
    _Converter, _View = AdminModelConverter, sqla.ModelView

__all__ = ("FileConverter", "ModelView")


class FileConverter(_Converter):
    """Makes fields for file columns.

    A converter of your own derives from it, and is named by ``model_form_converter``.
    """

    @converts("filerow.StoredObject")  # type: ignore[untyped-decorator]
    def conv_stored_object(self, column: Any, field_args: dict[str, Any], **_: Any) -> FileField:
        """Return the field of a file column."""
        return FileField(**field_options(field_args, column))


class ModelView(_View):
    """A view that shows and takes files."""

    model_form_converter = FileConverter

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name, format_value in (("", _in_list), ("_detail", _in_detail), ("_export", _in_export)):
            known = getattr(self, f"column_type_formatters{name}")
            ours = dict.fromkeys((FileObject, FileObjectList), format_value)
            setattr(self, f"column_type_formatters{name}", {**ours, **known})  # the first that fits is called

    def create_model(self, form: Any) -> Any:
        """Create a row, and show at its field a file that only the flush refuses."""
        with _filled_in(form):
            return super().create_model(form)

    def update_model(self, form: Any, model: Any) -> Any:
        """Update a row; see :meth:`create_model`."""
        with _filled_in(form):
            return super().update_model(form, model)

    def handle_view_exception(self, exc: Exception) -> Any:
        """Return True for an error that the form shows."""
        if isinstance(exc, FileValidationError):
            field = getattr(_form.get(), "_fields", {}).get(exc.field)
            if field is not None:
                field.errors = [*field.errors, refused(exc)]
                return True
        return super().handle_view_exception(exc)


_form: ContextVar[Any] = ContextVar("filerow_admin_form", default=None)
"""The form that the request under way has filled in."""


@contextmanager
def _filled_in(form: object) -> Generator[None]:
    token = _form.set(form)
    try:
        yield
    finally:
        _form.reset(token)


def _in_list(_view: object, value: object, _name: str) -> Markup:
    return Markup(links_html(links_of(value), most=MOST_IN_LIST))  # noqa: S704 - it escapes


def _in_detail(_view: object, value: object, _name: str) -> Markup:
    return Markup(links_html(links_of(value), height="8rem"))  # noqa: S704 - it escapes


def _in_export(_view: object, value: object, _name: str) -> str:
    names = names_of(value)
    return names if isinstance(names, str) else ", ".join(names)
