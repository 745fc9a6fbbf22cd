"""The files of one session: its ledger, its flush, and what becomes of them when its transactions end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Connection, Table
from sqlalchemy.orm import InstanceState, Session, SessionTransaction
from sqlalchemy.orm.unitofwork import UOWTransaction

from filerow._execution.batch import in_greenlet, raise_if
from filerow._file.object import FileObject
from filerow._file.transfer import delete_all
from filerow._orm.catalogue import Catalogue
from filerow._orm.fields import Field, Slot, fields_of, holds_files, slot_of
from filerow._orm.flush import Work
from filerow._orm.history import identities
from filerow._orm.ledger import Ledger
from filerow._orm.outer_transaction import OuterTransaction, give_up, outer_transaction, remember, settle, still_open
from filerow._orm.ownership import Change, Ref
from filerow._orm.references import taken
from filerow._orm.rows import Owned, connection_of, is_database, lock_for_writing, owned_by
from filerow._orm.sqlalchemy_private import is_of_flush, is_sent_as_is, savepoint_names, took_from_engine
from filerow._orm.watch import End, watch

__all__ = ("Flush", "SessionFiles", "session_files", "sessions_of_connection", "slot_connections")


RowKey = tuple[Any, ...]
Seen = tuple[Any, tuple[int, ...]]


@dataclass(slots=True)
class Flush:
    """A flush that is under way.

    Attributes:
        context: SQLAlchemy's own view of it.
        works: What it has done with files so far.
        seen: Which very files each attribute held when it was dealt with, and the key of its row.
        deleted: Objects whose files are dropped already.
        old: What each slot that was dealt with owned in the database before.
        new: What each of them was given, until it turns out that its row is written without it.
        written: The rows with file columns that SQLAlchemy has written.
        inserted: Those of them that are new, which get a key before the flush ends where SQLAlchemy reads them again.
        keys: The keys that the rows had then.
        unsure: What rows that could not be locked seem to own, and will not when they are written.
        missing: Objects whose rows were not there to be read.
        links: The rows of link tables that were deleted, each with its connection and table.
        short: Tables of which not as many rows were deleted as were to be, as far as the driver says.
        gone: How many rows of each table were deleted, as far as the driver says.
        touched: Tables in which rows were written otherwise than by deleting them; ``None`` stands for tables nobody knows.
        catalogue: What is known of the triggers and views of its tables.
        lets_go: Something was let go by what it has done so far.
        copied: Somebody else has written documents meanwhile: a listener by a statement, or another session.
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
    short: set[Table] = field(default_factory=set)
    gone: dict[Table, int] = field(default_factory=dict)
    touched: set[Table | None] = field(default_factory=set)
    catalogue: Catalogue = field(default_factory=Catalogue)
    lets_go: bool = False
    copied: bool = False

    def note(self, work: Work, changes: Iterable[Change], owned: Owned | None = None) -> None:
        """Remember what was dealt with, and which rows were not there."""
        self.works.append(work)
        self.lets_go = self.lets_go or bool(work.left)
        for change in changes:
            slot = owner, column = slot_of(change)
            self.old.setdefault(slot, change.old)
            self.new[slot] = change.new
            if change.unsure:
                self.unsure[slot] = [ref for ref in change.unsure if ref not in owned_by(change.new)]
            if not isinstance(owner, InstanceState):
                continue
            if owner not in self.deleted and (change.new or not owner.deleted):
                self.seen[owner, column.key] = owner.key, identities(owner, column)
            if owner.key is not None:
                self.keys.setdefault(owner, owner.key)
                asked = change.owned or change.base is not None
                if owned is not None and asked and not owned.has((owner, column.key)):
                    self.missing.add(owner)

    def tell_outbox(self, session: Session) -> None:
        """Have the outbox's tombstones agree with what this flush has written."""
        for work in self.works:
            if work.claims or work.left or work.moved or work.adopted:
                work.tell_outbox(slot_connections(session))

    def has_sent(self, context: Any, statement: str, table: Table | None, rows: int) -> None:
        """Note a statement that has written something while the flush was under way.

        Args:
            context: SQLAlchemy's view of it.
            statement: What was sent. An application may have made an UPDATE of a DELETE.
            table: The table that it writes; ``None`` where only the database knows.
            rows: How many rows the driver says it has written; negative where it does not say.
        """
        if rows and not context.isdelete and not is_of_flush(context) and (table is None or holds_files(table)):
            self.copied = True
        if not context.isdelete or table is None or not is_sent_as_is(context, statement):
            self.touched.add(table)
        elif rows >= (asked := len(context.compiled_parameters)):
            self.gone[table] = self.gone.get(table, 0) + asked
        else:
            self.short.add(table)

    def has_deleted_all(self, table: Table) -> bool:
        """Return True if every row of a table that the flush was to delete was deleted, and none was written since.

        SQLAlchemy may make one UPDATE of a DELETE and an INSERT, a listener may put a row back, or the row was not there.
        """
        if table in self.short or not self.touched.isdisjoint((table, None)):
            return False
        classes = Counter(state.mapper for state, (is_delete, _) in self.context.states.items() if is_delete)
        return self.gone.get(table, 0) == sum(count for mapper, count in classes.items() if table in mapper.tables)

    def deletes(self, state: InstanceState[Any]) -> bool:
        """Return True if the flush deletes an object, as far as it knows yet."""
        is_delete, _ = self.context.states.get(state, (False, False))
        return bool(is_delete)

    def has_seen(self, change: Change) -> bool:
        """Return True if a column still holds what it held when it was dealt with."""
        owner, column = slot_of(change)
        if not isinstance(owner, InstanceState):
            return False
        held = identities(owner, column)
        if not held and (owner.key is None or owner in self.inserted):
            return True
        key, files = self.seen.get((owner, column.key), (None, ()))
        return files == held and self._is_still(owner, key)

    def has_seen_all(self, state: InstanceState[Any]) -> bool:
        """Return True if a new object's columns hold what they held when they were dealt with; cheaper than its history."""
        for one in fields_of(state.mapper):
            held = identities(state, one)
            if held and self.seen.get((state, one.key)) != (state.key, held):
                return False
        return True

    def _is_still(self, state: InstanceState[Any], key: RowKey | None) -> bool:
        """Return True if an object is still the one of the row that has a key; ``None`` is a new row's."""
        return state.key == key or (key is None and state in self.inserted)

    def writes(self, state: InstanceState[Any]) -> None:
        """Note that a row is about to be written, without the attributes that are expired."""
        self.written.append(state)
        for one in fields_of(state.mapper):
            if one.key not in state.dict:
                self.new.pop(Slot(state, one), None)

    def made_for(self, states: Container[object]) -> set[Ref]:
        """Return the objects that this flush has given to rows of these objects so far."""
        return {one.ref for work in self.works for one in work.applied if one.made and one.slot.owner in states}

    def settle(self) -> None:
        """Compare what was decided with what the flush has written in the end.

        Objects may not have become rows (pending orphans), may have been deleted after all, or a listener that came after ours
        may have put another file in the place of one that was stored already, or have taken a change or a deletion back.
        """
        held = {ref for slot, old in self.old.items() for ref in self._holds(slot, old)}
        kept = {ref for old in self.old.values() for ref in old if ref in held} if held else ()
        for work in self.works:
            work.keep_only(held)
            for one in kept:
                if one in work.frame.dropped:
                    work.frame.restore(one)

    def _holds(self, slot: Slot, old: Sequence[Ref]) -> Sequence[Ref]:
        """Return what a slot owns after the flush.

        SQLAlchemy's list says which rows it has written, not the objects' states, which say nothing once nobody holds the object.
        """
        owner, column = slot
        if not isinstance(owner, InstanceState):
            return old
        is_delete, _ = self.context.states.get(owner, (owner.key is None, False))
        if is_delete:
            return ()
        if not self._is_still(owner, self.seen.get((owner, column.key), (owner.key,))[0]):
            return old  # a listener has made it another row's object
        if owner not in self.context.states:
            return old
        if column.key in owner.dict:
            return owned_by(owner.dict[column.key])
        return owned_by(self.new[slot]) if slot in self.new and owner in self.written else old  # expired since


