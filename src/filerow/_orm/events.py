"""Listen to SQLAlchemy's events, so that files follow their rows.

This is the only module that does. What happens when::

    before_flush            pending files are uploaded concurrently, before the session takes a
                            connection; then the rows' current documents are read and locked, and
                            it is decided who owns which object
    before_insert/_update   what other listeners have changed meanwhile is handled
    before_delete           rows that only the flush finds deleted (delete-orphan) are handled
    after_flush             files given to objects that did not become rows are withdrawn
    do_orm_execute          ORM bulk INSERT, UPDATE and DELETE, see ``bulk``
    after_transaction_end   a savepoint's frame joins its parent's or is undone; the outermost
                            commit deletes what was dropped

The hooks are set on ``Session`` itself, so every kind of session has them and nothing needs to be
set up. A session that never has a file pays for a few dictionary look-ups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import ref

from sqlalchemy import Connection, Engine, MetaData, Select, Table, TextClause, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import (
    InstanceState,
    InstrumentedAttribute,
    Mapper,
    ORMExecuteState,
    RelationshipProperty,
    Session,
    SessionTransaction,
    attributes,
)
from sqlalchemy.orm.unitofwork import UOWTransaction
from sqlalchemy.pool import ConnectionPoolEntry

from filerow._file.list import FileObjectList, base_of, own_list, rebase, take_edited
from filerow._file.object import FileObject, not_a_file
from filerow._orm.bulk import concerns_files, refuse_ctes, run_bulk, writing_part
from filerow._orm.column import StoredObject, binding_refused
from filerow._orm.commit_and_rollback import SessionFiles, session_files, sessions_of_connection
from filerow._orm.fields import (
    Field,
    SlotChange,
    field_of,
    fields_of,
    forget_row_fields,
    has_files,
    link_fields,
    refuse_hidden_files,
    refuse_shared_default,
    register_fields,
    register_link_fields,
    register_links,
)
from filerow._orm.flush import check_backend
from filerow._orm.flush_record import Flush, slot_connections
from filerow._orm.history import (
    assign_copy,
    changed_slots,
    changes_of,
    deletions_of,
    merge_lists,
    new_slots,
    rebase_lists,
    replaced_row,
    set_initial,
    set_owned,
    undo_writes,
)
from filerow._orm.outer_transaction import delete_abandoned, forget, outer_transaction, returned
from filerow._orm.rows import Owned, begin_savepoints, is_database, read_into, read_links, read_owned
from filerow._orm.sqlalchemy_private import is_flushing, is_of_flush, listen_last
from filerow._orm.unsupported import refuse_autocommit, refuse_tables
from filerow._orm.verify import verify
from filerow._orm.visibility import check_as_written
from filerow._orm.watch import End, unwatch, watch_of
from filerow._paths import folders_of
from filerow._registry import expect
from filerow.hooks import subscriptions


def install() -> None:
    """Start to listen; called once, when filerow is imported."""
    event.listen(Mapper, "after_mapper_constructed", _mapper_constructed)
    event.listen(Mapper, "mapper_configured", _mapper_configured)
    event.listen(object, "attribute_instrument", _attribute_added)


def _listen_to_sessions() -> None:
    """Listen to all sessions and engines.

    Called with each mapped class that has a file column, so that other programs pay nothing at all.
    Listening to an engine only when a session begins on it would change its lists of listeners
    while statements of other threads use them. Connections are not an alternative: SQLAlchemy 2.0.30
    accepts no listeners on them when their engine has options of its own.
    """
    for target, name, listener in (
        (Session, "before_flush", _before_flush),
        (Session, "after_flush", _after_flush),
        (Session, "after_begin", _after_begin),
        (Session, "before_commit", _before_commit),
        (Session, "after_commit", _after_commit),
        (Session, "after_rollback", _after_rollback),
        (Session, "after_transaction_create", _after_transaction_create),
        (Session, "after_transaction_end", _after_transaction_end),
        (Session, "do_orm_execute", _do_orm_execute),
        (Engine, "handle_error", _handle_error),
        (Engine, "before_cursor_execute", _before_cursor_execute),
        (Engine, "after_cursor_execute", _after_cursor_execute),
        (Engine, "begin", _connection_begins),
        (Engine, "begin_twophase", _connection_begins),
        (Engine, "release_savepoint", _savepoint_released),
        (Engine, "rollback_savepoint", _savepoint_rolled_back),
        (Engine, "rollback", _connection_rolls_back),
        (Engine, "rollback_twophase", _connection_rolls_back),
        (Engine, "commit", _connection_commits),
        (Engine, "prepare_twophase", _connection_prepares),
        (Engine, "commit_twophase", _connection_commits_prepared),
        (Engine, "checkin", _checkin),
    ):
        if not event.contains(target, name, listener):
            event.listen(target, name, listener)


def listen_to_questions() -> None:
    """Compare maintenance's queries with what is sent.

    Called before the first query, since there may be no mapped class.
    """
    if not event.contains(Engine, "after_cursor_execute", _after_cursor_execute):
        event.listen(Engine, "after_cursor_execute", _after_cursor_execute)


def on_ddl(
    metadata: MetaData,
    *,
    created: Callable[[Connection, Sequence[Table]], None],
    dropped: Callable[[Connection, Sequence[Table]], None],
) -> None:
    """Register callbacks for after ``create_all`` and before ``drop_all``.

    Args:
        metadata: The ``MetaData``.
        created: Gets the connection and the tables that ``create_all`` was called for, including
            those that existed before.
        dropped: Gets the connection and the tables that are about to be dropped.
    """

    def after_create(target: MetaData, connection: Connection, **given: Any) -> None:
        # Only SQLAlchemy's own runner knows what was asked for; "tables" are those that did not exist.
        asked: Sequence[Table] | None = getattr(given.get("_ddl_runner"), "tables", None)
        created(connection, list(target.tables.values()) if asked is None else asked)

    def before_drop(target: MetaData, connection: Connection, **given: Any) -> None:
        dropped(connection, given["tables"])

    listen_to_questions()  # now, and not when a drainer's thread sends the first query
    event.listen(metadata, "after_create", after_create)
    event.listen(metadata, "before_drop", before_drop)


# -- classes ---------------------------------------------------------------------------------------------------------------


def _mapper_constructed(mapper: Mapper[Any], class_: type[Any]) -> None:
    """Listen before the class is configured.

    Otherwise an earlier bulk statement would not be noticed.
    """
    forget_row_fields()
    refuse_hidden_files(mapper)
    if has_files(mapper):
        _listen_to_rows(mapper)


def _listen_to_rows(mapper: Mapper[Any]) -> None:
    """Listen to what happens to the rows of a class, and check its columns."""
    _listen_to_sessions()
    for one in mapper.iterate_to_root():  # a parent, whose table may have a file column from this class
        if not event.contains(one, "before_delete", _before_delete):  # not on its class, which may have been mapped before
            event.listen(one, "before_delete", _before_delete, raw=True)
    for column in mapper.columns:
        if isinstance(column.type, StoredObject):
            refuse_shared_default(column)
            if column.type.stored_with is not None:
                expect(column.type, f"{mapper.class_.__name__}.{column.key}", column.type.backend, column.type.stored_with)


def _mapper_configured(mapper: Mapper[Any], class_: type[Any]) -> None:
    register_link_fields(mapper)
    _listen_to_fields(mapper)


def _attribute_added(class_: type[Any], key: str, attribute: Any) -> None:
    """Listen to a file column that comes to a class after it was configured.

    ``Model.file = mapped_column(StoredObject(...))`` adds one, to the class and to those that
    inherit from it. A relationship may bring a link table with file columns.
    """
    mapper = attribute.parent if isinstance(attribute, InstrumentedAttribute) else None
    if not isinstance(mapper, Mapper) or not mapper.configured:
        return
    if isinstance(attribute.property, RelationshipProperty):
        register_links(attribute.property)
    elif field_of(attribute.property) is not None:
        forget_row_fields()
        for one in mapper.self_and_descendants:
            _listen_to_rows(one)
            _listen_to_fields(one)


def _listen_to_fields(mapper: Mapper[Any]) -> None:
    """Listen to what happens to the file columns of a class.

    Those that were known before have their listeners.
    """
    class_, known = mapper.class_, {field.column for field in fields_of(mapper)}
    fields = register_fields(mapper)
    if not fields:
        return
    if not known:
        if not event.contains(mapper, "before_delete", _before_delete):  # its first file column came after it was constructed
            _listen_to_rows(mapper)
        event.listen(class_, "before_insert", _catch_up, raw=True)
        event.listen(class_, "before_update", _catch_up, raw=True)
    for field in (one for one in fields if one.column not in known):
        field.type._named(field.key, field.name, folders_of(field.table, field.column.name)[0])
        if mapper.get_property(field.key).parent is mapper:  # an inherited attribute has its parent class's listeners
            attribute = getattr(class_, field.key)
            if field.type.multiple:
                # runs before the list becomes the row's
                event.listen(attribute, "set", _list_checker(field), retval=True, propagate=True)
                FileObjectList.associate_with_attribute(attribute)
                event.listen(attribute, "init_scalar", _empty_list(field.key), retval=True, propagate=True)
                event.listen(class_, "refresh", _list_refreshed(field.key), raw=True, propagate=True)
            else:
                event.listen(attribute, "set", _checker(field), retval=True, propagate=True)


def _empty_list(key: str) -> Callable[[object, object, dict[str, Any]], Any]:
    """Return the listener that makes an unset list column read as empty."""

    def initialise(target: object, value: object, dict_: dict[str, Any]) -> Any:
        attributes.set_attribute(target, key, FileObjectList())
        return dict_[key]

    return initialise


def _checker(field: Field) -> Callable[[object, Any, object, object], Any]:
    def check(target: object, value: Any, old: object, initiator: object) -> Any:
        """Refuse at the assignment what would fail at the commit."""
        if isinstance(value, FileObject):
            check_backend(value, field.type.backend, field)
            field.type._check_assigned(value, field.key)
        elif value is not None:
            raise not_a_file(field.key, value)
        return value

    return check


def _list_refreshed(key: str) -> Callable[[InstanceState[Any], object, Iterable[str] | None], None]:
    def note(state: InstanceState[Any], context: object, names: Iterable[str] | None) -> None:
        """Note what a bulk UPDATE has put into an object.

        It is what its row holds now.
        """
        value = state.dict.get(key)
        if names is not None and key in names and isinstance(value, FileObjectList) and base_of(value) is None:
            rebase(value, value)

    return note


def _list_checker(field: Field) -> Callable[[object, Any, object, object], Any]:
    def check(target: object, value: Any, old: object, initiator: object) -> Any:
        """Refuse at the assignment.

        ``FileObjectList.coerce`` checks whether it is a list of files.
        """
        for file in value if isinstance(value, list | tuple) else ():
            if isinstance(file, FileObject) and file.has_pending_data:
                field.type._check_assigned(file, field.key)
        own = value if value is old else own_list(value, attributes.instance_state(target), field.key)
        if isinstance(own, FileObjectList) and own is not old:
            rebase(own, take_edited(own))  # an assigned list replaces the row's, whatever that holds by then, but for edits
        return own

    return check


# -- flush -----------------------------------------------------------------------------------------------------------------


def _before_flush(session: Session, context: UOWTransaction, instances: object) -> None:
    with session_files(session).in_its_registry():
        _prepare_flush(session, context)


def _prepare_flush(session: Session, context: UOWTransaction) -> None:
    files = session_files(session)
    _settle_flush(files)  # a flush with nothing to write after all has not been reported as ended
    files.clean()
    flush = files.flush = Flush(context)
    changes, deleted = changes_of(session)
    flush.deleted.update(deleted)
    if not changes:
        return
    work = files.work(assign_copy)
    with work.undone_on_error():
        work.upload(changes)
        owned = read_owned(session, changes, flush.catalogue)
        set_owned(changes, owned)
        _refuse_autocommit(session, changes)
        work.frame.undo.extend(merge_lists(changes, owned))
        work.settle_owners(changes)
        if session.connection_callable is not None and session.in_nested_transaction():
            begin_savepoints(session, changes)
    files.keep(session, work)
    flush.note(work, changes, owned)


def _refuse_autocommit(session: Session, changes: Iterable[SlotChange]) -> None:
    """Refuse to give or take files on a connection without transactions."""
    find = slot_connections(session)
    used = [one.slot for one in changes if (one.old or one.new or one.unsure) and isinstance(one.slot[0], InstanceState)]
    slots = used if session.connection_callable is not None else {slot[1]: slot for slot in used}.values()
    tables: dict[Connection, dict[object, None]] = {}
    for slot in slots:
        tables.setdefault(find(slot), {})[slot.field.column.table] = None
    for connection, written in tables.items():
        if is_database(connection):
            refuse_autocommit(connection)
            refuse_tables(connection, written)


def _catch_up(mapper: Mapper[Any], connection: Connection, state: InstanceState[Any]) -> None:
    """Handle what listeners that ran after ours have put into this object."""
    session = state.session
    flush = session_files(session).flush if session is not None else None
    if session is None or flush is None:
        return
    flush.note_write(state)
    flush.deleted.discard(state)  # a listener has cancelled the deletion
    if state.key is None:
        flush.inserted.add(state)
    changes = _replaced_row_changes(session, flush, state) if state.key is None else []
    if state.key is None and not changes:
        set_initial(state)
        if flush.has_seen_all(state):
            return
    found = changed_slots(state) if state.key is not None else new_slots(state, replaces_row=bool(changes))
    changes += [change for change in found if not flush.has_seen(change)]
    if changes:
        _carry_out(session, flush, changes)


def _replaced_row_changes(session: Session, flush: Flush, state: InstanceState[Any]) -> list[SlotChange]:
    """Return the changes of a deleted row that a new object replaces.

    Only the flush finds it deleted: SQLAlchemy makes one UPDATE of the DELETE and the INSERT, and
    reports no deletion.
    """
    old = replaced_row(session, state)
    if old is None or old in flush.deleted or not flush.deletes(old):
        return []
    flush.deleted.add(old)
    return deletions_of([old])


def _before_delete(mapper: Mapper[Any], connection: Connection, state: InstanceState[Any]) -> None:
    """Drop the files of rows that only the flush finds deleted.

    The first one's event handles all of them.
    """
    session = state.session
    flush = session_files(session).flush if session is not None else None
    if session is None or flush is None or state in flush.deleted:
        return
    states = flush.context.states.items()
    doomed = [s for s, (is_delete, _) in states if is_delete and s.mapper is mapper and s not in flush.deleted]
    flush.deleted.update(doomed)
    _carry_out(session, flush, deletions_of(doomed))


def _carry_out(session: Session, flush: Flush, changes: Sequence[SlotChange]) -> None:
    files = session_files(session)
    work = files.work(assign_copy)
    with files.in_its_registry():
        with work.undone_on_error():
            work.upload(changes)
            owned = Owned(flush.catalogue)
            read_into(owned, session, changes)
            set_owned(changes, owned)
            _refuse_autocommit(session, changes)
            work.frame.undo.extend(merge_lists(changes, owned))
            work.settle_owners(changes, flush.made_for({change.slot.owner for change in changes}))
        files.keep(session, work)
    flush.note(work, changes, owned)


def _after_flush(session: Session, context: UOWTransaction) -> None:
    files = session_files(session)
    flush = files.flush
    _settle_flush(files)
    if flush is not None:
        with files.in_its_registry():
            verify(flush, session)
        if flush.works:
            flush.works[-1].frame.undo.extend(undo_writes(flush.new, set(flush.written) - flush.inserted))
            if subscriptions:
                flush.report()
        rebase_lists(flush.written)
        flush.update_outbox(session)


def _settle_flush(files: SessionFiles) -> None:
    if files.flush is not None:
        files.flush.settle()
        files.flush = None


def _settle_idle_flush(session: Session, files: SessionFiles) -> None:
    """Settle a flush that SQLAlchemy has not reported as ended.

    Listeners after ours left it nothing to write. It must not undo later what is decided from here
    on: a bulk statement, or the end of a savepoint.
    """
    if files.flush is not None and not is_flushing(session):
        _settle_flush(files)


def _do_orm_execute(state: ORMExecuteState) -> Any:
    """Run a bulk statement on a class with files after all other hooks.

    They may change it, or choose its bind or shards.
    """
    if not concerns_files(state):
        return None
    files = session_files(state.session)
    _settle_idle_flush(state.session, files)
    listen_last(state, run_bulk)
    with files.in_its_registry():
        return state.invoke_statement()


# -- transactions ----------------------------------------------------------------------------------------------------------


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if not issubclass(type(connection), Connection):  # a mock, with or without a spec
        return
    files = session_files(session)
    with files.as_before():
        files.began_on(transaction, connection)


def _before_cursor_execute(
    connection: Connection, cursor: object, statement: str, parameters: object, context: Any, executemany: object
) -> None:
    """Notice lost transactions, and statements outside the unit of work.

    Such statements may give or take files.
    """
    seen = watch_of(connection)
    if seen is not None:
        _handle_end(connection, seen.before_statement(connection))
    compiled = context.compiled
    if compiled is None:
        return
    if getattr(compiled, "ctes", None) and sessions_of_connection(connection):
        refuse_ctes(compiled)
    if context.isdelete and link_fields(_table_of(compiled)):
        for files in sessions_of_connection(connection):
            if files.flush is not None:
                _links_deleted(files, files.flush, connection, context)


def _after_cursor_execute(
    connection: Connection, cursor: Any, statement: str, parameters: object, context: Any, executemany: object
) -> None:
    """Notice what a statement has done.

    It may write while a flush is under way, end a transaction, or be a query that a listener has
    changed.
    """
    check_as_written(context, statement)
    seen = watch_of(connection)
    if seen is not None:
        _handle_end(connection, seen.after_statement(connection, cursor, statement, context))
    for files in sessions_of_connection(connection):
        flush = files.flush
        if flush is None or (is_of_flush(context) and not (flush.deleted or flush.releases)) or _only_reads(context, statement):
            continue
        table = None if context.compiled is None else _table_of(context.compiled)
        flush.note_statement(context, statement, table, cursor.rowcount)


_READING = ("SELECT", "SET", "SAVEPOINT", "RELEASE", "ROLLBACK")


def _only_reads(context: Any, statement: str) -> bool:
    compiled = context.compiled
    if compiled is None or isinstance(compiled.statement, TextClause):
        return statement.lstrip()[:9].upper().startswith(_READING)
    return isinstance(compiled.statement, Select) and not compiled.ctes


def _handle_end(connection: Connection, end: End | None) -> None:
    """Handle a transaction that has ended behind SQLAlchemy's back."""
    if end is End.COMMITTED:
        _committed(connection)
    elif end is not None:
        for files in sessions_of_connection(connection):
            files.ended_elsewhere(end)
        outer = outer_transaction(connection)
        if outer is not None and end is End.ROLLED_BACK:
            outer.rolls_back()
        elif outer is not None:
            outer.mark_in_doubt(end.value)


