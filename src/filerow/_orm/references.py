"""Find the rows that name an object, as asked before a delete.

Outbox and sweep delete a path only when no row of any file column of the ``MetaData`` names it.
Each column is queried once for a batch of paths, by the expression that the outbox's DDL indexes,
and the results are compared exactly here. Documents in which this release finds no path are read as
well, because it is unknown what they name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    JSON,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    MetaData,
    Table,
    Text,
    TextClause,
    TypeDecorator,
    any_,
    bindparam,
    inspect,
    literal_column,
    select,
    text,
    type_coerce,
)
from sqlalchemy.pool import Pool
from sqlalchemy.sql import Select

from filerow._document import located_in
from filerow._orm.column import StoredObject
from filerow._orm.ownership import Ref
from filerow._orm.schemas import schema_of, statement_options
from filerow._orm.visibility import AS_WRITTEN
from filerow._paths import STAGING, folders_of, is_generated
from filerow._registry import storages

LEGACY_KEYS = ("file_id", "path", "filename")
"""The keys under which a document may name its path, in the order to look.

They are sqlalchemy-file's, ours, and Advanced Alchemy's. A document with a version is ours, of any
release, and names its path only under ``path``: its filename is for people. A value that is not
text, or is empty, names nothing.
"""

_ASKED_BY_PATH = frozenset({"postgresql", "sqlite", "mysql", "mariadb"})
"""Databases whose SQL for a document's path is known.

On others every document is read.
"""

_BATCH = 1_000
_ROWS = 1_000


class _LenientJSON(TypeDecorator[Any]):
    """JSON that tolerates rows whose text is not JSON.

    SQLite does not check it, and one such row must not hide all the others.
    """

    impl = JSON
    cache_ok = True

    # SQLAlchemy's name for the processor's type is private
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
        """``table.column``, preceded by the table's schema, if it has one."""
        return f"{self.table.fullname}.{self.column.name}"

    @property
    def json(self) -> ColumnElement[Any]:
        """The column as plain JSON, without files.

        A value that is not JSON is returned as text.
        """
        return type_coerce(self.column, _LenientJSON(none_as_null=True))


def file_columns(metadata: MetaData) -> list[FileColumn]:
    """Return every file column of a ``MetaData``, by table and column.

    They include those without a lifecycle.
    """
    return [
        FileColumn(table, column, column.type)
        for table in sorted(metadata.tables.values(), key=lambda table: table.fullname)
        for column in table.columns
        if isinstance(column.type, StoredObject)
    ]


def column_named(metadata: MetaData, name: str) -> FileColumn:
    """Return the file column called ``table.column``.

    Raises:
        LookupError: There is none; the message lists the file columns.
    """
    columns = file_columns(metadata)
    for column in columns:
        if name == column.name:
            return column
    raise LookupError(f"there is no file column {name!r}; there are: {', '.join(column.name for column in columns) or 'none'}")


def decoded(value: Any) -> Any:
    """Return a file column's JSON, parsed.

    Some databases return text. Text that is not JSON is returned as it is.
    """
    if isinstance(value, str | bytes):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def documents_in(value: Any) -> list[dict[str, Any]]:
    """Return the documents of a file column's JSON: none, one or many.

    Raw SQL may have written anything there.
    """
    value = decoded(value)
    if isinstance(value, dict):
        return [value]
    return [document for document in value if isinstance(document, dict)] if isinstance(value, list) else []


def has_ours(values: Iterable[Any]) -> bool:
    """Return True if one of some texts holds a document of this library.

    The texts may be JSON, or JSON inside JSON.
    """
    documents = (document for value in values for document in documents_in(decoded(value)))
    return any({"v", "backend", "path"} <= document.keys() for document in documents)


def refs_in(value: Any) -> list[Ref]:
    """Return the objects that a file column's JSON names."""
    return [Ref(*located_in(document)) for document in documents_in(value)]


def quoted(dialect: Dialect, name: str) -> str:
    """Return a name in quotes.

    Unlike in SQLAlchemy's own quoting, a percent sign stays single with every driver.
    """
    words = dialect.identifier_preparer
    return f"{words.initial_quote}{name.replace(words.escape_quote, words.escape_to_quote)}{words.final_quote}"


