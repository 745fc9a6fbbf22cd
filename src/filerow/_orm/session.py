"""The files of one session: its ledger, its flush, and its transactions.

It settles or undoes what the session has done to files when its transactions end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Connection, Table
from sqlalchemy.orm import InstanceState, Session, SessionTransaction
from sqlalchemy.orm.unitofwork import UOWTransaction

from filerow._execution.batch import in_greenlet, raise_if
from filerow._file.list import FileObjectList, base_of
from filerow._file.object import FileObject, place_of
from filerow._file.transfer import delete_all
from filerow._orm.catalogue import Catalogue
from filerow._orm.fields import Field, Slot, SlotChange, fields_of, files_in, holds_files
from filerow._orm.flush import Work
from filerow._orm.history import identities
from filerow._orm.ledger import Doomed, Ledger, Report
from filerow._orm.locks import lock_for_writing
from filerow._orm.outer_transaction import OuterTransaction, give_up, outer_transaction, remember, settle, still_open
from filerow._orm.ownership import Ref, ref_of
from filerow._orm.references import taken
from filerow._orm.rows import Owned, connection_of, is_database, owned_by
from filerow._orm.sqlalchemy_private import is_of_flush, is_sent_as_is, savepoint_names, took_from_engine
from filerow._orm.watch import End, watch
from filerow._registry import AS_IT_IS, StorageRegistry, in_force, is_plain, within
from filerow.hooks import Event, deliver

RowKey = tuple[Any, ...]
Seen = tuple[Any, tuple[int, ...]]


@dataclass(slots=True)
class Flush:
    """A flush that is under way.

    Attributes:
        context: SQLAlchemy's view of it.
        works: What it has done with files so far.
        seen: The ``id()`` of each file that an attribute held when it was handled, and the key of
            its row.
        deleted: Objects whose files are dropped already.
        old: What each handled slot owned in the database before.
        new: What each handled slot was given, until its row turns out to be written without it.
        written: The rows with file columns that SQLAlchemy has written.
        inserted: The new ones of those. They get a key before the flush ends where SQLAlchemy reads
            them again.
        keys: The keys that the rows had when they were handled.
        unsure: What rows that could not be locked seem to own, and will not own once they are
            written.
        missing: Objects whose rows were not there to be read.
        links: The rows of link tables that were deleted, each with its connection and table.
        incomplete: Tables in which, as far as the driver reports, fewer rows were deleted than
            requested.
        deleted_rows: The number of rows deleted from each table, as far as the driver reports it.
        touched: Tables in which rows were written, other than by deleting them; ``None`` stands for
            unknown tables.
        catalogue: What is known of the triggers and views of its tables.
        releases: It has released an object so far.
        copied: Something else has written documents meanwhile: a listener by a statement, or
            another session.
    """

    context: UOWTransaction
    works: list[Work] = field(default_factory=list)
    seen: dict[tuple[InstanceState[Any], str], Seen] = field(default_factory=dict)
    deleted: set[InstanceState[Any]] = field(default_factory=set)
    old: dict[Slot, Sequence[Ref]] = field(default_factory=dict)
    new: dict[Slot, Sequence[FileObject]] = field(default_factory=dict)
    written: list[InstanceState[Any]] = field(default_factory=list)
    inserted: set[InstanceState[Any]] = field(default_factory=set)
    keys: dict[InstanceState[Any], RowKey] = field(default_factory=dict)
    unsure: dict[Slot, Sequence[Ref]] = field(default_factory=dict)
    missing: set[InstanceState[Any]] = field(default_factory=set)
    links: list[tuple[Connection, Table, Sequence[Mapping[str, Any]]]] = field(default_factory=list)
    incomplete: set[Table] = field(default_factory=set)
    deleted_rows: dict[Table, int] = field(default_factory=dict)
    touched: set[Table | None] = field(default_factory=set)
    catalogue: Catalogue = field(default_factory=Catalogue)
    releases: bool = False
    copied: bool = False

    def note(self, work: Work, changes: Iterable[SlotChange], owned: Owned | None = None) -> None:
        """Record what was handled, and which rows were not there."""
        self.works.append(work)
        self.releases = self.releases or bool(work.released)
        old, new, keys, deleted = self.old, self.new, self.keys, self.deleted  # a flush may have many rows
        for change in changes:
            slot = owner, column = change.slot
            old.setdefault(slot, change.old)
            new[slot] = change.new
            if change.unsure:
                self.unsure[slot] = [ref for ref in change.unsure if ref not in owned_by(change.new)]
            if not isinstance(owner, InstanceState):
                continue
            if owner not in deleted and (change.new or not owner.deleted):
                self.seen[owner, column.key] = owner.key, identities(owner, column)
            key = owner.key
            if key is not None:
                keys.setdefault(owner, key)
                asked = change.owned or change.base is not None
                if owned is not None and asked and not owned.has((owner, column.key)):
                    self.missing.add(owner)

    def update_outbox(self, session: Session) -> None:
        """Write and remove tombstones to match what this flush has written."""
        for work in self.works:
            if work.claims or work.released or work.moved or work.adopted:
                work.update_outbox(slot_connections(session))

    def note_statement(self, context: Any, statement: str, table: Table | None, rows: int) -> None:
        """Note a statement that has written rows during the flush.

        Args:
            context: SQLAlchemy's execution context.
            statement: The text that was sent. An application may have turned a DELETE into an
                UPDATE.
            table: The table that it writes; ``None`` where only the database knows.
            rows: How many rows it has written, as the driver reports; negative where it does not
                report it.
        """
        if rows and not context.isdelete and not is_of_flush(context) and (table is None or holds_files(table)):
            self.copied = True
        if not context.isdelete or table is None or not is_sent_as_is(context, statement):
            self.touched.add(table)
        elif rows >= (asked := len(context.compiled_parameters)):
            self.deleted_rows[table] = self.deleted_rows.get(table, 0) + asked
        else:
            self.incomplete.add(table)

    def has_deleted_all(self, table: Table) -> bool:
        """Return True if the flush has deleted every row of a table it had to.

        No row may have been written to the table since. SQLAlchemy may turn a DELETE and an INSERT
        into one UPDATE, a listener may restore a row, or the row was not there.
        """
        if table in self.incomplete or not self.touched.isdisjoint((table, None)):
            return False
        classes = Counter(state.mapper for state, (is_delete, _) in self.context.states.items() if is_delete)
        return self.deleted_rows.get(table, 0) == sum(count for mapper, count in classes.items() if table in mapper.tables)

    def deletes(self, state: InstanceState[Any]) -> bool:
        """Return True if the flush deletes an object, as known so far."""
        is_delete, _ = self.context.states.get(state, (False, False))
        return bool(is_delete)

    def has_seen(self, change: SlotChange) -> bool:
        """Return True if a column has not changed since it was handled."""
        owner, column = change.slot
        if not isinstance(owner, InstanceState):
            return False
        held = identities(owner, column)
        if not held and (owner.key is None or owner in self.inserted):
            return True
        key, files = self.seen.get((owner, column.key), (None, ()))
        return files == held and self._is_still(owner, key)

    def has_seen_all(self, state: InstanceState[Any]) -> bool:
        """Return True if a new object has not changed since it was handled.

        This costs less than its attribute history.
        """
        for one in fields_of(state.mapper):
            held = identities(state, one)
            if held and self.seen.get((state, one.key)) != (state.key, held):
                return False
        return True

    def _is_still(self, state: InstanceState[Any], key: RowKey | None) -> bool:
        """Return True if an object still belongs to the row with a key.

        ``None`` is the key of a new row.
        """
        return state.key == key or (key is None and state in self.inserted)

    def note_write(self, state: InstanceState[Any]) -> None:
        """Note that a row is about to be written.

        The attributes that are expired are not written.
        """
        self.written.append(state)
        for one in fields_of(state.mapper):
            if one.key not in state.dict:
                self.new.pop(Slot(state, one), None)

    def made_for(self, states: Container[object]) -> set[Ref]:
        """Return the objects that this flush has made for some rows."""
        return {one.ref for work in self.works for one in work.applied if one.made and one.slot.owner in states}

    def settle(self) -> None:
        """Compare the decisions with what the flush has written in the end.

        Objects may not have become rows (pending orphans), or may have been deleted after all. A
        listener that ran after ours may have replaced a file that was stored already, or cancelled
        a change or a deletion.
        """
        held = {ref for slot, old in self.old.items() for ref in self._holds(slot, old)}
        kept = {ref for old in self.old.values() for ref in old if ref in held} if held else ()
        for work in self.works:
            work.keep_only(held)
            for one in kept:
                if one in work.frame.dropped:
                    work.frame.restore(one)

    def report(self) -> None:
        """Note what has changed, for those who listen to events.

        Only objects count as lost that the database does not name any more.
        """
        lost = {ref for work in self.works for ref in (*work.frame.dropped, *work.moved)}
        found = []
        for slot, old in self.old.items():
            held = self._holds(slot, old)
            files = {ref: file for file in _files_of(slot, self.new.get(slot, ())) if (ref := ref_of(file)) in held}
            gone = [ref for ref in old if ref in held or ref in lost or not slot.field.type.lifecycle]
            if gone or files:
                found.append(Report(slot, gone, list(files.values()), _loaded_before(slot)))
        for work in self.works:
            freed = [(slot, ref) for ref, slot in work.released.items() if slot not in self.old and ref in lost]
            found += [Report(slot, [ref], ()) for slot, ref in freed]  # of rows that have no object
        if found:
            self.works[-1].frame.reports += found

    def _holds(self, slot: Slot, old: Sequence[Ref]) -> Sequence[Ref]:
        """Return what a slot owns after the flush.

        SQLAlchemy's list shows which rows it has written. The objects' states do not, once nothing
        refers to the object.
        """
        owner, column = slot
        if not isinstance(owner, InstanceState):
            return old
        is_delete, _ = self.context.states.get(owner, (owner.key is None, False))
        if is_delete:
            return ()
        if not self._is_still(owner, self.seen.get((owner, column.key), (owner.key,))[0]):
            return old  # a listener has given the object another row's key
        if owner not in self.context.states:
            return old
        if column.key in owner.dict:
            return owned_by(owner.dict[column.key])
        return owned_by(self.new[slot]) if slot in self.new and owner in self.written else old  # expired since


def _files_of(slot: Slot, given: Sequence[FileObject]) -> Sequence[FileObject]:
    """Return the files that a slot may hold now."""
    owner, column = slot
    return files_in(owner.dict.get(column.key, given)) if isinstance(owner, InstanceState) else given


def _loaded_before(slot: Slot) -> list[FileObject]:
    """Return the files that a slot held before the flush, as far as they are loaded."""
    owner, column = slot
    if not isinstance(owner, InstanceState) or column.key not in owner.attrs:
        return []
    value = owner.dict.get(column.key)
    former = [value, *(owner.attrs[column.key].history.deleted or ())]
    former += [base_of(one) for one in former if isinstance(one, FileObjectList)]
    return [file for one in former for file in files_in(one) if place_of(file)[1]]


def connection_of_slot(session: Session, slot: Slot) -> Connection:
    """Return the connection that a flush writes a slot's row with."""
    if isinstance(slot.owner, InstanceState):
        return connection_of(session, slot.owner)
    return session.connection(bind_arguments={"clause": slot.field.column.table})  # a row of a link table has no object


