"""Ties files to the fate of their rows; the only module that listens to SQLAlchemy's events.

What happens when::

    before_flush            pending files are uploaded, side by side, before the session takes a connection; then the rows'
                            present documents are read and locked, and it is decided who owns what
    before_insert/_update   whatever other listeners changed meanwhile is caught up with
    before_delete           rows that only the flush itself found out to be deleted (delete-orphan)
    after_flush             files given to objects that did not become rows are taken back
    do_orm_execute          ORM bulk INSERT, UPDATE and DELETE, see ``bulk``
    after_transaction_end   a savepoint's frame joins its parent's or is undone; the outermost commit deletes what was dropped

The hooks are set on ``Session`` itself, so every kind of session has them and nobody needs to set anything up. A session that
never sees a file pays for a few dictionary look-ups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, MetaData, Table, event
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.orm import InstanceState, Mapper, ORMExecuteState, Session, SessionTransaction, attributes
from sqlalchemy.orm.unitofwork import UOWTransaction
from sqlalchemy.pool import ConnectionPoolEntry

from filerow._file.list import FileObjectList, base_of, own_list, rebase
from filerow._file.object import FileObject
from filerow._orm import outer_transaction
from filerow._orm.bulk import run_bulk
from filerow._orm.column import StoredObject, binding_refused
from filerow._orm.fields import Field, learn, refuse_one_default
from filerow._orm.flush import check_backend
from filerow._orm.history import (
    changed_slots,
    changes_of,
    deletions_of,
    fill_in,
    merge_lists,
    put_copy,
    rebase_lists,
    set_initial,
)
from filerow._orm.ownership import Change
from filerow._orm.rows import Owned, read_into, read_owned
from filerow._orm.session import Flush, SessionFiles, session_files, session_of_connection
from filerow.exceptions import UntrustedDocumentError

__all__ = ("install", "on_ddl")

_watched_dialects: WeakSet[Dialect] = WeakSet()


def install() -> None:
    """Start listening; called once, when filerow is imported."""
    event.listen(Mapper, "after_mapper_constructed", _mapper_constructed)
    event.listen(Mapper, "mapper_configured", _mapper_configured)


def _listen_to_sessions() -> None:
    """Called with the first mapped class that has a file column, so that other programs pay nothing at all."""
    if event.contains(Session, "before_flush", _before_flush):
        return
    for name, listener in (
        ("before_flush", _before_flush),
        ("after_flush", _after_flush),
        ("after_begin", _after_begin),
        ("before_commit", _before_commit),
        ("after_commit", _after_commit),
        ("after_rollback", _after_rollback),
        ("after_transaction_create", _after_transaction_create),
        ("after_transaction_end", _after_transaction_end),
    ):
        event.listen(Session, name, listener)
    event.listen(Session, "do_orm_execute", _do_orm_execute)


def on_ddl(
    metadata: MetaData,
    *,
    created: Callable[[Connection, Sequence[Table]], None],
    dropped: Callable[[Connection, Sequence[Table]], None],
) -> None:
    """Have something called after ``create_all`` and before ``drop_all``.

    Args:
        metadata: Whose.
        created: Gets the connection and the tables that ``create_all`` was asked for: those, too, that were there before.
        dropped: Gets the connection and the tables that are about to be dropped.
    """

    def after_create(target: MetaData, connection: Connection, **given: Any) -> None:
        # What was asked for is known to SQLAlchemy's own runner alone; "tables" are those that did not exist.
        asked: Sequence[Table] | None = getattr(given.get("_ddl_runner"), "tables", None)
        created(connection, list(target.tables.values()) if asked is None else asked)

    def before_drop(target: MetaData, connection: Connection, **given: Any) -> None:
        dropped(connection, given["tables"])

    event.listen(metadata, "after_create", after_create)
    event.listen(metadata, "before_drop", before_drop)


# -- classes ---------------------------------------------------------------------------------------------------------------


def _mapper_constructed(mapper: Mapper[Any], class_: type[Any]) -> None:
    """Listen before the class is configured, which a bulk statement that comes first would otherwise escape."""
    columns = [column for column in mapper.columns if isinstance(column.type, StoredObject)]
    if columns:
        _listen_to_sessions()
    for column in columns:
        refuse_one_default(column)


def _mapper_configured(mapper: Mapper[Any], class_: type[Any]) -> None:
    fields = learn(mapper)
    if not fields:
        return
    event.listen(class_, "before_insert", _catch_up, raw=True)
    event.listen(class_, "before_update", _catch_up, raw=True)
    event.listen(class_, "before_delete", _before_delete, raw=True)
    for field in fields:
        field.type.named(field.key)
        if mapper.attrs[field.key].parent is mapper:  # an inherited attribute is served by its parent class's listeners
            attribute = getattr(class_, field.key)
            if field.type.multiple:
                # before the list becomes the row's
                event.listen(attribute, "set", _list_checker(field), retval=True, propagate=True)
                FileObjectList.associate_with_attribute(attribute)
                event.listen(attribute, "init_scalar", _empty_list(field.key), retval=True, propagate=True)
                event.listen(class_, "refresh", _list_refreshed(field.key), raw=True, propagate=True)
            else:
                event.listen(attribute, "set", _checker(field), retval=True, propagate=True)


def _empty_list(key: str) -> Callable[[object, object, dict[str, Any]], Any]:
    """Return the listener that makes a list column read as an empty list when nothing was ever set."""

    def initialise(target: object, value: object, dict_: dict[str, Any]) -> Any:
        attributes.set_attribute(target, key, FileObjectList())
        return dict_[key]

    return initialise


def _checker(field: Field) -> Callable[[object, Any, object, object], Any]:
    def check(target: object, value: Any, old: object, initiator: object) -> Any:
        """Refuse at the line that assigns what could only fail at the commit."""
        if isinstance(value, FileObject):
            check_backend(value, field.type.backend, field)
            field.type.check_assigned(value, field.key)
        elif isinstance(value, dict):
            msg = (
                f"{field.key} takes a FileObject, not a dict: a document from a client could name any object of any backend. "
                "For an upload use FileObject.from_upload(...); for a document you trust, FileObject.from_dict(...)"
            )
            raise UntrustedDocumentError(msg)
        elif value is not None:
            msg = f"{field.key} takes a FileObject, not {type(value).__name__}; wrap the content: FileObject(content=...)"
            raise TypeError(msg)
        return value

    return check


def _list_refreshed(key: str) -> Callable[[InstanceState[Any], object, Iterable[str] | None], None]:
    def note(state: InstanceState[Any], context: object, names: Iterable[str] | None) -> None:
        """Note what a bulk UPDATE has put into an object, which is what its row holds now."""
        value = state.dict.get(key)
        if names is not None and key in names and isinstance(value, FileObjectList) and base_of(value) is None:
            rebase(value, value)

    return note


def _list_checker(field: Field) -> Callable[[object, Any, object, object], Any]:
    def check(target: object, value: Any, old: object, initiator: object) -> Any:
        """Refuse at the line that assigns; whether it is a list of files is for ``FileObjectList.coerce`` to say."""
        for file in value if isinstance(value, list | tuple) else ():
            if isinstance(file, FileObject) and file.has_pending_data:
                field.type.check_assigned(file, field.key)
        own = value if value is old else own_list(value, attributes.instance_state(target), field.key)
        if isinstance(own, FileObjectList) and own is not old:
            rebase(own, None)  # what is assigned replaces the row's list, whatever that is by then
        return own

    return check


# -- flush -----------------------------------------------------------------------------------------------------------------


def _before_flush(session: Session, context: UOWTransaction, instances: object) -> None:
    files = session_files(session)
    _settle_flush(files)  # one that turned out to have nothing to write has not been announced as ended
    flush = files.flush = Flush(context)
    changes, deleted = changes_of(session)
    flush.deleted.update(deleted)
    if not changes:
        return
    work = files.work(put_copy)
    with work.undone_on_error():
        work.upload(changes)
        owned = read_owned(session, changes)
        fill_in(changes, owned)
        work.frame.undo.extend(merge_lists(changes, owned))
        work.settle_owners(changes)
    files.keep(session, work)
    flush.note(work, changes)


def _catch_up(mapper: Mapper[Any], connection: Connection, state: InstanceState[Any]) -> None:
    """Deal with what listeners that ran after ours have put into this object."""
    session = state.session
    flush = session_files(session).flush if session is not None else None
    if session is None or flush is None:
        return
    flush.written.append(state)
    if state.key is None:
        set_initial(state)
        if flush.has_seen_all(state):
            return
    changes = [change for change in changed_slots(state) if not flush.has_seen(change)]
    if changes:
        _carry_out(session, flush, changes, connection, mapper)


def _before_delete(mapper: Mapper[Any], connection: Connection, state: InstanceState[Any]) -> None:
    """Drop the files of rows that only the flush found out to be deleted, all of them at the first one's turn."""
    session = state.session
    flush = session_files(session).flush if session is not None else None
    if session is None or flush is None or state in flush.deleted:
        return
    states = flush.context.states.items()
    doomed = [s for s, (is_delete, _) in states if is_delete and s.mapper is mapper and s not in flush.deleted]
    flush.deleted.update(doomed)
    _carry_out(session, flush, deletions_of(doomed), connection, mapper)