def path_expression(dialect: Dialect, document: str) -> str:
    """Return SQL for the path that a document names.

    The index of a column for single files is made on exactly this expression.

    Args:
        dialect: Decides the SQL: PostgreSQL, SQLite, MySQL or MariaDB.
        document: SQL for the document, such as a quoted column's name.
    """
    return first_path({key: _text_at(dialect, document, key) for key in LEGACY_KEYS}, _has_version(dialect, document))


def first_path(texts: Mapping[str, str], has_version: str) -> str:
    """Return SQL for the path that a document names.

    Args:
        texts: SQL for the document's texts, by key.
        has_version: SQL for whether it has a version.
    """
    found = [text if key == "path" else f"CASE WHEN NOT ({has_version}) THEN {text} END" for key, text in texts.items()]
    return f"coalesce({', '.join(found)})"


def _text_at(dialect: Dialect, document: str, key: str) -> str:
    """Return SQL for a text in a document.

    It is NULL for a value that is not text, or is empty.
    """
    if dialect.name == "postgresql":
        # works for JSON and JSONB, so that the index stays when the column changes from one to the other
        kind, name, value = f"left(CAST({document} -> '{key}' AS text), 1)", '"', f"{document} ->> '{key}'"
    elif dialect.name == "sqlite":
        kind, name, value = f"json_type({document}, '$.{key}')", "text", f"json_extract({document}, '$.{key}')"
    else:
        found = f"json_extract({document}, '$.{key}')"
        kind, name, value = f"json_type({found})", "STRING", f"json_unquote({found})"
    return f"CASE {kind} WHEN '{name}' THEN nullif({value}, '') END"


def _has_version(dialect: Dialect, document: str) -> str:
    if dialect.name == "postgresql":
        return f"({document} ->> 'v') IS NOT NULL"
    if dialect.name == "sqlite":
        return f"json_extract({document}, '$.v') IS NOT NULL"
    return f"coalesce(json_type(json_extract({document}, '$.v')), 'NULL') <> 'NULL'"


@dataclass(slots=True)
class Named:
    """What rows name, of the objects that are about to be deleted.

    Attributes:
        refs: Objects that a row names. A generated path is unique, so a row that names it owns the
            object, under any backend key and in a document of any form or version.
        doubtful: Objects that may belong to a row whose document this release cannot read.
        unreadable: How many such documents there are, by column.
        strange: Backend keys in rows that name these objects and are not registered here, each with
            a path.
        elsewhere: Objects at chosen paths that rows name under the keys of other backends, with
            these keys. They may be the same places, or not.
    """

    refs: set[Ref] = dataclass_field(default_factory=set)
    doubtful: set[Ref] = dataclass_field(default_factory=set)
    unreadable: dict[FileColumn, int] = dataclass_field(default_factory=dict)
    strange: dict[str, str] = dataclass_field(default_factory=dict)
    elsewhere: dict[Ref, set[str]] = dataclass_field(default_factory=dict)

    def __or__(self, other: Named) -> Named:
        refs = self.refs | other.refs
        unreadable = {**self.unreadable, **other.unreadable}
        elsewhere = {ref: keys | other.elsewhere.get(ref, set()) for ref, keys in self.elsewhere.items()}
        strange, elsewhere = {**self.strange, **other.strange}, {**other.elsewhere, **elsewhere}
        return Named(refs, (self.doubtful | other.doubtful) - refs, unreadable, strange, elsewhere)

    @property
    def unreadable_columns(self) -> dict[str, int]:
        """How many documents cannot be read, by the column's name."""
        return {column.name: count for column, count in self.unreadable.items()}

    @property
    def unreadable_tables(self) -> set[str]:
        """The names of the tables with such documents, without schemas."""
        return {column.table.name for column in self.unreadable}

    @property
    def kept(self) -> set[Ref]:
        """The objects that must not be deleted."""
        return self.refs | self.doubtful


def referenced(connection: Connection, metadata: MetaData, refs: Iterable[Ref]) -> Named:
    """Find those of the objects that a row of any file column names.

    Args:
        connection: It must see what is committed: use READ COMMITTED, or call this first in its
            transaction.
        metadata: The columns to query are in its tables.
        refs: The objects, any number.
    """
    return _referenced(connection, file_columns(metadata), refs)