def _table_of(compiled: Any) -> Any:
    """Return the table that a compiled DELETE names."""
    statement = writing_part(compiled.statement)
    return None if statement is None else statement.table


def _links_deleted(files: SessionFiles, flush: Flush, connection: Connection, context: Any) -> None:
    """Drop the files of rows that a flush removes from a ``secondary=`` table.

    No class's event reports them.
    """
    table = _table_of(context.compiled)
    work = files.work(assign_copy)
    for one, slot in read_links(connection, table, context.compiled_parameters):
        refuse_autocommit(connection)
        if not work.is_dropped(one):
            work.release(one, slot)
    files.keep(flush.context.session, work)
    flush.note(work, ())
    flush.links.append((connection, table, context.compiled_parameters))


def _handle_error(context: ExceptionContext) -> None:
    """Notice that a COMMIT was sent but its answer was lost.

    It is unknown then whether the rows exist.
    """
    connection = context.connection
    if connection is None:
        return
    seen = watch_of(connection)
    if context.statement is not None:
        if seen is not None:
            _handle_end(connection, seen.statement_failed(connection, context))
        return
    if seen is not None:
        seen.ended()
    lost = context.is_disconnect or not isinstance(context.original_exception, Exception)
    committing = [files for files in sessions_of_connection(connection) if files.is_committing]
    for files in committing:
        files.sent = False
        if lost or len(files.connections) > 1:
            files.mark_in_doubt()
    if connection.closed or connection.invalidated:
        return
    outer = outer_transaction(connection)
    if outer is not None:
        outer.failed(lost=lost)
    if committing and not lost and connection.dialect.name == "sqlite":
        # A refused COMMIT leaves SQLite's transaction open, and SQLAlchemy believes that it has ended. The next user of the
        # connection would commit these rows with its own, after their bytes are deleted.
        connection.dialect.do_rollback(connection.connection)