def _carry_out(session: Session, flush: Flush, changes: Sequence[Change], connection: Connection, mapper: Mapper[Any]) -> None:
    files = session_files(session)
    work = files.work(put_copy)
    with work.undone_on_error():
        work.upload(changes)
        owned = Owned()
        read_into(owned, connection, changes)
        fill_in(changes, owned)
        work.frame.undo.extend(merge_lists(changes, owned))
        work.settle_owners(changes)
    files.keep(session, work)
    flush.note(work, changes)


def _after_flush(session: Session, context: UOWTransaction) -> None:
    flush = session_files(session).flush
    _settle_flush(session_files(session))
    if flush is not None:
        rebase_lists(flush.written)
        flush.tell_outbox(session)


def _settle_flush(files: SessionFiles) -> None:
    if files.flush is not None:
        files.flush.settle()
        files.flush = None


def _do_orm_execute(state: ORMExecuteState) -> Any:
    return run_bulk(state)


# -- transactions ----------------------------------------------------------------------------------------------------------


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if transaction.parent is None:
        session_files(session).joined(connection)
    session_files(session).began_on(connection)
    dialect = connection.dialect
    if dialect not in _watched_dialects:
        _watched_dialects.add(dialect)
        event.listen(connection.engine, "handle_error", _handle_error)
        event.listen(connection.engine, "rollback_savepoint", _savepoint_rolled_back)
        event.listen(connection.engine, "commit", _connection_commits)


