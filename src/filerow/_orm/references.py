"""Who refers to an object: every file column of a ``MetaData``, and the one question that outbox and sweep ask before a delete.

A path is deleted only when no row of any file column names it. The rows of one column are asked in one query for a batch of
paths, by the expression on which the outbox's DDL makes an index; what it finds is compared exactly, here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    MetaData,
    Table,
    Text,
    TextClause,
    TypeDecorator,
    bindparam,
    literal_column,
    select,
    text,
    type_coerce,
)
from sqlalchemy.sql import Select

from filerow._document import located_in
from filerow._orm.column import StoredObject
from filerow._orm.ownership import Ref
from filerow.exceptions import DocumentError

__all__ = (
    "FileColumn",
    "column_named",
    "decoded",
    "documents_in",
    "file_columns",
    "list_expression",
    "path_expression",
    "quoted",
    "referenced",
    "refs_in",
    "rows_naming",
)

LEGACY_KEYS = ("file_id", "path", "filename")
"""Where a document names its path, in the order in which to look: sqlalchemy-file's, ours, Advanced Alchemy's."""

_ASKED_BY_PATH = frozenset({"postgresql", "sqlite", "mysql", "mariadb"})
"""Databases whose SQL for a document's path is known; of others every document is read."""

_BATCH = 1_000
_ROWS = 1_000


class _WhateverIsThere(TypeDecorator[Any]):
    """JSON, where a row that has none (SQLite checks no text) does not hide all the others."""

    impl = JSON
    cache_ok = True

    # SQLAlchemy names the processor's type privately
    def result_processor(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, dialect: Dialect, coltype: Any
    ) -> Callable[[Any], Any] | None:
        decode = self.impl_instance.result_processor(dialect, coltype)
        if decode is None:
            return None

        def process(value: Any) -> Any:
            try:
                return decode(value)
            except ValueError:
                return value

        return process


@dataclass(frozen=True, slots=True)
class FileColumn:
    """One file column of one table.

    Attributes:
        table: The table.
        column: The column.
        type: Its type.
    """

    table: Table
    column: Column[Any]
    type: StoredObject

    @property
    def name(self) -> str:
        """``table.column``, with the schema before it where the table has one."""
        return f"{self.table.fullname}.{self.column.name}"

    @property
    def json(self) -> ColumnElement[Any]:
        """The column as plain JSON, for those who want no files; what is no JSON is the text it is."""
        return type_coerce(self.column, _WhateverIsThere(none_as_null=True))


def file_columns(metadata: MetaData) -> list[FileColumn]:
    """Return every file column of a ``MetaData``, ordered by table and column, those without a lifecycle too."""
    return [
        FileColumn(table, column, column.type)
        for table in sorted(metadata.tables.values(), key=lambda table: table.fullname)
        for column in table.columns
        if isinstance(column.type, StoredObject)
    ]


def column_named(metadata: MetaData, name: str) -> FileColumn:
    """Return the file column called ``table.column``.

    Raises:
        LookupError: There is none; the message names those there are.
    """
    columns = file_columns(metadata)
    for column in columns:
        if name == column.name:
            return column
    msg = f"there is no file column {name!r}; there are: {', '.join(column.name for column in columns) or 'none'}"
    raise LookupError(msg)


def decoded(value: Any) -> Any:
    """Return a file column's JSON: some databases hand out text, and what is there may be a mere string."""
    if isinstance(value, str | bytes):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def documents_in(value: Any) -> list[dict[str, Any]]:
    """Return the documents of a file column's JSON: none, one or many; raw SQL may leave anything there."""
    value = decoded(value)
    if isinstance(value, dict):
        return [value]
    return [document for document in value if isinstance(document, dict)] if isinstance(value, list) else []


def refs_in(value: Any) -> list[Ref]:
    """Return the objects that a file column's JSON names."""
    return [Ref(*located_in(document)) for document in documents_in(value)]


def quoted(dialect: Dialect, name: str) -> str:
    """Return a name in quotes; unlike SQLAlchemy's own way, a percent sign stays one with every driver."""
    words = dialect.identifier_preparer
    return f"{words.initial_quote}{name.replace(words.escape_quote, words.escape_to_quote)}{words.final_quote}"


def path_expression(dialect: Dialect, document: str) -> str:
    """Return SQL for the path that a document names; the index of a single column is made on exactly this.

    Args:
        dialect: Decides the SQL: PostgreSQL, SQLite, MySQL or MariaDB.
        document: SQL for the document, such as a quoted column's name.
    """
    if dialect.name == "postgresql":
        found = [f"({document} ->> '{key}')" for key in LEGACY_KEYS]
    elif dialect.name == "sqlite":
        found = [f"json_extract({document}, '$.{key}')" for key in LEGACY_KEYS]
    else:
        found = [f"json_unquote(json_extract({document}, '$.{key}'))" for key in LEGACY_KEYS]
    return f"coalesce({', '.join(found)})"