def _referenced(connection: Connection, columns: Sequence[FileColumn], refs: Iterable[Ref], *, stream: bool = True) -> Named:
    named = Named()
    wanted: dict[str, list[Ref]] = {}
    for ref in refs:
        wanted.setdefault(ref.path, []).append(ref)
    for column in columns if wanted else ():
        for value, _ in _values(connection, column, list(wanted), stream=stream):
            _note_owned(named, wanted, column, value)
    _note_doubtful(named, wanted)
    return named


def _note_owned(named: Named, wanted: Mapping[str, Sequence[Ref]], column: FileColumn, value: Any) -> None:
    value = decoded(value)
    documents = [value] if isinstance(value, dict) else documents_in(value)
    readable = 0
    for document in documents:
        path = _path_in(document)
        if path is not None:
            readable += 1
            for ref in wanted.get(path, ()):
                _note_owner(named, ref, column, document.get("backend") or document.get("upload_storage"))
    if value is None or readable == (len(value) if isinstance(value, list) else 1):
        return
    named.unreadable[column] = named.unreadable.get(column, 0) + 1
    for path in _paths_somewhere_in(value, wanted):
        named.refs.update(wanted[path])


def _paths_somewhere_in(value: Any, paths: Iterable[str]) -> list[str]:
    """Return those of some paths that a value has anywhere, if only in a text."""
    text = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).replace("\\/", "/")
    return [path for path in paths if path in text]


def _note_owner(named: Named, ref: Ref, column: FileColumn, key: object) -> None:
    """Note a row that names an object, by its path and perhaps its backend.

    A generated path is enough. A chosen path may exist in several backends, so its backend counts
    too, if it is known.
    """
    known = isinstance(key, str) and storages.is_registered(key)
    if not known and isinstance(key, str) and key != ref.backend:
        named.strange.setdefault(key, ref.path)
    is_unique = is_generated(ref.path) and column.type.path is None
    if is_unique or not known or key == ref.backend:
        named.refs.add(ref)
    else:
        named.elsewhere.setdefault(ref, set()).add(str(key))


def _note_doubtful(named: Named, wanted: Mapping[str, Sequence[Ref]]) -> None:
    """Keep objects that may belong to rows that cannot be read.

    They are those of the rows' tables, and those whose paths name no table.
    """
    tables = tuple(f"{folders_of(column.table.name, column.column.name)[0].partition('/')[0]}/" for column in named.unreadable)
    for path, those in wanted.items() if tables else ():
        if path.startswith((*tables, f"{STAGING}/")) or not is_generated(path):
            named.doubtful.update(ref for ref in those if ref not in named.refs)


def _path_in(document: Mapping[str, Any]) -> str | None:
    """Return the path that a document of any version names."""
    if document.get("v") is not None:
        found = document.get("path")
        return found if isinstance(found, str) and found else None
    texts = (document.get(key) for key in LEGACY_KEYS)
    return next((found for found in texts if isinstance(found, str) and found), None)


def taken(connection: Connection, columns: Iterable[Column[Any]], refs: Iterable[Ref]) -> set[Ref]:
    """Return those of the objects that a row names, before another gets them.

    No other transaction that asks for them gets them before this one has ended. MariaDB and MySQL
    have no lock for that: two transactions at the same moment may both find an object free.

    Args:
        connection: Of the transaction that is about to write a row.
        columns: The file columns that get the objects. All file columns of their ``MetaData`` are
            queried, in the tables that this database has.
        refs: The objects.
    """
    wanted = sorted(set(refs))
    if connection.dialect.name == "postgresql":
        for ref in wanted:  # in this order, so that two transactions do not wait for each other
            connection.execute(_ONE_AT_A_TIME, {"name": f"filerow:{ref.backend}:{ref.path}"})
    return named_by_rows(connection, columns, wanted)


