"""Lock rows in the order in which SQLAlchemy's flushes write them.

Then locks never cross. A flush writes one base mapper after another, for each of them one table
after another, and in each table the rows sorted by key, as Python compares keys. Sessions that
change no file lock their rows by these very UPDATEs. Locks taken in any other order, that of a
collation for example, would wait for such a session while it waits for them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Delete,
    FromClause,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Update,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    collate,
    delete,
    false,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import InstanceState, Mapper, RelationshipDirection
from sqlalchemy.sql import Select
from sqlalchemy.sql.selectable import CompoundSelect
from sqlalchemy.util import topological

from filerow._orm.fields import Field, OfMapper
from filerow._orm.sqlalchemy_private import equivalent_columns, persistent_sort_key, sorted_tables

BATCH = 500
"""Rows per SELECT.

It is within every database's limit of bound parameters, composite keys included.
"""

_ONE_BY_ONE = 32
_MYSQL = frozenset({"mysql", "mariadb"})
_WITHOUT_ROW_LOCKS = frozenset({"duckdb"})
_SORTED_ALIKE = (Boolean, Date, DateTime, Integer, LargeBinary, Numeric)


def has_row_locks(dialect: Dialect) -> bool:
    return dialect.name not in _WITHOUT_ROW_LOCKS and dialect.name != "sqlite"


def locking(statement: Select[Any], dialect: Dialect, **options: Any) -> Select[Any]:
    """Return a SELECT that locks its rows, where the database has row locks.

    ``options`` are those of ``with_for_update``.
    """
    return statement if dialect.name in _WITHOUT_ROW_LOCKS else statement.with_for_update(**options)


# -- the order -------------------------------------------------------------------------------------------------------------


def in_flush_order(mappers: Collection[Mapper[Any]]) -> Sequence[Mapper[Any]]:
    """Return base mappers in the order in which one flush would write them."""
    known = sorted(mappers, key=lambda one: f"{one.class_.__module__}.{one.class_.__name__}")
    if len(known) == 1:
        return known
    edges: set[tuple[Any, Any]] = set()
    for base in known:
        for prop in (prop for one in base.self_and_descendants for prop in one.relationships):
            other = prop.mapper.base_mapper
            if other is base or other not in mappers or prop.viewonly or prop.post_update:
                continue
            if prop.direction is RelationshipDirection.ONETOMANY:
                edges.add((base, other))
            elif prop.direction is RelationshipDirection.MANYTOONE:
                edges.add((other, base))
    if topological.find_cycles(edges, known):
        return known
    return list(topological.sort(edges, known))


def tables_in_order(base: Mapper[Any], tables: Collection[FromClause]) -> list[FromClause]:
    """Return tables of a mapper's hierarchy in the order of a flush."""
    known = list(sorted_tables(base))
    return [one for one in known if one in tables] + [one for one in tables if one not in known]


def by_key(base: Mapper[Any], states: Iterable[InstanceState[Any]]) -> list[InstanceState[Any]]:
    """Return rows in the order in which a flush writes them."""
    members = list(states)
    try:
        return sorted(members, key=persistent_sort_key(base))
    except TypeError:  # keys that Python cannot compare; the flush will raise for them
        return sorted(members, key=lambda state: repr(state.key))


class TableKey(NamedTuple):
    """How to find a table's rows by the primary key of a mapper.

    Attributes:
        columns: The table's columns.
        at: The positions of their values in the mapper's key.
    """

    columns: tuple[ColumnElement[Any], ...]
    at: tuple[int, ...]


_keys: OfMapper[dict[FromClause, TableKey | None]] = OfMapper()


def key_in(mapper: Mapper[Any], table: FromClause) -> TableKey | None:
    """Return how to find a table's rows by a mapper's primary key.

    It is ``None`` where only the mapper's own join finds them.
    """
    known = _keys.get(mapper)
    if known is None:
        known = _keys.set(mapper, {})
    if table not in known:
        known[table] = _find_key(mapper, table)
    return known[table]


def _find_key(mapper: Mapper[Any], table: FromClause) -> TableKey | None:
    found: dict[int, ColumnElement[Any]] = {}
    for at, column in enumerate(mapper.primary_key):
        own = next((one for one in _equal_to(mapper, column) if one.table is table), None)
        if own is not None:
            found[at] = own
    whole = len(found) == len(mapper.primary_key) or set(found.values()) >= set(table.primary_key) != set()
    return TableKey(tuple(found.values()), tuple(found)) if whole else None


