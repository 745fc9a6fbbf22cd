"""What a bulk statement itself sets: ``update(Model).values(file=...)``, as opposed to the rows that are given beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Delete, Insert, Update
from sqlalchemy.sql.elements import BindParameter, Null

from filerow._orm.fields import Field
from filerow.exceptions import UnsupportedRouteError

__all__ = ("Inline", "inline_values", "values_of")

_ABSENT = object()


class Inline(NamedTuple):
    """A file column that a statement itself sets.

    Attributes:
        field: The column.
        value: What it gets.
        parameter: The name of the parameter that carries the value, if one does.
    """

    field: Field
    value: Any
    parameter: str | None = None


def inline_values(statement: Insert | Update, fields: Sequence[Field], parameters: Sequence[Mapping[str, Any]]) -> list[Inline]:
    """Return the file columns that the statement itself sets, with their values.

    Raises:
        UnsupportedRouteError: A column is set to an SQL expression, whose files nobody could name.
    """
    given = values_of(statement)
    found = []
    for column in fields:
        value = given.get(column.column, _ABSENT)
        if value is _ABSENT:
            continue
        if isinstance(value, Null):
            found.append(Inline(column, None))
        elif isinstance(value, BindParameter) and not any(value.key in one for one in parameters):
            found.append(Inline(column, value.value))
        elif isinstance(value, BindParameter) and len(parameters) == 1:
            found.append(Inline(column, parameters[0][value.key], value.key))
        else:
            msg = (
                f"{column.key} is set to an SQL expression, which could give one object to two rows; set it to a FileObject or "
                "None, or load the rows and assign them"
            )
            raise UnsupportedRouteError(msg)
    return found


def values_of(statement: Insert | Update | Delete) -> Mapping[Any, Any]:
    """Return what a statement sets, by columns; SQLAlchemy 2.0 keeps those of ``ordered_values()`` apart."""
    return getattr(statement, "_values", None) or dict(getattr(statement, "_ordered_values", None) or ())
