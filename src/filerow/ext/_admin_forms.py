"""A field of WTForms for a file column, for the admin tools that are built on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from wtforms import Field, ValidationError
from wtforms.utils import unset_value
from wtforms.validators import InputRequired, Optional, StopValidation
from wtforms.widgets import html_params

from filerow._file.object import FileObject
from filerow._orm.column import StoredObject
from filerow.exceptions import FileValidationError
from filerow.ext._admin import REQUIRED, Link, accepted, answers_in, changed, current_html, links_of, new_files, refused

_THEIRS = (InputRequired, Optional)
"""The tools' own validators, which do not know that a form without an upload leaves the file alone."""


class _Required(InputRequired):  # type: ignore[misc]  # WTForms has no types
    """Marks a label as required; the field knows whether a file is missing."""

    def __call__(self, form: Any, field: Any) -> None:
        pass


class _Widget:
    """Renders the files that a column has now, and an input for new ones."""

    input_type = "file"

    def __call__(self, field: FileField, **options: Any) -> Markup:
        return input_html(field, links_of(field.stored), options)


class FileField(Field):  # type: ignore[misc]  # as above
    """A file column in a form.

    Args:
        column: The column's type.
        required: The column must have a file.
        row: What the row holds, for tools that make a second form without it; a list to share it in.
        upload_suffix: Ends the name of the input for uploads.
        options: Those of WTForms.

    Attributes:
        change: What the form makes of the column: ``{}``, or ``{"value": ...}``.
    """

    widget: Any = _Widget()

    def __init__(
        self,
        *,
        column: StoredObject,
        required: bool = False,
        row: list[Any] | None = None,
        upload_suffix: str = "",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.column = column
        self.is_required = required
        self.upload_name: str = self.name + upload_suffix
        self.change: Mapping[str, Any] = {}
        self._row = [] if row is None else row

    @property
    def stored(self) -> Any:
        """Return what the row holds."""
        return self._row[0] if self._row else None

    @property
    def value(self) -> Any:
        """Return what the row is to hold."""
        return self.change.get("value", self.stored)

    def process(self, formdata: Any, data: Any = unset_value, extra_filters: Sequence[Any] | None = None) -> None:  # noqa: ARG002
        """Read the row's value, and what the form says of it."""
        self.process_errors: Sequence[str] = []
        self.object_data: Any = None if data is unset_value else data
        if self.object_data is not None:
            self._row[:] = [self.object_data]
        if formdata is not None:
            answers = answers_in(self.name, formdata.getlist, self.upload_name)
            self.raw_data: list[Any] | None = list(answers.uploads)
            self.change = changed(answers, self.column, self.stored)
        self.data: Any = self.value

    def pre_validate(self, form: Any) -> None:  # noqa: ARG002
        """Check the new files, as far as that is possible here."""
        if self.is_required and not self.value:
            raise StopValidation(REQUIRED)
        for file in new_files(self.change):
            try:
                self.check(file)
            except FileValidationError as error:
                raise ValidationError(refused(error)) from error

    def check(self, file: FileObject) -> None:
        """Check a new file by the column's rules."""
        self.column.check(file, field=self.short_name)

    def populate_obj(self, obj: Any, name: str) -> None:
        """Change the row, unless the form leaves its files alone."""
        if self.change:
            setattr(obj, name, self.change["value"])


def field_options(options: Mapping[str, Any], column: Any) -> dict[str, Any]:
    """Return a tool's options for a field as :class:`FileField` takes them."""
    kind: StoredObject = column.type
    own = [validator for validator in options.get("validators", ()) if not isinstance(validator, _THEIRS)]
    required = not (column.nullable or kind.multiple or column.default or column.server_default)
    own += [_Required()] if required else []
    return {**options, "validators": own, "default": None, "filters": (), "column": kind, "required": required}


def input_html(field: FileField, links: Sequence[Link], options: Mapping[str, Any]) -> Markup:
    """Return the HTML of a field.

    The input comes last, for the tools put errors right behind it.
    """
    kind = field.column
    current = current_html(field.name, links, multiple=kind.multiple, clearable=not field.is_required)
    attributes: dict[str, Any] = {**options, "type": "file", "id": field.id, "name": field.upload_name}
    attributes["accept"] = accepted(kind) or False
    attributes["multiple"] = kind.multiple
    attributes["required"] = field.is_required and not links
    if "class_" in attributes:
        attributes["class"] = attributes.pop("class_")
    return Markup(f"{current}<input {html_params(**attributes)}>")  # noqa: S704 - each part escapes what it is given