def _equal_to(mapper: Mapper[Any], column: ColumnElement[Any]) -> list[Any]:
    """Return the columns that always equal a column of the key.

    They belong to the tables of joined inheritance.
    """
    equivalents = equivalent_columns(mapper)
    found: list[Any] = [column]
    for one in found:
        found += [other for other in equivalents.get(one, ()) if other not in set(found)]
    return found


# -- the statements --------------------------------------------------------------------------------------------------------


def read_locked(
    connection: Connection,
    mapper: Mapper[Any] | None,
    source: FromClause,
    keys: tuple[ColumnElement[Any], ...],
    columns: tuple[Column[Any], ...],
    chosen: Sequence[tuple[Any, ...]],
    *,
    lock: bool = True,
    question: str | None = None,
) -> Iterator[Any]:
    """Lock rows in the given order, and yield their keys and documents.

    Rows are locked where the database has row locks.

    Args:
        connection: The connection.
        mapper: The class of the rows; ``None`` for those of a link table.
        source: A table, or a join.
        keys: The columns of the key.
        columns: The file columns to read as well; in a join only the rows of their tables are
            locked.
        chosen: The keys.
        lock: Lock the rows; otherwise only read them.
        question: One more column, in SQL, whose value is the same in each row.
    """
    statement, order = _prepared(connection.dialect, mapper, source, keys, columns, lock=lock, question=question)
    if order is None and connection.dialect.name in _MYSQL and len(chosen) > 1:
        for start, size in _pieces(len(chosen)):
            parameters = {f"k{n}_{i}": v for n, key in enumerate(chosen[start : start + size]) for i, v in enumerate(key)}
            yield from connection.execute(_one_by_one(statement, keys, size), parameters).all()
        return
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        some, parameters = _with_keys(statement, connection.dialect, keys, batch)
        if order is None and len(batch) > 1:
            some = some.order_by(case(*((any_of(keys, [key]), n) for n, key in enumerate(batch))))
        yield from connection.execute(some, parameters).all()  # all at once: they are few, and fetching one by one costs more


_JSON_IS_TEXT = frozenset({"sqlite", "mysql", "mariadb"})
"""Databases that return JSON as text.

Most of it need not be parsed to find an object's location.
"""

_statements: OfMapper[dict[Any, tuple[Select[Any], Any]]] = OfMapper()


def _prepared(
    dialect: Dialect,
    mapper: Mapper[Any] | None,
    source: FromClause,
    keys: tuple[ColumnElement[Any], ...],
    columns: tuple[Column[Any], ...],
    *,
    lock: bool,
    question: str | None,
) -> tuple[Select[Any], list[ColumnElement[Any]] | None]:
    """Return the SELECT and its order, made once.

    Making a SELECT takes as long as running it.
    """
    made: dict[Any, tuple[Select[Any], Any]] = {}
    if mapper is not None:
        made = _statements.get(mapper) or _statements.set(mapper, made)
    wanted = dialect.name, source, keys, columns, lock, question
    found = made.get(wanted)
    if found is None:
        kind = Text() if dialect.name in _JSON_IS_TEXT else JSON()  # the documents, not FileObjects
        statement = select(*keys, *(type_coerce(column, kind) for column in columns)).select_from(source)
        if question is not None:
            statement = statement.add_columns(literal_column(question))
        of = None if isinstance(source, Table) else tuple(dict.fromkeys(column.table for column in columns)) or None
        statement = locking(statement, dialect, key_share=True, of=of) if lock else statement
        order = key_order(keys, dialect) if lock and has_row_locks(dialect) else []
        if order:
            statement = statement.order_by(*order)
        found = made[wanted] = statement, order
    return found


def key_order(keys: Sequence[ColumnElement[Any]], dialect: Dialect) -> list[ColumnElement[Any]] | None:
    """Return an ORDER BY that sorts keys as Python does.

    It is ``None`` where SQL cannot express that order.
    """
    found = []
    for column in keys:
        kind = column.type
        if isinstance(kind, _SORTED_ALIKE) or (dialect.name == "postgresql" and isinstance(kind, Uuid)):
            found.append(column)
        elif dialect.name == "postgresql" and isinstance(kind, String) and kind.sort_key_function is None:
            found.append(collate(cast(column, Text), "C"))  # byte order, which is code point order in UTF-8
        else:
            return None
    return found