def named_by_rows(connection: Connection, columns: Iterable[Column[Any]], refs: Iterable[Ref]) -> set[Ref]:
    """Return those of the objects that a row may name.

    It is for transactions that write rows.

    Args:
        connection: Of the transaction.
        columns: Some file columns. All file columns of their ``MetaData`` are queried, in the
            tables that this database has.
        refs: The objects.
    """
    asked = {metadata: None for column in columns if isinstance(column.table, Table) for metadata in [column.table.metadata]}
    there = [one for metadata in asked for one in file_columns(metadata) if _exists(connection, one.table)]
    return _referenced(connection, there, refs, stream=False).kept


_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")

_tables: WeakKeyDictionary[Pool, set[str]] = WeakKeyDictionary()
"""Tables that were found in a database.

A ``MetaData`` may have more: those of another database, and those not created yet.
"""


def _exists(connection: Connection, table: Table) -> bool:
    schema, known = schema_of(connection, table), _tables.setdefault(connection.engine.pool, set())
    name = f"{schema}.{table.name}"
    if name not in known and inspect(connection).has_table(table.name, schema=schema):
        known.add(name)
    return name in known


def documents_with(connection: Connection, metadata: MetaData, paths: Iterable[str]) -> Iterator[tuple[FileColumn, str, Any]]:
    """Yield each document that has one of some paths, under any key and version.

    It comes with its column and the path. What this release cannot read is among them if it has the
    path anywhere.

    Args:
        connection: As for :func:`referenced`.
        metadata: The columns to query are in its tables.
        paths: The paths, any number.
    """
    wanted = sorted(set(paths))
    for column in file_columns(metadata) if wanted else ():
        for value, _ in _values(connection, column, wanted):
            found = decoded(value)
            for document in found if isinstance(found, list) else [found]:
                path = _path_in(document) if isinstance(document, dict) else None
                named = _paths_somewhere_in(document, wanted) if path is None else {path}.intersection(wanted)
                yield from ((column, one, document) for one in named)


# -- the queries -----------------------------------------------------------------------------------------------------------