def connection_of_slot(session: Session, slot: Slot) -> Connection:
    """Return the connection that a flush writes a slot's row with."""
    if isinstance(slot.owner, InstanceState):
        return connection_of(session, slot.owner)
    return session.connection(bind_arguments={"clause": slot.field.column.table})  # a row of a link table


def slot_connections(session: Session) -> Callable[[Slot], Connection]:
    """Return what finds the connections of slots, and asks the session once for each class; see :func:`connection_of_slot`."""
    if session.connection_callable is not None:
        return partial(connection_of_slot, session)
    known: dict[Field, Connection] = {}

    def find(slot: Slot) -> Connection:
        found = known.get(slot.field)  # each belongs to one class, or to one link table
        if found is None:
            found = known[slot.field] = connection_of_slot(session, slot)
        return found

    return find


class SessionFiles:
    """What one session does to files, from its first transaction to the end of its last.

    It lives in the session's ``info`` and holds no transaction and no connection, so that a session that nobody closes is
    collected, and gives its connection back, as if there were no files.

    Args:
        session: The session.

    Attributes:
        session: Returns the session, as long as it lives.
        flush: The flush under way.
        bulk: The transaction of a legacy bulk operation under way.
        in_doubt: Why nobody knows whether the rows are there: the answer to a COMMIT was lost, say, or it was not this session's.
        bypassed: Why nobody knows which rows are there once the session has committed: a savepoint that is not this session's
            was rolled back on its connection, say.
        refused: The database will roll back the session's transaction, though it is sent COMMIT.
        sent: COMMIT is being sent for the session, and has not failed.
        preparing: The session commits in two phases, and has begun to.
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
        self.bulk: ref[SessionTransaction] | None = None
        self._connections: list[ref[Connection]] = []
        self._joined: ref[Connection] | None = None
        self._ledger = Ledger()
        self._kept = 0
        self._savepoints: set[Savepoint] = set()
        self._elsewhere: dict[Savepoint, int] = {}
        self._committed: set[ref[SessionTransaction]] = set()
        self._begun: set[ref[SessionTransaction]] = set()
        self._interrupted: BaseException | None = None
        self._undone: list[Ref] = []

    @property
    def connections(self) -> list[Connection]:
        """The connections that the outermost transaction uses."""
        return [connection for one in self._connections if (connection := one()) is not None]

    @property
    def is_committing(self) -> bool:
        """Whether the session is sending COMMIT, or has begun a commit in two phases."""
        session = self.session()
        root = None if session is None else session.get_transaction()
        return self.preparing or (root is not None and not root.is_active)

    # -- work ----------------------------------------------------------------------------------------------------------

    def work(
        self,
        assign: Callable[[Change, int, FileObject], Callable[[], None]],
        connection: Callable[[], Connection] | None = None,
    ) -> Work:
        """Return a new piece of work on this session's present transaction.

        Args:
            assign: See ``Work``.
            connection: Returns the connection of a bulk statement, which has no objects.
        """
        return Work(self._is_dropped, self._are_in_one_database, partial(self._taken_by_rows, connection), assign)

    def _taken_by_rows(self, given: Callable[[], Connection] | None, asked: Sequence[tuple[Slot, Ref]]) -> set[Ref]:
        """Return those objects that a row of the same database names by now."""
        session, found = self.session(), set[Ref]()
        groups: dict[Connection, list[tuple[Slot, Ref]]] = {}
        for slot, one in asked if session is not None else ():
            connection = given() if given is not None else connection_of_slot(session, slot)  # type: ignore[arg-type] # is there
            groups.setdefault(connection, []).append((slot, one))
        for connection, members in groups.items():
            if is_database(connection):
                lock_for_writing(connection, [slot.field for slot, _ in members])
                found |= taken(connection, {slot.field.column for slot, _ in members}, [one for _, one in members])
        return found

    def _are_in_one_database(self, one: Slot, other: Slot) -> bool:
        """Return True if an object can move from one slot to another: each database must know all it owns by itself."""
        session = self.session()
        if session is None or not isinstance(one.owner, InstanceState) or not isinstance(other.owner, InstanceState):
            return True
        return connection_of(session, one.owner) is connection_of(session, other.owner)

    def _is_dropped(self, ref: Ref) -> bool:
        if len(self._connections) > 1:  # by a row of which database, nobody knows any more
            return False
        outer = self._outer()
        return self._ledger.is_dropped(ref) or (outer is not None and outer.is_dropped(ref))

    def keep(self, session: Session, work: Work) -> None:
        """Make what a piece of work has done part of the present transaction."""
        connection = None if self._has_savepoint_to_begin(session) else self.joined
        outer = None if connection is None else outer_transaction(connection, make=True)
        if connection is None or outer is None:
            frame = self._ledger.frame(_chain(session))
            self._remember()
        else:
            frame = outer.frame(connection)
        frame.absorb(work.frame)
        work.frame = frame
        self._kept += 1
        for one in self.connections:
            watch(one)
            for other in sessions_of_connection(one):
                if other is not self and other.flush is not None:
                    other.flush.copied = True

    def _has_savepoint_to_begin(self, session: Session) -> bool:
        """Return True if the session's savepoint has not begun on its connection, as SQLAlchemy does when it needs it."""
        nested = session.get_nested_transaction()
        return nested is not None and ref(nested) not in self._begun

    @property
    def joined(self) -> Connection | None:
        """The connection of a transaction that the session has joined and somebody else looks after."""
        return None if self._joined is None else self._joined()

    def _outer(self) -> OuterTransaction | None:
        connection = self.joined
        return None if connection is None else outer_transaction(connection)

    # -- transactions --------------------------------------------------------------------------------------------------

    def began_on(self, transaction: SessionTransaction, connection: Connection) -> None:
        """Note that a transaction or savepoint of the session has begun to use a connection."""
        self._begun.add(ref(transaction))
        if transaction.parent is None:
            self._use(connection, joined=not took_from_engine(transaction, connection))
        savepoint = _innermost_savepoint(connection)
        if savepoint is not None and savepoint not in self._savepoints:
            self._savepoints.add(savepoint)
            for other in sessions_of_connection(connection):
                other._elsewhere[savepoint] = other._kept  # noqa: SLF001 - of its own class
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
            outer.doubt("a session used several connections, and another began the transaction of one")
        self._connections.append(ref(connection))
        _users.setdefault(connection, []).append(ref(self))

    def _remember(self) -> None:
        session = self.session()
        for connection in () if session is None or session.twophase else self.connections:
            remember(connection, ref(self), self._ledger)

    def _hand_over(self, transaction: SessionTransaction) -> None:
        """Give the outer transaction what was done before there was a connection, or a savepoint on it."""
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
        """Note that one of the connection's savepoints is being rolled back."""
        if savepoint not in self._savepoints and self._elsewhere.get(savepoint) != self._kept:
            self.bypassed = _BYPASSED

    def doubt(self, why: str = "") -> None:
        """Delete nothing any more: nobody knows which rows are there."""
        self.in_doubt = why or _IN_DOUBT
        frame = self._ledger.take_all()
        if frame is not None:
            give_up(frame, self.in_doubt)

    def noticed(self, end: End) -> None:
        """Note that the transaction, or a part of it, has ended behind SQLAlchemy's back."""
        frame = self._ledger.take_all() if end is End.ROLLED_BACK and len(self._connections) == 1 else None
        if frame is not None:
            self._undone += frame.revert()
        elif end in {End.PARTLY_ROLLED_BACK, End.BY_THE_DATABASE}:
            self.bypassed = end.value
        else:
            self.doubt(end.value)

    def commit_refused(self) -> None:
        """Note that the database will answer COMMIT with a rollback."""
        if self.is_committing and len(self._connections) == 1:
            self.refused = True
        else:
            self.doubt(End.ROLLED_BACK.value)

    def committed_elsewhere(self, connection: Connection) -> None:
        """Note a COMMIT on the session's connection that is not the session's: its rows are there, whatever it does next."""
        if self.is_committing:
            self.sent = True
            return
        if self._joined is not None:
            return
        if len(self._connections) > 1 or self.bypassed:
            self.doubt(self.bypassed)
        frame = None if self.in_doubt else self._ledger.take_all()
        outer = None if frame is None else outer_transaction(connection, make=True)
        if frame is not None and outer is not None:
            outer.frame(connection).absorb(frame)
            outer.commits()

    def committed(self, session: Session) -> None:
        """Note that the present (nested) transaction has been committed or released.

        Under asyncio the outermost one is settled right here. Later, while the connection is given back, a cancellation may come
        that keeps SQLAlchemy from telling us that the transaction has ended, and nobody would come back to delete. In synchronous
        code the connection is given back first, so that no request holds it.
        """
        nested = None if self.sent else session.get_nested_transaction()  # COMMIT ends a savepoint that a listener has left open
        transaction = nested or session.get_transaction()
        if transaction is None:
            return
        self._committed.add(ref(transaction))
        if transaction.parent is None and in_greenlet():
            self._settle(transaction)
            self._settle_outer()

    def rolled_back(self, session: Session) -> None:
        """Undo the present (nested) transaction's share at once; its rows are gone."""
        transaction = session.get_nested_transaction() or session.get_transaction()
        if transaction is not None:
            self._undo(transaction)
        self.clean()

    def clean(self) -> None:
        """Delete what undone savepoints of a transaction that somebody else looks after have stored."""
        outer = self._outer()
        if outer is not None:
            outer.clean()

    def ended(self, transaction: SessionTransaction) -> None:
        """Merge, undo or settle a transaction's share, now that it has ended and given back its connections."""
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
                    self.doubt(_UNTOLD)
                if committed or still_open(self.connections) is not None:
                    self._settle(transaction)
                else:
                    self._undo(transaction)
                self._settle_outer()
                raise_if(delete_all(self._undone) if self._undone else None)
                raise_if(self._interrupted)
            finally:
                self._reset()

    def _settle(self, transaction: SessionTransaction) -> None:
        """Delete what the transaction has dropped, or leave it to the outer transaction the session has joined."""
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
            give_up(frame, "a session that used several connections was closed, not committed, inside another's transaction")
        elif frame.dropped or frame.uploads:
            # a cancellation meanwhile is raised when SQLAlchemy has finished with the transaction
            self._interrupted = settle(frame)

    def _settle_outer(self) -> None:
        """Settle the transaction of a connection that the application gave to the session, which was the one to end it."""
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
"""The number of a connection and the name of its savepoint."""