def _with_keys(
    statement: Select[Any], dialect: Dialect, keys: Sequence[ColumnElement[Any]], batch: Sequence[tuple[Any, ...]]
) -> tuple[Select[Any], dict[str, Any]]:
    if len(keys) > 1:
        return statement.where(any_of(keys, batch)), {}
    values = [key[0] for key in batch]
    plain = dialect.name == "sqlite" and type(keys[0].type) in _PLAIN_INTEGERS and set(map(type, values)) == {int}
    if plain:  # one parameter takes half the time of hundreds of them
        return statement.where(keys[0].in_(_INTEGERS)), {"filerow_keys": json.dumps(values)}
    return statement.where(keys[0].in_(bindparam("filerow_keys", expanding=True))), {"filerow_keys": values}


_PLAIN_INTEGERS = frozenset({BigInteger, Integer, SmallInteger})

_INTEGERS: Select[Any] = select(literal_column("value")).select_from(func.json_each(bindparam("filerow_keys", type_=Text)))
"""The integers of a JSON array, as SQLite reads them."""


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    """Yield starts and sizes of pieces.

    There are few different sizes, because each size is a statement of its own.
    """
    start, size = 0, _ONE_BY_ONE
    while start < count:
        while size > count - start:
            size //= 2
        yield start, size
        start += size


def _one_by_one(statement: Select[Any], keys: Sequence[ColumnElement[Any]], count: int) -> CompoundSelect[Any]:
    """Return a statement that locks rows one after the other.

    InnoDB locks rows as it finds them, in the order of the index, and sorts them later. A UNION
    finds those of each part in turn.
    """
    parts = [
        statement.where(*(key == bindparam(f"k{n}_{i}", type_=key.type) for i, key in enumerate(keys))).limit(1)
        for n in range(count)
    ]
    return union_all(*parts)


def any_of(columns: Sequence[ColumnElement[Any]], keys: Sequence[tuple[Any, ...]]) -> ColumnElement[bool]:
    """Return the condition that a row's key is one of ``keys``.

    Every database understands its SQL.
    """
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return or_(*(and_(*(c == v for c, v in zip(columns, key, strict=True))) for key in keys))


# -- SQLite ----------------------------------------------------------------------------------------------------------------


def lock_for_writing(connection: Connection, fields: Sequence[Field], options: Mapping[str, Any] | None = None) -> None:
    """Take SQLite's write lock before reading, which is its way to lock rows.

    SQLite has one writer at a time, but a transaction that has only read so far holds no lock, and
    the driver may not even have begun one. An UPDATE that matches nothing takes the lock and
    changes nothing.

    Args:
        connection: The connection.
        fields: File columns; the table of the first one is used.
        options: Execution options of the UPDATE, such as a ``schema_translate_map``.
    """
    if connection.dialect.name != "sqlite":
        return
    field = fields[0]
    table: object = field.column.table
    if not isinstance(table, Table):
        return
    statement = _write_locks.get(field)
    if statement is None:
        statement = _write_locks[field] = _write_lock(field.column)
    for one in statement:
        try:
            connection.execute(one, execution_options=options)
        except OperationalError as error:
            if _IS_VIEW not in str(error.orig):
                raise
        else:
            return


_IS_VIEW = "because it is a view"
"""Part of SQLite's error for a view without a trigger for the statement."""


def _write_lock(column: Column[Any]) -> tuple[Update, Delete]:
    """Return an UPDATE that changes nothing, and a DELETE for views.

    Some views accept no UPDATE. The statements use a copy of the table without the application's
    column defaults, which must not run for a statement that never changes a row.
    """
    plain = Table(column.table.name, MetaData(), Column(column.name, JSON), schema=column.table.schema)
    value = plain.c[column.name]
    return update(plain).values({value: value}).where(false()), delete(plain).where(false())


_write_locks: WeakKeyDictionary[Field, tuple[Update, Delete]] = WeakKeyDictionary()