def _values(
    connection: Connection, column: FileColumn, paths: Sequence[str], *, stream: bool = True
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield JSON and primary keys of the rows that may name one of the paths.

    Rows with documents in which no path is found are included.

    Args:
        connection: The connection.
        column: The column.
        paths: The paths.
        stream: For maintenance: read few rows at a time, and make sure that no listener has changed
            the query. asyncpg keeps its cursor open, and the table in use, until the transaction
            ends.
    """
    name = connection.dialect.name
    # for this statement alone: a connection would keep them, and a DELETE has no rows to stream
    options = {**statement_options(), **({"yield_per": _ROWS} if stream else {})}
    keys = column.table.primary_key.columns
    statements: list[tuple[Select[Any], dict[str, Any]]] = []
    if name in _ASKED_BY_PATH:
        named = _candidates(connection.dialect, column)
        statements += [(named, {"paths": list(paths[at : at + _BATCH])}) for at in range(0, len(paths), _BATCH)]
        statements.append((_odd_rows(connection.dialect, column), {}))
    else:
        statements.append((select(column.json).where(column.column.is_not(None)), {}))
    for statement, parameters in statements:
        asked = statement.add_columns(*keys)
        own = {**options, AS_WRITTEN: asked} if stream else options
        for value, *key in connection.execute(asked, parameters, execution_options=own):
            yield value, tuple(key)


def _odd_rows(dialect: Dialect, column: FileColumn) -> Select[Any]:
    """Return the SELECT of the documents without a path in the usual place."""
    odd = odd_expression(dialect, _name(dialect, column), multiple=column.type.multiple)
    return select(column.json).where(literal_column(odd))


def _candidates(dialect: Dialect, column: FileColumn) -> Select[Any]:
    """Return the SELECT of the documents that may name one of ``:paths``.

    It may return more than those, but never less.
    """
    rows = select(column.json)
    name = _name(dialect, column)
    if not column.type.multiple:
        path: ColumnElement[Any] = literal_column(path_expression(dialect, name))
        if dialect.name == "sqlite":  # a row that is not JSON must not hide the others
            rows = rows.where(literal_column(f"json_valid({name})"))
        if dialect.name == "postgresql":  # one parameter takes a fraction of the time of a thousand
            return rows.where(path == any_(_names()))
        return rows.where(path.in_(bindparam("paths", expanding=True)))
    return rows.where(_list_condition(dialect, name))


def _names() -> BindParameter[Sequence[str]]:
    """Return ``:paths`` as one PostgreSQL array."""
    from sqlalchemy.dialects.postgresql import ARRAY

    return bindparam("paths", type_=ARRAY(Text))


def _name(dialect: Dialect, column: FileColumn) -> str:
    """Return a column in SQL, without its schema.

    A ``schema_translate_map`` may replace the schema, and the query has only one table.
    """
    return f"{quoted(dialect, column.table.name)}.{quoted(dialect, column.column.name)}"


def odd_expression(dialect: Dialect, document: str, *, multiple: bool) -> str:
    """Return the condition that a value has no path in the usual place.

    The index of odd rows is made on it. Such values are documents of a later release, lists in a
    column for one file, what raw SQL has left, and what is not JSON.

    Args:
        dialect: Decides the SQL: PostgreSQL, SQLite, MySQL or MariaDB.
        document: SQL for the value, such as a quoted column's name.
        multiple: The column holds lists.
    """
    if dialect.name == "postgresql":
        value = f"CAST({document} AS jsonb)"
        names = {key: f'(@.{key}.type() == "string" && @.{key} != "")' for key in LEGACY_KEYS}
        others = " || ".join(found for key, found in names.items() if key != "path")
        unnamed = f'@.type() != "object" || !{names["path"]} && (exists(@.v ? (@ != null)) || !({others}))'
        odd = f"jsonb_path_exists({value}, '$[*] ? ({unnamed})')" if multiple else f"{path_expression(dialect, document)} IS NULL"
        return f"{document} IS NOT NULL AND CAST({document} AS text) <> 'null' AND {odd}"
    if dialect.name == "sqlite":
        valid = f"CASE WHEN json_valid({document}) THEN {document} END"
        odd = f"{path_expression(dialect, valid)} IS NULL"
        if multiple:
            path = f"CASE member.type WHEN 'object' THEN {path_expression(dialect, 'member.value')} END"
            members = f"json_each({valid}) AS member WHERE {path} IS NULL"
            odd = f"coalesce(json_type({valid}), '') <> 'array' OR EXISTS (SELECT 1 FROM {members})"  # noqa: S608 - our own words
        return f"{document} IS NOT NULL AND {document} <> 'null' AND ({odd})"
    odd = f"{path_expression(dialect, document)} IS NULL"
    if multiple:
        member = f"JSON_TABLE({document}, '$[*]' COLUMNS (document JSON PATH '$')) AS member"
        members = f"{member} WHERE {path_expression(dialect, 'member.document')} IS NULL"
        odd = f"json_type({document}) <> 'ARRAY' OR EXISTS (SELECT 1 FROM {members})"  # noqa: S608 - our own words
    return f"{document} IS NOT NULL AND json_type({document}) <> 'NULL' AND ({odd})"


def list_expression(dialect: Dialect, documents: str) -> str:
    """Return PostgreSQL's array of all names in a list of documents.

    The GIN index of a list column is made on exactly this expression.
    """
    assert dialect.name == "postgresql"  # noqa: S101 - the others have no such index
    arrays = [f"jsonb_path_query_array(CAST({documents} AS jsonb), '$[*].{key}')" for key in LEGACY_KEYS]
    return f"({' || '.join(arrays)})"


def _list_condition(dialect: Dialect, name: str) -> ColumnElement[bool] | TextClause:
    if dialect.name == "postgresql":
        names: ColumnElement[Any] = literal_column(list_expression(dialect, name))
        return names.bool_op("?|")(_names())
    if dialect.name == "sqlite":
        path = f"CASE member.type WHEN 'object' THEN {path_expression(dialect, 'member.value')} END"
        members = f"json_each(CASE WHEN json_valid({name}) THEN {name} END) AS member"
    else:
        path = path_expression(dialect, "member.document")
        members = f"JSON_TABLE({name}, '$[*]' COLUMNS (document JSON PATH '$')) AS member"
    condition = f"EXISTS (SELECT 1 FROM {members} WHERE {path} IN :paths)"  # noqa: S608 - quoted names and our own words
    return text(condition.replace(name, name.replace(":", "\\:"))).bindparams(bindparam("paths", expanding=True))