def _handle_error(context: ExceptionContext) -> None:
    """Notice that a COMMIT was sent but its answer lost: nobody knows then whether the rows are there."""
    connection = context.connection
    if connection is None or context.statement is not None:
        return
    files = session_of_connection(connection)
    lost = context.is_disconnect or not isinstance(context.original_exception, Exception)
    if files is not None and files.committing and (lost or len(files.connections) > 1):
        files.in_doubt = True
    if connection.closed or connection.invalidated:
        return
    outer_transaction.failed(connection)
    if files is not None and files.committing and not lost and connection.dialect.name == "sqlite":
        # A refused COMMIT leaves SQLite's transaction open, and SQLAlchemy believes it has ended. The next user of the connection
        # would commit these rows with his own, when their bytes are long gone.
        connection.dialect.do_rollback(connection.connection)


def _savepoint_rolled_back(connection: Connection, name: str, context: None) -> None:
    """Notice a savepoint that was begun and rolled back on the session's connection, behind the session's back."""
    files = session_of_connection(connection)
    if files is not None:
        files.savepoint_rolled_back(connection.get_nested_transaction())


def _connection_commits(connection: Connection) -> None:
    """Notice a COMMIT on the session's connection that is not the session's: its rows are there, whatever it does next."""
    files = session_of_connection(connection)
    if files is not None and not files.committing:
        files.in_doubt = True


def _before_commit(session: Session) -> None:
    session_files(session).committing = True


def _after_commit(session: Session) -> None:
    _settle_flush(session_files(session))
    session_files(session).committed(session)


def _after_rollback(session: Session) -> None:
    session_files(session).rolled_back(session)


def _after_transaction_create(session: Session, transaction: SessionTransaction) -> None:
    """Notice ``bulk_save_objects`` and its kin: they open an inner transaction without announcing a flush."""
    if transaction.parent is None or transaction.nested:
        return
    files = session_files(session)
    if files.flush is None or not files.flush.context.has_work:
        files.bulk = transaction
        binding_refused.set(True)


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    files = session_files(session)
    if files.bulk is transaction:
        files.bulk = None
        binding_refused.set(False)
    if transaction.parent is not None and not transaction.nested:
        files.flush = None
    outer = outer_transaction.still_open(files.connections) if transaction.parent is None else None
    files.ended(session, transaction)
    if outer is not None:
        _watch_outer(outer)


# -- a transaction somebody else began -------------------------------------------------------------------------------------


def _watch_outer(connection: Connection) -> None:
    if not outer_transaction.is_waiting(connection) or event.contains(connection, "rollback", outer_transaction.rolled_back):
        return
    event.listen(connection, "rollback", outer_transaction.rolled_back)
    event.listen(connection, "rollback_savepoint", _outer_savepoint_rolled_back)
    event.listen(connection, "commit", outer_transaction.committing)
    event.listen(connection, "begin", outer_transaction.begun)
    if not event.contains(connection.engine, "checkin", _checkin):
        event.listen(connection.engine, "checkin", _checkin)


def _outer_savepoint_rolled_back(connection: Connection, name: str, context: None) -> None:
    outer_transaction.savepoint_rolled_back(connection)


def _checkin(dbapi_connection: object, record: ConnectionPoolEntry) -> None:
    outer_transaction.returned(record.info)
