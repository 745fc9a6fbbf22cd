"""starlette-admin: file columns as uploads in forms, as links in lists.

Importing this module is enough: every ``starlette_admin.contrib.sqla.ModelView`` finds columns of type ``StoredObject``, and
shows at its field a file that only the flush refuses, such as an image of which no variant can be made::

    from starlette_admin.contrib.sqla import Admin, ModelView

    import filerow.ext.starlette_admin
    from filerow.ext.starlette import routes

    app = Starlette(routes=routes("/files"))  # serves the signed URLs of a local backend
    admin = Admin(engine)
    admin.add_view(ModelView(Document))
    admin.mount_to(app)

To set options of one field, name it: ``fields = ["id", FileField("cover", column=Document.cover, label="Front")]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Self

from filerow._orm.column import StoredObject
from filerow._requirements import needs
from filerow.exceptions import FileValidationError
from filerow.ext._admin import (
    MOST_IN_LIST,
    REQUIRED,
    Link,
    accepted,
    answers_in,
    changed,
    current_html,
    links_html,
    links_of_async,
    new_files,
    refused,
)
from filerow.ext._uploads import target_of

with needs("starlette-admin", "filerow.ext.starlette_admin"):
    import starlette_admin
    from jinja2 import Environment
    from markupsafe import Markup, escape
    from starlette.datastructures import FormData
    from starlette.requests import Request
    from starlette_admin.contrib.sqla import ModelView
    from starlette_admin.contrib.sqla.converters import register_converter
    from starlette_admin.exceptions import FormValidationError
    from starlette_admin.helpers import html_params
    from starlette_admin.types import RequestAction

__all__ = ("FileField",)

# The tool includes a field's templates by name; Jinja takes a template in its place, so that none of ours needs to be found.
_TEMPLATES = Environment(autoescape=True)
_LIST: Any = _TEMPLATES.from_string("{{ field.list_html(data) }}")
_DETAIL: Any = _TEMPLATES.from_string("{{ field.detail_html(data) }}")
_FORM: Any = _TEMPLATES.from_string("{{ field.form_html(data, error) }}")


class _Parsed(tuple[Any, ...]):  # noqa: SLOT001 - its attributes are for us, the pair for starlette-admin
    """What a form makes of a column, as starlette-admin takes it.

    That is the new value, and whether to clear the column.

    Attributes:
        change: ``{}`` to leave the column alone, or ``{"value": ...}``.
        links: The links to the files of the row.
        holds: The column has a file, or may have one.
    """

    change: Mapping[str, Any]
    links: Sequence[Link]
    holds: bool

    @classmethod
    def of(cls, change: Mapping[str, Any], links: Sequence[Link], *, holds: bool) -> Self:
        """Return the value of a field that the form makes ``change`` of."""
        value = change.get("value")
        made = cls((value or None, bool(change) and not value))
        made.change, made.links, made.holds = change, links, holds
        return made


@dataclass
class FileField(starlette_admin.FileField):
    """The field of a file column.

    Its column stays out of exports: those of starlette-admin fail at rows without a file.

    Args:
        column: The column, such as ``Document.file``, or its type.
    """

    column: Any = None
    exclude_from_export: bool | None = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stored: StoredObject = target_of(self.column).type
        self.multiple: bool = self.stored.multiple
        self.accept: str | None = accepted(self.stored) or None
        self.list_template: str = _LIST
        self.detail_template: str = _DETAIL
        self.form_template: str = _FORM

    async def serialize_value(self, request: Request, value: Any) -> Any:
        """Return the links to the files, as JSON can hold them."""
        links = await links_of_async(value)
        if request.state.action is RequestAction.EDIT:
            _rows_of(request).setdefault(self.name, (value, links))
        shown = [link._asdict() for link in links]
        return shown if self.multiple else shown[0] if shown else None

    async def parse_form_data(self, request: Request, form_data: FormData) -> Any:
        """Return what the form makes of the column."""
        answers = answers_in(self.id, form_data.getlist)
        if self._is_in_row_of_another:
            holds = bool(form_data.get(f"{self.id.removesuffix(self.name)}pk"))
            change = {} if self.multiple and holds else changed(answers, self.stored, None)
            return _Parsed.of(change, (), holds=holds)
        current, links = _rows_of(request).get(self.name, (None, ()))
        return _Parsed.of(changed(answers, self.stored, current), links, holds=bool(current))

    async def validate(self, request: Request, value: Any, form_values: dict[str, Any]) -> None:  # noqa: ARG002
        """Check the new files by all rules of the column.

        Raises:
            ValueError: One is refused, or there is none though the column needs one.
        """
        if self.required and not value.change.get("value", value.holds):
            raise ValueError(REQUIRED)
        for file in new_files(value.change):
            try:
                await self.stored.check_async(file, field=self.name)
            except FileValidationError as error:
                raise ValueError(refused(error)) from error

    @property
    def _is_in_row_of_another(self) -> bool:
        return self.id != self.name

    def list_html(self, data: Any) -> Markup:
        """Return the HTML of the column in a list of rows, for our template."""
        return Markup(links_html(_links_in(data), most=MOST_IN_LIST))  # noqa: S704 - it escapes

    def detail_html(self, data: Any) -> Markup:
        """Return the HTML of the column on the page of a row, for our template."""
        return Markup(links_html(_links_in(data), height="8rem"))  # noqa: S704 - it escapes

    def form_html(self, data: Any, error: object) -> Markup:
        """Return the HTML of the field in a form, for our template."""
        links = _links_in(data)
        if self.multiple and links and self._is_in_row_of_another:
            return self.detail_html(data)  # the form of another row does not say which row this is
        current = current_html(self.id, links, multiple=self.multiple, clearable=not self.required)
        attributes = {"multiple": self.multiple, "accept": self.accept, "disabled": self.disabled}
        needed = bool(self.required and not links and not self._is_in_row_of_another)  # a spare row may stay empty
        shown = html_params({"required": needed, **attributes})
        wrong = f" {self.error_class}" if error else ""
        return Markup(  # noqa: S704 - each part escapes what it is given
            f'{current}<input type="file" class="form-control{wrong}" id="{escape(self.id)}" name="{escape(self.id)}" {shown}>'
            + (f'<div class="invalid-feedback">{escape(error)}</div>' if error else "")
            + (f'<small class="form-hint">{escape(self.help_text)}</small>' if self.help_text else "")
        )


def _rows_of(request: Request) -> dict[str, tuple[Any, Sequence[Link]]]:
    """Return what the row under way holds, by field.

    A row is shown to its fields before its form is parsed.
    """
    if not hasattr(request.state, "filerow_rows"):
        request.state.filerow_rows = {}
    found: dict[str, tuple[Any, Sequence[Link]]] = request.state.filerow_rows
    return found


def _links_in(data: Any) -> Sequence[Link]:
    if isinstance(data, _Parsed):
        return data.links
    return [Link(**link) for link in (data if isinstance(data, list) else [data] if data else [])]


@register_converter(StoredObject)
def _field_of(*, name: str, column: Any, **_: Any) -> FileField:
    kind: StoredObject = column.type
    required = not (column.nullable or kind.multiple or column.default or column.server_default)
    return FileField(name, column=kind, required=required, help_text=column.comment)


_handle_exception = ModelView.handle_exception


@wraps(_handle_exception)
async def _handle_refusals(self: ModelView, request: Request, exc: Exception) -> None:
    """Show at its field what a flush has refused."""
    if isinstance(exc, FileValidationError) and exc.field:
        raise FormValidationError({exc.field: refused(exc)}) from exc
    await _handle_exception(self, request, exc)


# starlette-admin has no other place for errors of a flush; a view with a method of its own goes first
ModelView.handle_exception = _handle_refusals  # type: ignore[method-assign]
