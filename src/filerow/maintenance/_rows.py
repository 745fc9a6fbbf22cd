"""The rows of a file column in key order, in constant memory, from any row on.

No transaction stays open between two pages, so even a walk over a billion rows holds back neither vacuum nor writers. A row
inserted behind the walk is not seen; every other row is seen once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from operator import eq
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, Engine, String, and_, cast, func, literal, or_, select, tuple_, update
from sqlalchemy import Enum as EnumType

from filerow._orm.references import FileColumn, decoded
from filerow.outbox._table import plain_table

_BY_TUPLE = frozenset({"postgresql", "sqlite"})
"""Databases that use a two-column index for ``(a, b) > (1, 2)``."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that has files, or an empty list of them.

    Attributes:
        key: The values of its primary key, as SQLAlchemy reads them.
        value: The JSON in the column: a document or a list of documents.
    """

    key: tuple[Any, ...]
    value: Any


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Consecutive rows.

    Attributes:
        rows: The rows.
        cursor: Where to continue after the last of them: pass it as ``resume``; ``None`` if its key cannot be written as text.
    """

    rows: tuple[Row, ...]
    cursor: str | None


def rows(
    engine: Engine,
    file_column: FileColumn,
    *,
    batch: int = 500,
    resume: str | None = None,
    where: ColumnElement[bool] | None = None,
    instead: ColumnElement[Any] | None = None,
) -> Iterator[RowBatch]:
    """Yield the rows with a value, each batch in a short transaction of its own.

    Args:
        engine: The engine; inside SQLAlchemy's greenlet the ``sync_engine`` of an ``AsyncEngine``.
        file_column: The column.
        batch: Rows read, and held, at a time.
        resume: The cursor of an earlier batch, to begin after it.
        where: Only rows that match this; indexes are used as for any query.
        instead: Another column of the table to read instead, unchanged and without its NULLs.

    Raises:
        ValueError: The table has no primary key, or ``resume`` is the cursor of another column.
    """
    keys = _keys_of(file_column)
    order = [_sortable(key, engine.dialect.name) for key in keys]
    wanted, read = (file_column.json, decoded) if instead is None else (instead, lambda value: value)
    statement = select(*keys, wanted).where(_present(file_column, instead)).order_by(*order).limit(batch)
    if where is not None:
        statement = statement.where(where)
    last = None if resume is None else _read_cursor(file_column, resume)
    while True:
        page = statement if last is None else statement.where(_after(keys, last, engine.dialect.name))
        with engine.connect() as connection:
            found = connection.execute(page).all()
        if not found:
            return
        before, last = last, tuple(found[-1][:-1])
        if last == before:
            msg = f"the database does not sort {file_column.table.fullname!r} the way it compares the keys: {last!r}"
            raise RuntimeError(msg)
        yield RowBatch(tuple(Row(tuple(row[:-1]), read(row[-1])) for row in found), cursor_of(file_column, last))
        if len(found) < batch:
            return


def count(
    engine: Engine, file_column: FileColumn, where: ColumnElement[bool] | None = None, instead: ColumnElement[Any] | None = None
) -> int:
    """Return how many rows :func:`rows` will yield from the start."""
    statement = select(func.count()).select_from(file_column.table).where(_present(file_column, instead))
    with engine.connect() as connection:
        return int(connection.execute(statement if where is None else statement.where(where)).scalar_one())


def write(connection: Connection, file_column: FileColumn, key: Sequence[Any], value: Any) -> None:
    """Write JSON into the column of one row, ``None`` as NULL; nothing else changes."""
    plain = plain_table(file_column)
    wanted = update(plain).values({file_column.column.name: value})
    connection.execute(wanted.where(*(plain.c[one.name] == part for one, part in zip(_keys_of(file_column), key, strict=True))))


