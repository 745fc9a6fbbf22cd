"""Compare a flush's decisions with what its rows name now.

The database decides. A trigger, a rule or a policy may have kept a row that was to be deleted, or
restored a document. A listener may have given an object another row's key. So every row that
releases an object is read again after it was written, and only objects that it does not name any
more are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table
from sqlalchemy.orm import InstanceState, Mapper, Session
from sqlalchemy.orm.exc import StaleDataError

from filerow._log import extras, logger, named
from filerow._orm.catalogue import Rewrites
from filerow._orm.elsewhere import Unknown, keep_named_elsewhere, log_unknown
from filerow._orm.fields import Field, Slot, fields_of
from filerow._orm.flush import Work
from filerow._orm.flush_record import Flush, RowKey, slot_connections
from filerow._orm.history import changed_slots
from filerow._orm.ownership import Ref
from filerow._orm.rows import connection_of, owned_by, read_again, read_links
from filerow._orm.visibility import hides_kept_rows
from filerow.exceptions import UnsupportedRouteError

Rows = dict[RowKey, dict[Column[Any], tuple[Ref, ...]]]
"""What rows name, by identity key and column."""

ConnectionOf = Callable[[Slot], Connection]


def verify(flush: Flush, session: Session) -> None:
    """Drop only objects that the written rows of a flush do not name now.

    Raises:
        UnsupportedRouteError: An object has two rows now, or a listener has changed a file after it
            was read.
    """
    _refuse_late_changes(flush)
    _refuse_missing_rows(flush, session)
    expired = _expired(flush)
    if not (expired or flush.unsure or flush.links or any(work.released or work.moved for work in flush.works)):
        return  # no row releases anything
    connection_of = slot_connections(session)
    rows = _read_rows(flush, connection_of, expired)
    held = {ref for columns in rows.values() for refs in columns.values() for ref in refs}
    held |= {ref for links in flush.links for ref, _ in read_links(*links, lock=False)}
    kept: list[Ref] = []
    unknown: Unknown = {}
    for work in flush.works:
        for ref, source in work.moved_from.items():
            _refuse_two_rows(flush, ref, source, work.moved[ref], rows)
        for ref, slot in _dropped(work).items() if held or flush.incomplete else ():
            if ref in held:
                work.frame.restore(ref)
            elif flush.incomplete and _may_be_hidden(flush, connection_of, slot):
                work.frame.restore(ref)
                kept.append(ref)
    for slot, given in _given(flush) if rows else ():
        _correct(flush, session, slot, given, rows)
    for work in flush.works:
        unknown |= keep_named_elsewhere(work, connection_of, flush.catalogue, copied=flush.copied)
    log_unknown(unknown)
    kept += [ref for refs in flush.unsure.values() for ref in refs if ref not in held]
    if kept:
        logger.warning(
            "rows were changed or deleted that the database does not let this user lock or see (row level security, or a missing "
            "privilege to UPDATE), so it is unknown whether something else names their objects; they are not deleted, a sweep "
            "removes those that no row names: %s",
            named(ref.path for ref in kept),
            extra=extras("flush", objects=len(kept)),
        )


def _dropped(work: Work) -> dict[Ref, Slot]:
    dropped = work.frame.dropped
    return {ref: slot for ref, slot in work.released.items() if ref in dropped}


def _expired(flush: Flush) -> list[Slot]:
    """Return slots of rows that a listener has expired."""
    return [slot for slot in flush.new if isinstance(slot.owner, InstanceState) and slot.field.key not in slot.owner.dict]


def _read_rows(flush: Flush, connection_of: ConnectionOf, expired: Sequence[Slot]) -> Rows:
    """Read the rows that release an object in this flush, were expired or not locked.

    Rows that are certainly gone are left out.
    """
    wanted: dict[tuple[Connection, Mapper[Any]], dict[tuple[Any, ...], RowKey]] = {}
    slots = [slot for work in flush.works for slot in (*_dropped(work).values(), *work.moved_from.values())]
    gone: dict[tuple[Connection, Field], bool] = {}
    deleted = {state for state, (is_delete, _) in flush.context.states.items() if is_delete}
    key_of = flush.keys.get
    for slot in (*slots, *flush.unsure, *expired):
        owner, column = slot
        if not isinstance(owner, InstanceState) or (key := key_of(owner)) is None:
            continue
        connection = connection_of(slot)
        if owner in deleted:
            known = gone.get(where := (connection, column))
            if known is None:
                known = gone[where] = _are_gone(flush, connection, column)
            if known:
                continue
        wanted.setdefault((connection, owner.mapper), {})[key[1]] = key
    rows: Rows = {}
    for (connection, mapper), keys in wanted.items():
        for key, columns in read_again(connection, mapper, list(keys)).items():
            rows[keys.get(key, key)] = columns
    return rows


def _are_gone(flush: Flush, connection: Connection, column: Field) -> bool:
    """Return True if the rows that the flush had to delete are gone.

    The table is not read again for that.
    """
    table = column.column.table
    if column.outbox is not None or not isinstance(table, Table) or not flush.has_deleted_all(table):
        return False  # an outbox has triggers of its own: looking for others takes as long as reading the rows
    return flush.catalogue.rewrites(connection, table) is Rewrites.NOTHING


def _given(flush: Flush) -> list[tuple[Slot, tuple[Ref, ...]]]:
    """Return what slots hold by the flush's decisions, also those that are expired."""
    found = []
    for slot in flush.old:
        owner, column = slot
        if isinstance(owner, InstanceState) and (column.key in owner.dict or slot in flush.new):
            value = owner.dict[column.key] if column.key in owner.dict else flush.new[slot]
            found.append((slot, owned_by(value)))
    return found


