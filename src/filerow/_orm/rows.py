"""What rows own in the database right now: their documents, read and locked in one SELECT a class."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    false,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import InstanceState, Mapper, Session
from sqlalchemy.sql import Select

from filerow._document import located_in
from filerow._orm.fields import Field, fields_of, files_in
from filerow._orm.ownership import Ref, ref_of

__all__ = ("any_of", "lock_for_writing", "locking", "owned_by", "read_owned")

BATCH = 500
"""Rows per SELECT: within every database's limit of bound parameters, composite keys included."""


def owned_by(value: Any) -> tuple[Ref, ...]:
    """Return where the files of a column's value are."""
    return tuple(ref_of(file) for file in files_in(value))


def _named_in(value: Any) -> tuple[Ref, ...]:
    """Return which objects a column's JSON names; as text where the database keeps it so."""
    if isinstance(value, str):
        if value.startswith("{"):
            return (Ref(*located_in(value)),)
        value = json.loads(value)
    if value is None:
        return ()
    return tuple(Ref(*located_in(document)) for document in ([value] if isinstance(value, dict) else value))


Owned = dict[tuple[InstanceState[Any], str], tuple[Ref, ...]]


def read_owned(session: Session, states: Iterable[InstanceState[Any]]) -> Owned:
    """Read what rows own from the database and lock the rows, in one SELECT per class and 500 rows.

    The database is asked because an attribute may be expired, deferred or stale; and the rows are locked, where the database has
    row locks, so that two sessions that replace one file at once do not both believe to have dropped the same object.
    """
    by_mapper: dict[Mapper[Any], list[InstanceState[Any]]] = {}
    for state in states:
        by_mapper.setdefault(state.mapper, []).append(state)
    owned: Owned = {}
    for mapper, members in by_mapper.items():
        connection = session.connection(bind_arguments={"mapper": mapper})
        read_into(owned, connection, mapper, members)
    return owned


def read_into(owned: Owned, connection: Connection, mapper: Mapper[Any], states: Sequence[InstanceState[Any]]) -> None:
    """Read what the rows of one class own; see :func:`read_owned`."""
    fields = fields_of(mapper)
    by_key = {state.key[1]: state for state in states if state.key is not None}
    if not by_key:  # rows that are yet to be inserted own nothing, so there is nothing to lock
        return
    keys = sorted(by_key, key=repr)  # one order for all sessions, so that their locks do not cross
    lock_for_writing(connection, fields)
    width, names = len(mapper.primary_key), [field.key for field in fields]
    statement = _owned_select(mapper, connection.dialect)
    for start in range(0, len(keys), BATCH):
        chosen, parameters = _chosen(statement, mapper, keys[start : start + BATCH])
        for row in connection.execute(chosen, parameters).all():  # at once: they are few, and one by one costs more
            state = by_key.get(row[:width])
            if state is not None:
                for name, value in zip(names, row[width:], strict=True):
                    owned[state, name] = _named_in(value)


_JSON_IS_TEXT = frozenset({"sqlite", "mysql", "mariadb"})
"""Databases that hand out JSON as text, most of which nobody has to parse to know where an object is."""

_selects: WeakKeyDictionary[Mapper[Any], dict[str, Select[Any]]] = WeakKeyDictionary()


def _owned_select(mapper: Mapper[Any], dialect: Dialect) -> Select[Any]:
    """Return the locking SELECT of a class's keys and documents, made once: making one takes as long as running it."""
    made = _selects.setdefault(mapper, {})
    statement = made.get(dialect.name)
    if statement is None:
        kind = Text() if dialect.name in _JSON_IS_TEXT else JSON()  # nobody wants to see files here
        documents = (type_coerce(field.column, kind) for field in fields_of(mapper))
        statement = select(*mapper.primary_key, *documents).select_from(mapper.persist_selectable)
        if len(mapper.primary_key) == 1:
            statement = statement.where(mapper.primary_key[0].in_(bindparam("filerow_keys", expanding=True)))
        statement = made[dialect.name] = locking(statement, dialect, key_share=True)
    return statement


_WITHOUT_ROW_LOCKS = frozenset({"duckdb"})
"""Databases that refuse ``FOR UPDATE`` and whose compilers write it all the same; for others the compiler leaves it away.

DuckDB needs none: of two transactions that change one row, the later one fails.
"""


def locking(statement: Select[Any], dialect: Dialect, **options: Any) -> Select[Any]:
    """Return a SELECT that locks its rows, where the database has row locks; ``options`` are those of ``with_for_update``."""
    return statement if dialect.name in _WITHOUT_ROW_LOCKS else statement.with_for_update(**options)


def _chosen(statement: Select[Any], mapper: Mapper[Any], keys: Sequence[tuple[Any, ...]]) -> tuple[Select[Any], dict[str, Any]]:
    """Return a SELECT of these rows, with its parameters."""
    if len(mapper.primary_key) == 1:
        return statement, {"filerow_keys": [key[0] for key in keys]}
    return statement.where(any_of(mapper.primary_key, keys)), {}


def any_of(columns: Sequence[ColumnElement[Any]], keys: Sequence[tuple[Any, ...]]) -> ColumnElement[bool]:
    """Return the condition that a row's key is one of ``keys``, in SQL that every database understands."""
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return or_(*(and_(*(c == v for c, v in zip(columns, key, strict=True))) for key in keys))


def lock_for_writing(connection: Connection, fields: Sequence[Field]) -> None:
    """Take SQLite's write lock before reading, which is its way to lock rows.

    SQLite has one writer at a time, but a transaction that has only read so far holds no lock (and the driver may not even have
    begun one). An UPDATE that matches nothing takes the lock and changes nothing.
    """
    if connection.dialect.name != "sqlite":
        return
    field = fields[0]
    statement = _locks.get(field)
    if statement is None and isinstance(field.column.table, Table):
        statement = _locks[field] = update(field.column.table).values({field.column: field.column}).where(false())
    if statement is not None:
        connection.execute(statement)


_locks: WeakKeyDictionary[Field, Update] = WeakKeyDictionary()
