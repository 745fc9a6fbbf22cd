"""Read and lock what rows own in the database, before a flush writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Engine, FromClause, MetaData, Table
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import InstanceState, Mapper, Session, attributes

from filerow._document import located_in
from filerow._orm.catalogue import Catalogue, action_count_sql
from filerow._orm.fields import Field, Slot, SlotChange, files_in, link_fields, row_fields_of
from filerow._orm.locks import (
    TableKey,
    by_key,
    has_row_locks,
    in_flush_order,
    key_in,
    lock_for_writing,
    read_locked,
    tables_in_order,
)
from filerow._orm.ownership import Ref, ref_of
from filerow._orm.visibility import may_hide_rows, may_lock

Place = tuple[InstanceState[Any], str]


@dataclass(slots=True)
class Owned:
    """What rows own, as the database reports it.

    Args:
        catalogue: What is known of the tables; it is extended by what the rows' queries find.

    Attributes:
        refs: The objects that a row's column names.
        documents: The documents of a list column.
        unsure: The objects that the column of a row seems to name, where the row could be read and
            not locked.
    """

    catalogue: Catalogue
    refs: dict[Place, tuple[Ref, ...]] = field(default_factory=dict)
    documents: dict[Place, Sequence[Any]] = field(default_factory=dict)
    unsure: dict[Place, tuple[Ref, ...]] = field(default_factory=dict)

    def has(self, place: Place) -> bool:
        """Return True if the row of a place was there to be read."""
        return place in self.refs or place in self.unsure

    def note(self, state: InstanceState[Any], column: Field, value: Any, *, locked: bool) -> None:
        """Note what a row's column holds.

        Args:
            state: The row's object.
            column: The column.
            value: Its JSON, decoded or as text, as the database returns it.
            locked: The row is locked.
        """
        place = state, column.key
        if not locked:
            self.unsure[place] = _named_in(value)
        elif column.type.multiple:
            documents = self.documents[place] = _documents_in(value)
            self.refs[place] = tuple(Ref(*located_in(document)) for document in documents)
        else:
            self.refs[place] = _named_in(value)


def _documents_in(value: Any) -> Sequence[Any]:
    found = json.loads(value) if isinstance(value, str) else value
    return [found] if isinstance(found, dict) else [document for document in found or () if document is not None]


def _named_in(value: Any) -> tuple[Ref, ...]:
    if isinstance(value, str) and value.startswith("{"):
        return (Ref(*located_in(value)),)
    return tuple(Ref(*located_in(document)) for document in _documents_in(value))


class TableRows(NamedTuple):
    """Rows of one table that a flush writes.

    Attributes:
        base: The base mapper.
        source: The table, or a mapper's join where a table's key does not identify the mapper's
            rows.
        states: The rows.
        fields: The file columns to read. Without any, the rows are only locked.
    """

    base: Mapper[Any]
    source: FromClause
    states: dict[InstanceState[Any], None]
    fields: dict[Field, None]


def read_owned(session: Session, changes: Iterable[SlotChange], catalogue: Catalogue) -> Owned:
    """Read what the changed rows own from the database, and lock the rows.

    It takes one SELECT per table and 500 rows. The database is asked because an attribute may be
    expired, deferred or stale. The rows are locked, where the database has row locks, so that two
    sessions that replace one file at the same time do not both drop the same object. Rows that the
    flush writes before them are locked first, as they would be without Filerow.
    """
    owned = Owned(catalogue)
    plan = _to_read(changes)
    if not plan:
        return owned
    connections = [one for tables in plan.values() for rows in tables.values() for one, _ in _by_connection(session, rows)]
    if any(has_row_locks(one.dialect) for one in connections):
        _add_written(session, plan)
    rows = [one for base in in_flush_order(plan) for one in _in_order(base, plan[base])]
    while not rows[-1].fields:
        rows.pop()
    for one in rows:
        for connection, part in _by_connection(session, one):
            if part.fields or has_row_locks(connection.dialect):
                _read(owned, connection, part)
    return owned


def read_into(owned: Owned, session: Session, changes: Iterable[SlotChange]) -> None:
    """Read what rows of one class own; see :func:`read_owned`."""
    for base, tables in _to_read(changes).items():
        for one in _in_order(base, tables):
            for connection, part in _by_connection(session, one):
                _read(owned, connection, part)


def _by_connection(session: Session, rows: TableRows) -> Iterable[tuple[Connection, TableRows]]:
    """Return rows with the connection that a flush writes them with.

    A session over shards has one for each row.
    """
    if session.connection_callable is None:
        found = {connection_of(session, next(iter(rows.states))): rows}
    else:
        found = {}
        for state in rows.states:
            connection = connection_of(session, state)
            part = found.setdefault(connection, TableRows(rows.base, rows.source, {}, rows.fields))
            part.states[state] = None
    return [(connection, part) for connection, part in found.items() if is_database(connection)]


def connection_of(session: Session, state: InstanceState[Any]) -> Connection:
    """Return the connection that a flush writes an object's row with.

    A session over shards chooses one for each object.
    """
    mapper = state.mapper.base_mapper
    if session.connection_callable is not None:
        connection = session.connection_callable(mapper, state.obj())
        # ShardedSession asks the outermost transaction, so a flush would write outside the savepoint.
        if session.in_nested_transaction():
            session.connection(bind_arguments={"bind": connection.engine})
        return connection
    return session.connection(bind_arguments={"mapper": mapper})


def begin_savepoints(session: Session, changes: Iterable[SlotChange]) -> None:
    """Begin a session's savepoint in each database that a flush will write.

    A session over shards has several.
    """
    for state in dict.fromkeys(change.slot.owner for change in changes):
        if isinstance(state, InstanceState):
            connection_of(session, state)


def is_database(bind: object) -> bool:
    """Return False for a mock of an engine or a connection.

    A mock with a spec passes ``isinstance``.
    """
    return issubclass(type(bind), Engine | Connection)


Plan = dict[Mapper[Any], dict[FromClause, TableRows]]


def _to_read(changes: Iterable[SlotChange]) -> Plan:
    """Return the existing rows whose current files must be known.

    They are those with a managed lifecycle, and lists edited in place.
    """
    plan: Plan = {}
    known: dict[tuple[Mapper[Any], Field], TableRows] = {}
    for change in changes:
        state, column = change.slot
        if not isinstance(state, InstanceState) or state.key is None:
            continue
        if change.owned or change.base is not None:
            rows = known.get((state.mapper, column))
            if rows is None:
                rows = known[state.mapper, column] = _rows_for(plan, state.mapper, column.column.table)
                rows.fields[column] = None
            rows.states[state] = None
    return plan


def _rows_for(plan: Plan, mapper: Mapper[Any], table: FromClause) -> TableRows:
    source = table if key_in(mapper, table) is not None else mapper.persist_selectable
    tables = plan.setdefault(mapper.base_mapper, {})
    return tables.setdefault(source, TableRows(mapper.base_mapper, source, {}, {}))


def _add_written(session: Session, plan: Plan) -> None:
    """Add the other rows that the flush is going to change."""
    for instance in session.dirty:
        state = attributes.instance_state(instance)
        columns = state.mapper.column_attrs
        for name in state.committed_state:
            if name in columns:
                for column in columns[name].columns:
                    if isinstance(column, Column) and key_in(state.mapper, column.table) is not None:
                        _rows_for(plan, state.mapper, column.table).states[state] = None


def _in_order(base: Mapper[Any], tables: Mapping[FromClause, TableRows]) -> list[TableRows]:
    return [tables[one] for one in tables_in_order(base, tables)]


def _read(owned: Owned, connection: Connection, rows: TableRows) -> None:
    fields = list(rows.fields)
    if fields:
        lock_for_writing(connection, fields)
    mapper = next(iter(rows.states)).mapper
    key = _key_of(mapper, rows.source)
    groups: dict[tuple[Any, ...], list[InstanceState[Any]]] = {}
    whole = key.at == tuple(range(len(mapper.primary_key)))
    ordered = by_key(rows.base, rows.states) if has_row_locks(connection.dialect) else rows.states
    for state in ordered:
        values: tuple[Any, ...] = state.key[1]  # type: ignore[index]
        groups.setdefault(values if whole else tuple(values[at] for at in key.at), []).append(state)
    columns = tuple(dict.fromkeys(one.column for one in fields))
    tables = dict.fromkeys(column.table for column in columns) or [rows.source]
    metadata = rows.source.metadata if isinstance(rows.source, Table) else None
    question = _question(connection, metadata, fields)
    for lock in (True, False) if may_lock(connection, tables) else (False,):
        if not columns and not lock:
            return
        read = partial(read_locked, connection, mapper, rows.source, key.columns, columns, lock=lock)
        width = len(key.at)
        try:
            last = _note(owned, _matched(groups, partial(read, question=question), width), columns, width, locked=lock)
        except OperationalError:
            if question is None:
                raise
            # An application that rewrites statements may use other names for its tables, so what they do is unknown.
            question = None
            last = _note(owned, _matched(groups, read, width), columns, width, locked=lock)
            if metadata is not None:
                owned.catalogue.note_unknown(connection, metadata)
        if question is not None and metadata is not None and last is not None and last[-1] == 0:
            owned.catalogue.note_inactive(connection, metadata)
        if not groups or not may_hide_rows(connection):
            return
        # A policy may let this user see rows and not lock them. What they name is useful, but may change at any moment.


def _question(connection: Connection, metadata: MetaData | None, fields: Iterable[Field]) -> str | None:
    """Return what to ask the catalogue along with the rows.

    It is ``None`` if outboxes handle everything that the rows release.
    """
    if metadata is None or all(one.outbox is not None for one in fields):
        return None
    return action_count_sql(connection, metadata)


def _note(owned: Owned, found: Iterable[Match], columns: Sequence[Column[Any]], start: int, *, locked: bool) -> Any:
    """Note what rows hold, and return the last row.

    Args:
        owned: Where to note it.
        found: Objects with their row.
        columns: The file columns in a row.
        start: The position of the first one: the columns follow the key.
        locked: The rows are locked.
    """
    numbers = {column: number for number, column in enumerate(columns, start)}

    @cache  # a class has many objects
    def places(mapper: Mapper[Any]) -> list[tuple[Field, int]]:
        return [(one, numbers[one.column]) for one in row_fields_of(mapper) if one.column in numbers]

    row: Any = None
    note = owned.note
    for states, row in found:
        for state in states:
            for one, at in places(state.mapper):
                note(state, one, row[at], locked=locked)
    return row


Match = tuple[list[InstanceState[Any]], Any]
"""Objects with their row."""


def _matched(
    groups: dict[tuple[Any, ...], list[InstanceState[Any]]],
    read: Callable[[Sequence[tuple[Any, ...]]], Iterable[Any]],
    width: int,
) -> Iterator[Match]:
    """Yield objects with their rows, and remove them from the groups.

    A row's key may look different from its object's: ``D(id="7")``, a type that normalises, CHAR
    that pads. Then only the database can match them, with one query for each key.
    """
    strange = False
    for row in read(list(groups)):
        states = groups.pop(tuple(row[:width]), None)
        strange = strange or states is None
        if states is not None:
            yield states, row
    for key in list(groups) if strange else ():
        for row in read([key]):
            states = groups.pop(key, None)
            if states is not None:
                yield states, row


def _key_of(mapper: Mapper[Any], source: FromClause) -> TableKey:
    return key_in(mapper, source) or TableKey(tuple(mapper.primary_key), tuple(range(len(mapper.primary_key))))


RowsByKey = dict[tuple[Any, ...], dict[Column[Any], tuple[Ref, ...]]]
"""What rows name, by primary key and column."""


def read_again(connection: Connection, mapper: Mapper[Any], keys: Sequence[tuple[Any, ...]]) -> RowsByKey:
    """Return what rows of a class name now, after a flush has written them."""
    sources: dict[FromClause, list[Column[Any]]] = {}
    for one in row_fields_of(mapper):
        table = one.column.table
        source = table if key_in(mapper, table) is not None else mapper.persist_selectable
        sources.setdefault(source, []).append(one.column)
    rows: RowsByKey = {}
    for source, columns in sources.items():
        key = _key_of(mapper, source)
        whole: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        for one_key in keys:
            whole.setdefault(tuple(one_key[at] for at in key.at), []).append(one_key)
        for row in read_locked(
            connection, mapper, source, key.columns, tuple(columns), list(whole), lock=_shows_old_rows(connection)
        ):
            part = tuple(row[: len(key.at)])
            named = dict(zip(columns, map(_named_in, row[len(key.at) :]), strict=True))
            # A key that looks different by now matches no object of the session, but its row still names files.
            for one_key in whole.get(part, [part]):
                rows.setdefault(one_key, {}).update(named)
    return rows


def _shows_old_rows(connection: Connection) -> bool:
    """Return True if only a SELECT that locks shows rows as they are now.

    Other SELECTs show them as they were when the transaction began.
    """
    return connection.dialect.name in {"mysql", "mariadb"}


def read_links(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, lock: bool = True
) -> Iterator[tuple[Ref, Slot]]:
    """Read what the rows of a link table with these values own."""
    fields = [one for one in link_fields(table) if one.type.lifecycle]
    keys = tuple(column for column in table.columns if column.key in rows[0])
    chosen = [tuple(row[column.key] for column in keys) for row in rows]
    if lock:
        lock_for_writing(connection, fields)
    columns = tuple(one.column for one in fields)
    lock = (lock and may_lock(connection, [table])) or _shows_old_rows(connection)
    for row in read_locked(connection, None, table, keys, columns, chosen, lock=lock):
        for one, value in zip(fields, row[len(keys) :], strict=True):
            yield from ((ref, Slot(tuple(row[: len(keys)]), one)) for ref in _named_in(value))


def owned_by(value: Any) -> tuple[Ref, ...]:
    """Return the locations of the files in a column's value."""
    return tuple(ref_of(file) for file in files_in(value))