def slot_connections(session: Session) -> Callable[[Slot], Connection]:
    """Return a function that finds the connections of slots.

    It asks the session once for each class; see :func:`connection_of_slot`.
    """
    if session.connection_callable is not None:
        return partial(connection_of_slot, session)
    known: dict[Field, Connection] = {}

    def find(slot: Slot) -> Connection:
        found = known.get(slot.field)  # a field belongs to one class, or to one link table
        if found is None:
            found = known[slot.field] = connection_of_slot(session, slot)
        return found

    return find


class SessionFiles:
    """What one session does to files, until its last transaction ends.

    It is kept in the session's ``info`` and holds no transaction and no connection. A session that
    is never closed is collected, and returns its connection, as if there were no files.

    Args:
        session: The session.

    Attributes:
        session: Returns the session while it exists.
        flush: The flush under way.
        bulk: The transaction of a legacy bulk operation under way.
        in_doubt: Why it is unknown whether the rows exist: the answer to a COMMIT was lost, for
            example, or it was not this session's COMMIT.
        bypassed: Why it will be unknown which rows exist once the session has committed: a
            savepoint that is not this session's was rolled back on its connection, for example.
        refused: The database will roll back the session's transaction although COMMIT is sent.
        sent: COMMIT is being sent for the session, and has not failed.
        preparing: The session has begun to commit in two phases.
    """

    def __init__(self, session: Session) -> None:
        self.session = ref(session)
        self._begin()

    def _begin(self) -> None:
        self.flush: Flush | None = None
        self.in_doubt = ""
        self.bypassed = ""
        self.refused = False
        self.sent = False
        self.preparing = False
        self._registry: list[StorageRegistry | None] = []
        self.bulk: ref[SessionTransaction] | None = None
        self._connections: list[ref[Connection]] = []
        self._joined: ref[Connection] | None = None
        self._ledger = Ledger()
        self._kept = 0
        self._savepoints: set[Savepoint] = set()
        self._foreign_savepoints: dict[Savepoint, int] = {}
        self._committed: set[ref[SessionTransaction]] = set()
        self._begun: set[ref[SessionTransaction]] = set()
        self._interrupted: BaseException | None = None
        self._undone: Doomed = {}
        self._events: list[Event] = []

    @property
    def connections(self) -> list[Connection]:
        """The connections that the outermost transaction uses."""
        return [connection for one in self._connections if (connection := one()) is not None]

    def in_its_registry(self) -> AbstractContextManager[object]:
        """Return a block with the registry of the transaction's first flush."""
        if is_plain():
            return AS_IT_IS
        if not self._registry:
            self._registry.append(in_force())
        return within(self._registry[0])

    def as_before(self) -> AbstractContextManager[object]:
        """Return such a block, if there was a flush or another change."""
        return self.in_its_registry() if self._registry else AS_IT_IS

    @property
    def is_committing(self) -> bool:
        """Whether the session sends COMMIT or has begun a two-phase commit."""
        session = self.session()
        root = None if session is None else session.get_transaction()
        return self.preparing or (root is not None and not root.is_active)

    # -- work ----------------------------------------------------------------------------------------------------------

    def work(
        self,
        assign: Callable[[SlotChange, int, FileObject], Callable[[], None]],
        connection: Callable[[], Connection] | None = None,
    ) -> Work:
        """Return a new :class:`Work` in this session's current transaction.

        Args:
            assign: See ``Work``.
            connection: Returns the connection of a bulk statement, which has no objects.
        """
        taken = partial(self._taken_by_rows, connection)
        return Work(self._is_dropped, self._are_in_one_database, taken, assign, failures=self._events)

    def _taken_by_rows(self, given: Callable[[], Connection] | None, asked: Sequence[tuple[Slot, Ref]]) -> set[Ref]:
        """Return those objects that a row of their database names by now."""
        session, found = self.session(), set[Ref]()
        groups: dict[Connection, list[tuple[Slot, Ref]]] = {}
        for slot, one in asked if session is not None else ():
            connection = given() if given is not None else connection_of_slot(session, slot)  # type: ignore[arg-type] # the session exists
            groups.setdefault(connection, []).append((slot, one))
        for connection, members in groups.items():
            if is_database(connection):
                lock_for_writing(connection, [slot.field for slot, _ in members])
                found |= taken(connection, {slot.field.column for slot, _ in members}, [one for _, one in members])
        return found

    def _are_in_one_database(self, one: Slot, other: Slot) -> bool:
        """Return True if an object can move from one slot to another.

        Each database must know by itself everything that it owns.
        """
        session = self.session()
        if session is None or not isinstance(one.owner, InstanceState) or not isinstance(other.owner, InstanceState):
            return True
        return connection_of(session, one.owner) is connection_of(session, other.owner)

    def _is_dropped(self, ref: Ref) -> bool:
        if len(self._connections) > 1:  # it is unknown which database's row has dropped it
            return False
        outer = self._outer()
        return self._ledger.is_dropped(ref) or (outer is not None and outer.is_dropped(ref))

    def keep(self, session: Session, work: Work) -> None:
        """Add what a work has done to the current transaction."""
        connection = None if self._has_savepoint_to_begin(session) else self.joined
        outer = None if connection is None else outer_transaction(connection, make=True)
        if connection is None or outer is None:
            frame = self._ledger.frame(_chain(session), work.frame)
            self._remember()
        else:
            frame = outer.frame(connection)
        if frame is not work.frame:
            frame.absorb(work.frame)
            work.frame = frame
        self._kept += 1
        for one in self.connections:
            watch(one)
            for other in sessions_of_connection(one):
                if other is not self and other.flush is not None:
                    other.flush.copied = True

    def _has_savepoint_to_begin(self, session: Session) -> bool:
        """Return True if the session's savepoint is not on its connection yet.

        SQLAlchemy begins it there when it first needs the connection.
        """
        nested = session.get_nested_transaction()
        return nested is not None and ref(nested) not in self._begun

    @property
    def joined(self) -> Connection | None:
        """The connection of a transaction that the session has joined.

        Something else ends that transaction.
        """
        return None if self._joined is None else self._joined()

    def _outer(self) -> OuterTransaction | None:
        connection = self.joined
        return None if connection is None else outer_transaction(connection)

    # -- transactions --------------------------------------------------------------------------------------------------

    def began_on(self, transaction: SessionTransaction, connection: Connection) -> None:
        """Note that a transaction or savepoint uses a connection now."""
        self._begun.add(ref(transaction))
        if transaction.parent is None:
            self._use(connection, joined=not took_from_engine(transaction, connection))
        savepoint = _innermost_savepoint(connection)
        if savepoint is not None and savepoint not in self._savepoints:
            self._savepoints.add(savepoint)
            for other in sessions_of_connection(connection):
                other._foreign_savepoints[savepoint] = other._kept  # noqa: SLF001 - of its own class
        if self._kept:
            watch(connection)
        if self._joined is not None:
            self._hand_over(transaction)
        elif self._ledger:
            self._remember()

    def _use(self, connection: Connection, *, joined: bool) -> None:
        outer = self._outer()
        self._joined = ref(connection) if joined and not self._connections else None
        if outer is not None:
            outer.mark_in_doubt(
                "a session used several connections, and one of them was in a transaction that the session had not begun"
            )
        self._connections.append(ref(connection))
        _users.setdefault(connection, []).append(ref(self))

    def _remember(self) -> None:
        session = self.session()
        for connection in () if session is None or session.twophase else self.connections:
            remember(connection, ref(self), self._ledger)

    def _hand_over(self, transaction: SessionTransaction) -> None:
        """Give the outer transaction what was done before it could take part.

        The session had no connection then, or no savepoint on it.
        """
        frame = self._ledger.take(ref(transaction))
        connection = self.joined
        outer = None if frame is None or connection is None else outer_transaction(connection, make=True)
        if frame is None or connection is None or outer is None:
            return
        shared = outer.frame(connection)
        shared.absorb(frame)
        for work in self.flush.works if self.flush is not None else ():
            if work.frame is frame:
                work.frame = shared

    def savepoint_rolled_back(self, savepoint: Savepoint) -> None:
        """Note that a savepoint of the connection is being rolled back."""
        if savepoint not in self._savepoints and self._foreign_savepoints.get(savepoint) != self._kept:
            self.bypassed = _BYPASSED

    def mark_in_doubt(self, why: str = "") -> None:
        """Delete nothing any more: it is unknown which rows exist.

        Args:
            why: The reason, for the log.
        """
        self.in_doubt = why or _IN_DOUBT
        frame = self._ledger.take_all()
        if frame is not None:
            give_up(frame, self.in_doubt)

    def ended_elsewhere(self, end: End) -> None:
        """Note that the transaction, or a part of it, was ended elsewhere.

        SQLAlchemy does not know about that.
        """
        frame = self._ledger.take_all() if end is End.ROLLED_BACK and len(self._connections) == 1 else None
        if frame is not None:
            self._undone |= frame.revert()
        elif end in {End.PARTLY_ROLLED_BACK, End.BY_THE_DATABASE}:
            self.bypassed = end.value
        else:
            self.mark_in_doubt(end.value)

    def commit_refused(self) -> None:
        """Note that the database will answer COMMIT with a rollback."""
        if self.is_committing and len(self._connections) == 1:
            self.refused = True
        else:
            self.mark_in_doubt(End.ROLLED_BACK.value)

    def committed_elsewhere(self, connection: Connection) -> None:
        """Note a COMMIT on the session's connection that is not the session's.

        Its rows stay, whatever it does next.
        """
        if self.is_committing:
            self.sent = True
            return
        if self._joined is not None:
            return
        if len(self._connections) > 1 or self.bypassed:
            self.mark_in_doubt(self.bypassed)
        frame = None if self.in_doubt else self._ledger.take_all()
        outer = None if frame is None else outer_transaction(connection, make=True)
        if frame is not None and outer is not None:
            outer.frame(connection).absorb(frame)
            outer.commits()

    def committed(self, session: Session) -> None:
        """Note that the current (nested) transaction is committed or released.

        Under asyncio the outermost one is settled here. A cancellation that arrives later, while
        the connection is returned, would keep SQLAlchemy from reporting the end of the transaction,
        and nothing would delete the objects. In synchronous code the connection is returned first,
        so that no request holds it.
        """
        nested = None if self.sent else session.get_nested_transaction()  # COMMIT ends a savepoint that a listener left open
        transaction = nested or session.get_transaction()
        if transaction is None:
            return
        self._committed.add(ref(transaction))
        if transaction.parent is None and in_greenlet():
            self._settle(transaction)
            self._settle_outer()

    def rolled_back(self, session: Session) -> None:
        """Undo the current (nested) transaction's share; its rows are gone."""
        transaction = session.get_nested_transaction() or session.get_transaction()
        if transaction is not None:
            self._undo(transaction)
        self.clean()

    def clean(self) -> None:
        """Delete what undone savepoints of a joined transaction stored."""
        outer = self._outer()
        if outer is not None:
            outer.clean()

    def ended(self, transaction: SessionTransaction) -> None:
        """Merge, undo or settle the share of a transaction that has ended.

        It has returned its connections.
        """
        this = ref(transaction)
        committed = this in self._committed
        self._committed.discard(this)
        self._begun.discard(this)
        if transaction.nested:
            parent = _boundary(transaction.parent)
            if committed and parent is not None:
                self._ledger.release(this, ref(parent))
            else:
                self._undo(transaction)
        elif transaction.parent is None:
            try:
                if committed:
                    self._committed.add(this)
                elif self.sent:
                    self.mark_in_doubt(_UNREPORTED)
                if committed or still_open(self.connections) is not None:
                    self._settle(transaction)
                else:
                    self._undo(transaction)
                self._settle_outer()
                raise_if(delete_all(self._undone) if self._undone else None)
                raise_if(self._interrupted)
            finally:
                events = self._events
                self._reset()
                interrupted = deliver(events) if events else None
            raise_if(interrupted)

    def _settle(self, transaction: SessionTransaction) -> None:
        """Delete what the transaction has dropped.

        If the session has joined an outer transaction, it is left to that.
        """
        committed = ref(transaction) in self._committed
        frame = self._ledger.take_all() if committed else self._ledger.take(ref(transaction))
        if frame is None:
            return
        connection = still_open(self.connections)
        outer = None if connection is None else outer_transaction(connection, make=True)
        if self.refused:
            raise_if(delete_all(frame.revert()))
        elif self.bypassed:
            give_up(frame, self.bypassed)
        elif connection is not None and outer is not None and committed:
            outer.frame(connection).absorb(frame)
        elif outer is not None:
            give_up(
                frame,
                "a session that used several connections was closed without a commit, inside a transaction that it had not begun",
            )
        elif frame.dropped or frame.uploads or frame.reports:
            # a cancellation meanwhile is raised after SQLAlchemy has finished with the transaction, and so are events
            self._interrupted = settle(frame, self._events)

    def _settle_outer(self) -> None:
        """Settle a transaction that the session ended on a given connection.

        The application gave that connection to the session.
        """
        outer = self._outer()
        if outer is not None and still_open(self.connections) is None:
            outer.ended()

    def _undo(self, transaction: SessionTransaction) -> None:
        frame = self._ledger.take(ref(transaction))
        if frame is None:
            return
        if self.in_doubt:
            give_up(frame, self.in_doubt)
        else:
            raise_if(delete_all(frame.revert()))

    def _reset(self) -> None:
        for connection in self.connections:
            users = [one for one in _users.pop(connection, ()) if one() is not None and one() is not self]
            if users:
                _users[connection] = users
        self._begin()