def _savepoint_rolled_back(connection: Connection, name: str, context: None) -> None:
    """Notice a savepoint rolled back on the connection, not by the session."""
    seen = watch_of(connection)
    if seen is not None:
        seen.savepoint_rolled_back()
        _handle_end(connection, End.NEVER_BEGUN if seen.keeps_rows else None)
    outer = outer_transaction(connection)
    if outer is not None:
        outer.savepoint_rolled_back(name)
    for files in sessions_of_connection(connection):
        files.savepoint_rolled_back((id(connection), name))


def _connection_commits(connection: Connection) -> None:
    """Notice a COMMIT that is not the session's, or that has no effect.

    The database may roll back instead.
    """
    seen = watch_of(connection)
    end = None if seen is None else seen.before_commit(connection)
    if end is not End.ROLLED_BACK:
        _handle_end(connection, end)
        _committed(connection)
        return
    forget(connection)
    _outer_rolls_back(connection)
    for files in sessions_of_connection(connection):
        files.commit_refused()


def _committed(connection: Connection) -> None:
    forget(connection)
    _outer_commits(connection)
    for files in sessions_of_connection(connection):
        with files.as_before():
            files.committed_elsewhere(connection)


def _before_commit(session: Session) -> None:
    if session.twophase:
        session_files(session).preparing = True