def _innermost_savepoint(connection: Connection) -> Savepoint | None:
    names = savepoint_names(connection) if connection.in_nested_transaction() else ()
    return (id(connection), names[-1]) if names else None


def _boundary(transaction: SessionTransaction | None) -> SessionTransaction | None:
    """Return the nearest transaction that the database knows: a savepoint or the outermost."""
    while transaction is not None and transaction.parent is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction


def _chain(session: Session) -> list[Hashable]:
    """Return the session's transactions the database knows, outermost first, none of them kept alive."""
    chain: list[Hashable] = []
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        chain.append(ref(transaction))
        transaction = _boundary(transaction.parent)
    return chain[::-1]


_IN_DOUBT = "the database did not say whether it committed, or the session's connection was committed by another"
_BYPASSED = "a savepoint was rolled back on the session's connection, not through the session"
_UNTOLD = "a listener failed while the session committed, so that SQLAlchemy did not say whether it has"

_KEY = "filerow"
"""Where a session keeps its files' state, in ``session.info``."""

_users: WeakKeyDictionary[Connection, list[ref[SessionFiles]]] = WeakKeyDictionary()


def session_files(session: Session) -> SessionFiles:
    """Return what a session does to files."""
    files: SessionFiles | None = session.info.get(_KEY)
    if files is None or files.session() is not session:  # an application may give one session's info to another
        files = session.info[_KEY] = SessionFiles(session)
    return files


def sessions_of_connection(connection: Connection | None) -> list[SessionFiles]:
    """Return what the sessions that use a connection do to files: those inside another's transaction are several."""
    found = () if connection is None else _users.get(connection, ())
    return [files for one in found if (files := one()) is not None]