def position(columns: Sequence[FileColumn], cursor: str) -> int:
    """Return the index of a cursor's column.

    Raises:
        ValueError: It is the cursor of another column.
    """
    try:
        return [column.name for column in columns].index(json.loads(cursor)["column"])
    except (KeyError, TypeError, ValueError):
        names = ", ".join(column.name for column in columns)
        raise ValueError(f"resume (--resume) is not a cursor of these columns ({names}): {cursor[:80]!r}") from None


def row_name(file_column: FileColumn, key: Sequence[Any]) -> str:
    """Return a row's name in messages: ``document.file id=3``."""
    keys = zip(file_column.table.primary_key.columns, key, strict=True)
    return " ".join([file_column.name, *(f"{column.name}={value}" for column, value in keys)])


def _keys_of(file_column: FileColumn) -> list[Column[Any]]:
    keys = list(file_column.table.primary_key.columns)
    if not keys:
        raise ValueError(f"table {file_column.table.fullname!r} has no primary key, so its rows cannot be distinguished")
    return keys


def _sortable(value: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """Return what to sort by: MySQL sorts an ENUM by number, compares it as text."""
    return cast(value, String) if dialect in {"mysql", "mariadb"} and isinstance(value.type, EnumType) else value


def _after(keys: Sequence[Column[Any]], last: Sequence[Any], dialect: str) -> ColumnElement[bool]:
    """Return the condition that a row comes after another one in key order."""
    names = [_sortable(key, dialect) for key in keys]
    values = [_sortable(literal(value, key.type), dialect) for value, key in zip(last, keys, strict=True)]
    if len(names) == 1:
        return names[0] > values[0]
    if dialect in _BY_TUPLE:
        return tuple_(*names) > tuple_(*values)
    steps = [and_(*map(eq, names[:at], values), names[at] > values[at]) for at in range(len(names))]
    return and_(names[0] >= values[0], or_(*steps))  # the first part lets an index be used


def _present(file_column: FileColumn, instead: ColumnElement[Any] | None) -> ColumnElement[bool]:
    return (file_column.column if instead is None else instead).is_not(None)


# -- cursors ---------------------------------------------------------------------------------------------------------------

_KINDS: Mapping[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    UUID: (str, UUID),
    datetime: (datetime.isoformat, datetime.fromisoformat),  # before date, since a datetime is one too
    date: (date.isoformat, date.fromisoformat),
    time: (time.isoformat, time.fromisoformat),
    timedelta: (timedelta.total_seconds, lambda seconds: timedelta(seconds=seconds)),
    Decimal: (str, Decimal),
    bytes: (lambda value: base64.b64encode(value).decode(), base64.b64decode),
}
"""How values of keys that JSON does not have are written into a cursor, and read from it."""

_READERS = {kind.__name__: read for kind, (_, read) in _KINDS.items()}


def cursor_of(file_column: FileColumn, key: Sequence[Any]) -> str | None:
    """Return the cursor after a row: JSON text that works with any database driver."""
    try:
        return json.dumps({"column": file_column.name, "after": [_written(value) for value in key]})
    except TypeError:  # a type defined by the application
        return None


def _written(value: Any) -> Any:
    if isinstance(value, Enum):
        return {"Enum": value.name}
    if value is None or isinstance(value, int | float | str):
        return value
    for kind, (write_value, _) in _KINDS.items():
        if isinstance(value, kind):
            return {kind.__name__: write_value(value)}
    raise TypeError(type(value).__name__)


def _read_cursor(file_column: FileColumn, cursor: str) -> tuple[Any, ...]:
    keys = _keys_of(file_column)
    try:
        found = json.loads(cursor)
        after = found["after"]
        if found["column"] == file_column.name and len(after) == len(keys):
            return tuple(_read(value, key) for value, key in zip(after, keys, strict=True))
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"resume (--resume) is not a cursor of {file_column.name}: {cursor[:80]!r}")


def _read(value: Any, key: Column[Any]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, written),) = value.items()
    return getattr(key.type.python_type, written) if kind == "Enum" else _READERS[kind](written)