def _after_commit(session: Session) -> None:
    files = session_files(session)
    _settle_flush(files)
    with files.as_before():
        files.committed(session)


def _after_rollback(session: Session) -> None:
    files = session_files(session)
    with files.as_before():
        files.rolled_back(session)


def _after_transaction_create(session: Session, transaction: SessionTransaction) -> None:
    """Notice ``bulk_save_objects`` and the like.

    They open an inner transaction without a flush event.
    """
    if transaction.parent is None or transaction.nested:
        return
    files = session_files(session)
    if files.flush is None or not files.flush.context.has_work:
        files.bulk = ref(transaction)
        binding_refused.set(True)


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    files = session_files(session)
    if files.bulk is not None and files.bulk() is transaction:
        files.bulk = None
        binding_refused.set(False)
    if transaction.parent is not None and not transaction.nested:  # a flush's own transaction, which the database does not know
        files.flush = None
        return
    _settle_idle_flush(session, files)
    with files.as_before():
        files.ended(transaction)
    if transaction.parent is None:
        delete_abandoned()


# -- transactions that were begun elsewhere --------------------------------------------------------------------------------


def _connection_begins(connection: Connection, *xid: object) -> None:
    """Note that the previous transaction has ended as announced."""
    unwatch(connection)
    outer = outer_transaction(connection)
    if outer is not None:
        outer.ended()