Savepoint = tuple[int, str]
"""The ``id()`` of a connection and the name of its savepoint."""


def _innermost_savepoint(connection: Connection) -> Savepoint | None:
    names = savepoint_names(connection) if connection.in_nested_transaction() else ()
    return (id(connection), names[-1]) if names else None


def _boundary(transaction: SessionTransaction | None) -> SessionTransaction | None:
    """Return the nearest transaction that the database knows.

    It is a savepoint or the outermost transaction.
    """
    while transaction is not None and transaction.parent is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction


def _chain(session: Session) -> list[Hashable]:
    """Return the session's transactions that the database knows.

    They are weak references, outermost first.
    """
    chain: list[Hashable] = []
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        chain.append(ref(transaction))
        transaction = _boundary(transaction.parent)
    return chain[::-1]


_IN_DOUBT = "the database did not say whether it committed, or something else committed the session's connection"
_BYPASSED = "a savepoint was rolled back on the session's connection, not through the session"
_UNREPORTED = "a listener failed while the session committed, so SQLAlchemy did not say whether it did"

_KEY = "filerow"
"""The key of a session's files in ``session.info``."""

_users: WeakKeyDictionary[Connection, list[ref[SessionFiles]]] = WeakKeyDictionary()


def session_files(session: Session) -> SessionFiles:
    """Return what a session does to files."""
    files: SessionFiles | None = session.info.get(_KEY)
    if files is None or files.session() is not session:  # an application may pass one session's info to another
        files = session.info[_KEY] = SessionFiles(session)
    return files


def sessions_of_connection(connection: Connection | None) -> list[SessionFiles]:
    """Return what the sessions that use a connection do to files.

    There are several if one session works inside the transaction of another.
    """
    found = () if connection is None else _users.get(connection, ())
    return [files for one in found if (files := one()) is not None]