def referenced(connection: Connection, metadata: MetaData, refs: Iterable[Ref]) -> set[Ref]:
    """Return those of the objects that a row names, in whatever file column.

    Args:
        connection: Sees what is committed, so read it in READ COMMITTED or before anything else of its transaction.
        metadata: Whose columns to ask.
        refs: The objects, any number.
    """
    return {ref for ref, *_ in _naming(connection, metadata, refs)}


def rows_naming(
    connection: Connection, metadata: MetaData, refs: Iterable[Ref]
) -> Iterator[tuple[FileColumn, tuple[Any, ...], dict[str, Any]]]:
    """Yield each document that names one of the objects, with its column and the primary key of its row.

    Args:
        connection: As for :func:`referenced`.
        metadata: Whose columns to ask.
        refs: The objects, any number.
    """
    for _, column, key, document in _naming(connection, metadata, refs):
        yield column, key, document


def _naming(
    connection: Connection, metadata: MetaData, refs: Iterable[Ref]
) -> Iterator[tuple[Ref, FileColumn, tuple[Any, ...], dict[str, Any]]]:
    """Yield each of the objects that a document names, with what :func:`rows_naming` tells of it."""
    wanted = list(dict.fromkeys(refs))
    columns = file_columns(metadata)
    for start in range(0, len(wanted), _BATCH):
        batch = set(wanted[start : start + _BATCH])
        paths = sorted({ref.path for ref in batch})
        for column in columns:
            for value, *key in _rows_with(connection, column, paths):
                for document in documents_in(value):
                    ref = _located(document)
                    if ref is not None and ref in batch:
                        yield ref, column, tuple(key), document


def _located(document: dict[str, Any]) -> Ref | None:
    try:
        return Ref(*located_in(document))
    except DocumentError:  # it names no object, and must not keep those that others name from being found
        return None


def _rows_with(connection: Connection, column: FileColumn, paths: Sequence[str]) -> Iterator[Any]:
    """Return JSON and primary keys of the rows that may name one of the paths."""
    statement = _candidates(connection.dialect, column).add_columns(*column.table.primary_key.columns)
    parameters = {"paths": list(paths)} if connection.dialect.name in _ASKED_BY_PATH else {}
    options = {"yield_per": _ROWS}  # of this statement alone: a connection would keep them, and a DELETE has no rows to stream
    return iter(connection.execute(statement, parameters, execution_options=options))


def _candidates(dialect: Dialect, column: FileColumn) -> Select[Any]:
    """Return the SELECT of the documents that may name one of ``:paths``; more is allowed, less is not."""
    rows = select(column.json)
    # without the schema, which a schema_translate_map may replace: it is the query's one table
    name = f"{quoted(dialect, column.table.name)}.{quoted(dialect, column.column.name)}"
    if dialect.name not in _ASKED_BY_PATH:
        return rows.where(column.column.is_not(None))
    if not column.type.multiple:
        path: ColumnElement[Any] = literal_column(path_expression(dialect, name))
        if dialect.name == "sqlite":  # one row that is no JSON must not hide the others
            rows = rows.where(literal_column(f"json_valid({name})"))
        return rows.where(path.in_(bindparam("paths", expanding=True)))
    return rows.where(_list_condition(dialect, name))


def list_expression(dialect: Dialect, documents: str) -> str:
    """Return PostgreSQL's array of all names in a list of documents; the GIN index of a list column is made on exactly this."""
    assert dialect.name == "postgresql"  # noqa: S101 - the others have no such index
    arrays = [f"jsonb_path_query_array(CAST({documents} AS jsonb), '$[*].{key}')" for key in LEGACY_KEYS]
    return f"({' || '.join(arrays)})"


def _list_condition(dialect: Dialect, name: str) -> ColumnElement[bool] | TextClause:
    if dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import ARRAY

        names: ColumnElement[Any] = literal_column(list_expression(dialect, name))
        return names.bool_op("?|")(bindparam("paths", type_=ARRAY(Text)))
    if dialect.name == "sqlite":
        path = f"CASE member.type WHEN 'object' THEN {path_expression(dialect, 'member.value')} END"
        members = f"json_each(CASE WHEN json_valid({name}) THEN {name} END) AS member"
    else:
        paths = ", ".join(f"{key} VARCHAR(1024) PATH '$.{key}'" for key in LEGACY_KEYS)
        path, members = f"coalesce({', '.join(LEGACY_KEYS)})", f"JSON_TABLE({name}, '$[*]' COLUMNS ({paths})) AS member"
    condition = f"EXISTS (SELECT 1 FROM {members} WHERE {path} IN :paths)"  # noqa: S608 - quoted names and our own words
    return text(condition.replace(name, name.replace(":", "\\:"))).bindparams(bindparam("paths", expanding=True))