def _correct(flush: Flush, session: Session, slot: Slot, given: Sequence[Ref], rows: Rows) -> None:
    """Withdraw files that a row, read again, does not name.

    The attribute is expired.
    """
    owner, column = slot
    if not isinstance(owner, InstanceState) or flush.deletes(owner):
        return
    key = flush.keys.get(owner)
    if key is None or key not in rows or owner not in flush.context.states:
        return
    if (owner.key, _key_now(owner)) != (key, key):  # a listener has given the object another row's key
        return
    actual = rows[key].get(column.column, ())
    if given == actual:
        return
    for work in flush.works:
        for applied in work.applied:
            if applied.slot == slot and applied.ref not in actual:
                work.withdraw(applied)
    session.expire(owner.obj(), [column.key])


# -- what cannot be kept right ---------------------------------------------------------------------------------------------


def _refuse_two_rows(flush: Flush, ref: Ref, source: Slot, target: Slot, rows: Rows) -> None:
    """Refuse to move an object from a row that still names it."""
    key = flush.keys.get(source.owner) if isinstance(source.owner, InstanceState) else None
    if key is None or ref not in rows.get(key, {}).get(source.field.column, ()):
        return
    if target.field.column is source.field.column and _key_now(target.owner) == key:
        return  # another object represents the row now
    raise UnsupportedRouteError(
        f"{source.field.table}.{source.field.column.name}: {ref.path} was to move from the row {key[1]} to another, but that row "
        "still names it: a trigger, a policy or a listener has kept the row as it was. Nothing is written; assign file.copy() "
        "to the other row"
    )


def _key_now(owner: object) -> RowKey | None:
    """Return the current identity key of an object.

    SQLAlchemy sets it later.
    """
    if not isinstance(owner, InstanceState):
        return None
    instance = owner.obj()
    return None if instance is None else owner.mapper.identity_key_from_instance(instance)


def _refuse_missing_rows(flush: Flush, session: Session) -> None:
    """Raise SQLAlchemy's error for updating a row that is gone.

    It is needed where the driver does not report that to SQLAlchemy: asyncpg does not count the
    rows of several UPDATEs that are sent together. The files of such a row would have no owner.
    """
    if not flush.missing:
        return
    written = [state for state in flush.written if state in flush.missing and state in flush.keys and not flush.deletes(state)]
    groups: dict[tuple[Connection, Mapper[Any]], list[tuple[Any, ...]]] = {}
    for state in written:
        connection = connection_of(session, state)
        if not connection.dialect.supports_sane_multi_rowcount:
            groups.setdefault((connection, state.mapper), []).append(flush.keys[state][1])
    for (connection, mapper), keys in groups.items():
        there = read_again(connection, mapper, keys)
        gone = [key for key in keys if key not in there]
        if gone:
            raise StaleDataError(
                f"UPDATE statement on table {mapper.local_table.description!r} expected to find the row {gone[0]}, which is gone"
            )


def _refuse_late_changes(flush: Flush) -> None:
    """Refuse files that a listener has set after the object was read last."""
    for state, (is_delete, is_only_listed) in flush.context.states.items():
        if is_delete or is_only_listed or not any(field.key in state.committed_state for field in fields_of(state.mapper)):
            continue
        if state in flush.inserted and flush.has_seen_all(state):
            continue  # the usual case
        for change in changed_slots(state):
            if not flush.has_seen(change):
                field = change.slot.field
                raise UnsupportedRouteError(
                    f"{field.table}.{field.column.name} was set by a listener that ran after Filerow had read the object; "
                    "set it in a before_flush listener, or in one of before_insert or before_update that is registered before "
                    "the mappers are configured"
                )


# -- rows that are not seen ------------------------------------------------------------------------------------------------


def _may_be_hidden(flush: Flush, connection_of: ConnectionOf, slot: Slot) -> bool:
    """Return True if a deleted row may still exist out of sight.

    A trigger may have kept it, and a policy may hide it.
    """
    owner = slot.owner
    if not isinstance(owner, InstanceState) or not flush.deletes(owner):
        return False
    tables = [table for table in owner.mapper.tables if isinstance(table, Table) and table in flush.incomplete]
    if not tables:
        return False
    connection = connection_of(slot)
    for table in tables:
        if hides_kept_rows(connection, table):
            return True
        flush.incomplete.discard(table)
    return False
