"""Tombstones in migrations: of dropped columns and tables, and renamed ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    ColumnClause,
    ColumnElement,
    Connection,
    Double,
    MetaData,
    String,
    Table,
    Text,
    and_,
    cast,
    column,
    func,
    insert,
    inspect,
    literal,
    select,
    table,
    tuple_,
    update,
)
from sqlalchemy.dialects import mysql

from filerow._document import located_in
from filerow._orm.references import documents_in, has_ours
from filerow.exceptions import DocumentError, MaintenanceRefusedError
from filerow.outbox._table import make_table, now
from filerow.outbox._triggers.spec import LONGEST_BACKEND, LONGEST_PATH, FileTable

_ROWS = 1_000


class _Left(NamedTuple):
    """A file that is dropped with its column."""

    column: str
    key: dict[str, Any]
    document: dict[str, Any]


def release(connection: Connection, spec: FileTable, columns: Sequence[str], *, wait: float) -> int:
    """Write a tombstone for each file in columns to be dropped; return the number.

    Args:
        connection: The migration's.
        spec: The table, before they are dropped.
        columns: Names of the columns.
        wait: Seconds for which drains skip them: a drain would still find the rows, and remove the tombstones.

    Raises:
        MaintenanceRefusedError: A document has no path, so its object would be lost.
    """
    notes = _outbox(spec.outbox, spec.outbox_schema)
    moment = now(connection.dialect.name)
    values: dict[str, Any] = {"dropped_at": moment, "attempts": 0, "dead": 0}
    if wait:
        values["next_attempt"] = moment + literal(wait, Double)
    count = 0
    for page in _pages(connection, spec, columns):
        rows = [row for left in page if (row := _tombstone(spec, left)) is not None]
        if rows:
            connection.execute(insert(notes).values(values), rows)
        count += len(rows)
    return count


def _outbox(name: str, schema: str | None) -> Table:
    return make_table(MetaData(schema=schema), name)


def _tombstone(spec: FileTable, left: _Left) -> dict[str, Any] | None:
    try:
        backend, path = located_in(left.document)
    except DocumentError as error:
        raise MaintenanceRefusedError(
            f"{spec.fullname}.{left.column} has a document that this release cannot read ({error}), so its object would be lost "
            "once the column is gone; upgrade, or set it to NULL"
        ) from error
    if len(backend) > LONGEST_BACKEND or len(path) > LONGEST_PATH:  # not an object of ours
        return None
    return {
        "backend": backend,
        "path": path,
        "document": left.document,
        "table_name": spec.fullname,
        "column_name": left.column,
        "row_key": json.loads(json.dumps(left.key, default=str)),
    }


def _pages(connection: Connection, spec: FileTable, columns: Sequence[str]) -> Iterator[list[_Left]]:
    """Yield the files of columns page by page; one page without a primary key."""
    keys: list[ColumnClause[Any]] = [column(name) for name in spec.primary_key]
    files: list[ColumnClause[Any]] = [column(name) for name in columns]
    source = table(spec.name, *keys, *files, schema=spec.schema)
    statement = select(*keys, *(cast(one, Text).label(f"file_{at}") for at, one in enumerate(files))).select_from(source)
    statement = statement.order_by(*keys).limit(_ROWS) if keys else statement
    after: Any = None
    while True:
        rows = connection.execute(statement if after is None else statement.where(tuple_(*keys) > tuple_(*after))).all()
        yield [left for row in rows for left in _files(spec, columns, tuple(row))]
        if not keys or len(rows) < _ROWS:
            return
        after = [literal(value) for value in rows[-1][: len(keys)]]


def _files(spec: FileTable, columns: Sequence[str], row: tuple[Any, ...]) -> Iterator[_Left]:
    key = dict(zip(spec.primary_key, row, strict=False))
    for name, value in zip(columns, row[len(key) :], strict=True):
        for document in documents_in(value):
            yield _Left(name, key, document)


# -- other questions of a migration ----------------------------------------------------------------------------------------


def columns_with_files(connection: Connection, name: str, schema: str | None, columns: Sequence[str] | None = None) -> list[str]:
    """Return the columns of a table that have documents of ours."""
    found = []
    for one in inspect(connection).get_columns(name, schema=schema):
        kind: Any = one["type"]
        is_json = isinstance(kind, JSON | mysql.LONGTEXT | mysql.JSON)
        if is_json and (columns is None or one["name"] in columns) and _has_files(connection, name, schema, one["name"]):
            found.append(one["name"])
    return found


def _has_files(connection: Connection, name: str, schema: str | None, file: str) -> bool:
    text: ColumnElement[str] = cast(column(file), Text)
    marks = and_(text.like('%"backend"%'), text.like('%"path"%'), text.like('%"v"%'))
    values = connection.scalars(select(text).select_from(table(name, column(file), schema=schema)).where(marks).limit(_ROWS))
    return has_ours(values)


def waiting(connection: Connection, name: str, schema: str | None) -> int:
    """Return how many tombstones an outbox has; 0 for a table that is not one."""
    there = {one["name"] for one in inspect(connection).get_columns(name, schema=schema)}
    notes = _outbox(name, schema)
    if not {one.name for one in notes.columns} <= there:
        return 0
    return connection.scalar(select(func.count()).select_from(notes)) or 0


def renamed(connection: Connection, spec: FileTable, was: str, columns: dict[str, str] | None = None) -> None:
    """Put new names of a table and its columns into tombstones.

    Args:
        connection: The migration's.
        spec: The present table.
        was: Its former name, with its schema.
        columns: The columns' new names by the former ones.
    """
    notes = _outbox(spec.outbox, spec.outbox_schema)
    of_table = notes.c.table_name == literal(was, String)
    for old, new in (columns or {}).items():
        connection.execute(update(notes).where(of_table, notes.c.column_name == old).values(column_name=new))
    if was != spec.fullname:
        connection.execute(update(notes).where(of_table).values(table_name=spec.fullname))
