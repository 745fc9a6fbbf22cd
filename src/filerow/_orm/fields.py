"""Which mapped classes have file columns, and what their rows own in the database right now."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    MetaData,
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
from sqlalchemy.orm import ColumnProperty, InstanceState, Mapper, Session
from sqlalchemy.sql import Select
from sqlalchemy.sql.schema import CallableColumnDefault, ScalarElementColumnDefault

from filerow._document import located_in
from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._orm.column import StoredObject
from filerow._orm.ledger import Keeper
from filerow._orm.ownership import Change, Ref, ref_of

__all__ = (
    "Buried",
    "Field",
    "Outbox",
    "Slot",
    "any_of",
    "fields_in_table",
    "fields_of",
    "files_in",
    "learn",
    "lock_for_writing",
    "locking",
    "outbox_in",
    "owned_by",
    "read_owned",
    "refuse_one_default",
    "slot_of",
)

BATCH = 500
"""Rows per SELECT: within every database's limit of bound parameters, composite keys included."""


OUTBOX = "filerow_outbox"
"""Where a ``MetaData`` keeps its outbox, in ``metadata.info``."""


class Buried(NamedTuple):
    """An object that has lost its row.

    Attributes:
        ref: Where it is.
        table: The row's table, with its schema.
        column: The column's name.
        key: The row's primary key by column names, where it is known.
    """

    ref: Ref
    table: str
    column: str
    key: dict[str, Any] | None


class Outbox(Keeper, Protocol):
    """An outbox, as the unit of work sees it."""

    table: Table

    def has_triggers(self, dialect: Dialect, table: Table) -> bool:
        """Say whether the database itself notes what the rows of a table let go."""
        ...

    def bury(self, connection: Connection, buried: Sequence[Buried]) -> None:
        """Note that objects have lost their rows."""

    def take_back(self, connection: Connection, refs: Sequence[Ref]) -> None:
        """Note that objects have a row after all."""


def outbox_in(metadata: MetaData) -> Outbox | None:
    """Return the outbox of a ``MetaData``, if it has one."""
    found: Outbox | None = metadata.info.get(OUTBOX)
    return found


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)  # one for each column of a class, and often hashed
class Field:
    """One file column of a mapped class.

    Attributes:
        key: Name of the attribute.
        column: The column.
        type: Its type.
        table: Name of its table.
    """

    key: str
    column: Column[Any]
    type: StoredObject

    @property
    def table(self) -> str:
        """Name of the column's table."""
        return getattr(self.column.table, "name", "files")

    def initial(self) -> Any:
        """Return what a new row gets when nothing is set: what ``default=`` makes, else no file, or an empty list."""
        default = self.column.default
        if isinstance(default, CallableColumnDefault):
            return default.arg(None)  # type: ignore[arg-type] # there is no statement yet whose context one could be given
        return FileObjectList() if self.type.multiple else None

    @property
    def outbox(self) -> Outbox | None:
        """The outbox of the column's table, if there is one."""
        table = self.column.table
        return outbox_in(table.metadata) if isinstance(table, Table) else None


class Slot(NamedTuple):
    """One file column of one row.

    Attributes:
        owner: What stands for the row: the state of its object, or the number of a bulk statement's row.
        field: The column.
    """

    owner: Hashable
    field: Field


def slot_of(change: Change) -> Slot:
    """Return a change's slot as what it is on the session's side; the pure layer does not care."""
    slot = change.slot
    assert isinstance(slot, Slot)  # noqa: S101 - made by history or bulk
    return slot


_fields: WeakKeyDictionary[Mapper[Any], tuple[Field, ...]] = WeakKeyDictionary()


def learn(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Find and remember the file columns of a mapper."""
    found = tuple(_find(mapper))
    if found:
        _fields[mapper] = found
    return found


def _find(mapper: Mapper[Any]) -> Iterator[Field]:
    for prop in mapper.column_attrs:
        if isinstance(prop, ColumnProperty):
            column = prop.columns[0]
            if isinstance(column, Column) and isinstance(column.type, StoredObject):
                yield Field(prop.key, column, column.type)


def refuse_one_default(column: Column[Any]) -> None:
    """Refuse a default that is a file rather than a function that makes one.

    Raises:
        TypeError: It is.
    """
    default = column.default
    if isinstance(default, ScalarElementColumnDefault) and files_in(default.arg):
        msg = (
            f"default= of {column.name} is one file, which only one row could own; give a function: "
            "default=lambda: FileObject(content=...)"
        )
        raise TypeError(msg)


def fields_of(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Return a mapper's file columns; empty for most mappers, at the cost of one look-up."""
    return _fields.get(mapper, ())


def key_names(mapper: Mapper[Any]) -> tuple[str, ...]:
    """Return the attributes of a mapper's primary key."""
    names = _key_names.get(mapper)
    if names is None:
        names = _key_names[mapper] = tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)
    return names


_key_names: WeakKeyDictionary[Mapper[Any], tuple[str, ...]] = WeakKeyDictionary()


def fields_in_table(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Return the file columns of a class's own table, those of its single-table children too: their rows are its rows."""
    found = {field.column: field for one in reversed(mapper.self_and_descendants) for field in fields_of(one)}
    return tuple(field for column, field in found.items() if column.table is mapper.local_table)


def files_in(value: Any) -> Sequence[FileObject]:
    """Return the files of an attribute's value, one or many."""
    if value is None:
        return ()
    return (value,) if isinstance(value, FileObject) else tuple(value)


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