def _savepoint_released(connection: Connection, name: str, context: None) -> None:
    outer = outer_transaction(connection)
    if outer is not None:
        outer.savepoint_released(name)


def _connection_rolls_back(connection: Connection, *xid: object) -> None:
    """Notice a ROLLBACK that is too late, or that cancels a COMMIT.

    The rows may be committed already, or the COMMIT may never have been sent.
    """
    seen = watch_of(connection)
    if seen is not None:
        _handle_end(connection, seen.before_rollback(connection))
        for files in sessions_of_connection(connection):
            files.sent = files.sent and not seen.was_open
        seen.ended()
    _outer_rolls_back(connection)


def _outer_rolls_back(connection: Connection) -> None:
    outer = outer_transaction(connection)
    if outer is not None:
        outer.rolls_back()


def _connection_commits_prepared(connection: Connection, *xid: object) -> None:
    _outer_commits(connection)
    for files in sessions_of_connection(connection):
        files.sent = files.is_committing


def _outer_commits(connection: Connection) -> None:
    outer = outer_transaction(connection)
    if outer is not None:
        outer.commits()


def _connection_prepares(connection: Connection, xid: object) -> None:
    outer = outer_transaction(connection)
    if outer is not None:
        outer.prepares()


def _checkin(dbapi_connection: object, record: ConnectionPoolEntry) -> None:
    returned(record.info)
