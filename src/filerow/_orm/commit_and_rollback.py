"""What happens to the files of a session when its transactions end.

A commit deletes what lost its row; a rollback, of a savepoint too, deletes what was stored for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Connection
from sqlalchemy.orm import InstanceState, Session, SessionTransaction

from filerow._execution.batch import in_greenlet, raise_if
from filerow._file.object import FileObject
from filerow._file.transfer import delete_all
from filerow._orm.fields import Slot, SlotChange
from filerow._orm.flush import Work
from filerow._orm.flush_record import Flush, connection_of_slot
from filerow._orm.ledger import Doomed, Ledger
from filerow._orm.locks import lock_for_writing
from filerow._orm.outer_transaction import OuterTransaction, give_up, outer_transaction, remember, settle, still_open
from filerow._orm.ownership import Ref
from filerow._orm.references import taken
from filerow._orm.rows import connection_of, is_database
from filerow._orm.sqlalchemy_private import savepoint_names, took_from_engine
from filerow._orm.watch import End, watch
from filerow._registry import AS_IT_IS, StorageRegistry, in_force, is_plain, within
from filerow.hooks import Event, deliver


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
        *,
        moves: bool = True,
    ) -> Work:
        """Return a new :class:`Work` in this session's current transaction.

        Args:
            assign: See ``Work``.
            connection: Returns the connection of a bulk statement, which has no objects.
            moves: Objects may move from one row to another; otherwise they are copied.
        """
        taken = partial(self._taken_by_rows, connection)
        may_move: Callable[[Slot, Slot], bool] = self._are_in_one_database if moves else lambda *_: False
        return Work(self._is_dropped, may_move, taken, assign, failures=self._events)

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
