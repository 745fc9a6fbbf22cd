"""The files of one session: its ledger, its flush, and what becomes of them when its transactions end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection
from sqlalchemy.engine import NestedTransaction
from sqlalchemy.orm import InstanceState, Session, SessionTransaction
from sqlalchemy.orm.unitofwork import UOWTransaction

from filerow._execution.batch import in_greenlet, raise_if
from filerow._file.object import FileObject
from filerow._file.transfer import delete_all
from filerow._log import logger, named, objects
from filerow._orm import outer_transaction
from filerow._orm.fields import Slot, fields_of, slot_of
from filerow._orm.flush import Work
from filerow._orm.history import identities
from filerow._orm.ledger import Frame, Ledger
from filerow._orm.ownership import Change, Ref
from filerow._orm.rows import owned_by

__all__ = ("Flush", "SessionFiles", "session_files", "session_of_connection")


@dataclass(slots=True)
class Flush:
    """A flush that is under way.

    Attributes:
        context: SQLAlchemy's own view of it.
        works: What it has done with files so far.
        seen: Which very files each attribute held when it was dealt with.
        deleted: Objects whose files are dropped already.
        old: What each slot that was dealt with owned in the database before.
        written: The rows with file columns that SQLAlchemy has written.
    """

    context: UOWTransaction
    works: list[Work] = field(default_factory=list)
    seen: dict[tuple[InstanceState[Any], str], tuple[int, ...]] = field(default_factory=dict)
    deleted: set[InstanceState[Any]] = field(default_factory=set)
    old: dict[Slot, Sequence[Ref]] = field(default_factory=dict)
    written: list[InstanceState[Any]] = field(default_factory=list)

    def note(self, work: Work, changes: Iterable[Change]) -> None:
        """Remember what was dealt with."""
        self.works.append(work)
        for change in changes:
            slot = owner, column = slot_of(change)
            self.old.setdefault(slot, change.old)
            if isinstance(owner, InstanceState) and owner not in self.deleted and (change.new or not owner.deleted):
                self.seen[owner, column.key] = identities(owner, column)

    def tell_outbox(self, session: Session) -> None:
        """Have the outbox's tombstones agree with what this flush has written."""

        def connection_of(slot: Slot) -> Connection:
            owner = slot.owner
            mapper = owner.mapper if isinstance(owner, InstanceState) else None
            return session.connection(bind_arguments={"mapper": mapper})

        for work in self.works:
            work.tell_outbox(connection_of)

    def has_seen(self, change: Change) -> bool:
        """Say whether a column still holds what it held when it was dealt with."""
        owner, column = slot_of(change)
        return isinstance(owner, InstanceState) and self.seen.get((owner, column.key)) == identities(owner, column)

    def has_seen_all(self, state: InstanceState[Any]) -> bool:
        """Say whether a new object's columns hold what they held when they were dealt with; cheaper than its history."""
        return all(self.seen.get((state, f.key), ()) == identities(state, f) for f in fields_of(state.mapper))

    def settle(self) -> None:
        """Compare what was decided with what the flush has written in the end.

        Objects may not have become rows (pending orphans), may have been deleted after all, or a listener that came after ours
        may have put another file in the place of one that was stored already, or have taken a change or a deletion back.
        """
        held = {ref for slot, old in self.old.items() for ref in self._holds(slot, old)}
        kept = {ref for old in self.old.values() for ref in old if ref in held}
        for work in self.works:
            work.keep_only(held)
            for ref in kept:
                if ref in work.frame.dropped:
                    work.frame.restore(ref)

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
        return owned_by(owner.dict[column.key]) if column.key in owner.dict and owner in self.context.states else old


class SessionFiles:
    """What one session does to files, from its first transaction to the end of its last.

    Attributes:
        flush: The flush under way.
        bulk: The transaction of a legacy bulk operation under way.
        connections: The connections its outermost transaction uses.
        committing: A commit has been called, so that COMMIT may have been sent.
        in_doubt: The answer to a COMMIT was lost, or it was not this session's: the rows may be there or not.
        bypassed: A savepoint that is not this session's was rolled back on its connection: nobody knows which rows came back.
    """

    def __init__(self) -> None:
        self.flush: Flush | None = None
        self.bulk: SessionTransaction | None = None
        self.committing = False
        self.in_doubt = False
        self.bypassed = False
        self.connections: list[Connection] = []
        self.in_savepoint = False
        self._ledger = Ledger()
        self._savepoints: WeakSet[NestedTransaction] = WeakSet()
        self._committed: set[Hashable] = set()
        self._interrupted: BaseException | None = None

    def work(self, assign: Callable[[Change, int, FileObject], Callable[[], None]]) -> Work:
        """Return a new piece of work on this session's present transaction."""
        return Work(self._ledger.is_dropped, assign)

    def keep(self, session: Session, work: Work) -> None:
        """Make what a piece of work has done part of the present transaction."""
        frame = self._ledger.frame(_chain(session))
        frame.absorb(work.frame)
        work.frame = frame

    def joined(self, connection: Connection) -> None:
        """Note a connection the session's outermost transaction has begun to use."""
        self.connections.append(connection)
        self.in_savepoint = connection.in_nested_transaction()
        _by_connection[connection] = self

    def began_on(self, connection: Connection) -> None:
        """Note the savepoint that a (nested) transaction of the session has begun, or is in."""
        savepoint = connection.get_nested_transaction()
        if savepoint is not None:
            self._savepoints.add(savepoint)

    def savepoint_rolled_back(self, savepoint: NestedTransaction | None) -> None:
        """Note that one of the connection's savepoints is being rolled back."""
        if savepoint is not None and savepoint not in self._savepoints:
            self.bypassed = True

    def committed(self, session: Session) -> None:
        """Note that the present (nested) transaction has been committed or released.

        Under asyncio the outermost one is settled right here. Later, while the connection is given back, a cancellation may come
        that keeps SQLAlchemy from telling us that the transaction has ended, and nobody would come back to delete. In synchronous
        code the connection is given back first, so that no request holds it.
        """
        transaction = session.get_nested_transaction() or session.get_transaction()
        self._committed.add(transaction)
        if transaction is not None and transaction.parent is None and in_greenlet():
            self._settle(transaction, outer_transaction.still_open(self.connections))

    def rolled_back(self, session: Session) -> None:
        """Undo the present (nested) transaction's share at once; its rows are gone."""
        self._undo(session.get_nested_transaction() or session.get_transaction())

    def ended(self, session: Session, transaction: SessionTransaction) -> None:
        """Merge, undo or settle a transaction's share, now that it has ended and given back its connections."""
        committed = transaction in self._committed
        self._committed.discard(transaction)
        if transaction.nested:
            if committed:
                self._ledger.release(transaction, _boundary(transaction.parent))
            else:
                self._undo(transaction)
        elif transaction.parent is None:
            try:
                outer = outer_transaction.still_open(self.connections)
                if committed or (outer is not None and not self._rolls_back_on_close(session)):
                    self._settle(transaction, outer)
                else:
                    self._undo(transaction)
                raise_if(self._interrupted)
            finally:
                self._reset()

    def _settle(self, transaction: SessionTransaction, outer: Connection | None) -> None:
        """Delete what the transaction has dropped, or leave it to the outer transaction the session has joined."""
        frame = self._ledger.take(transaction)
        if frame is None:
            return
        if self.bypassed:
            _give_up(frame, "a savepoint was rolled back on the session's connection, not through the session")
        elif outer is not None:
            outer_transaction.defer(outer, frame)
        elif frame.dropped:  # a cancellation meanwhile is raised when SQLAlchemy has finished with the transaction
            self._interrupted = outer_transaction.settle(frame)

    def _rolls_back_on_close(self, session: Session) -> bool:
        """Say whether closing without commit undoes the rows though an outer transaction goes on: in a savepoint of our own."""
        mode = session.join_transaction_mode
        return mode in {"create_savepoint", "control_fully"} or (mode == "conditional_savepoint" and self.in_savepoint)

    def _undo(self, transaction: Hashable) -> None:
        frame = self._ledger.take(transaction)
        if frame is None:
            return
        if self.in_doubt:
            _give_up(frame, "the database did not say whether it committed, or the session's connection was committed by another")
        else:
            raise_if(delete_all(frame.revert()))

    def _reset(self) -> None:
        for connection in self.connections:
            _by_connection.pop(connection, None)
        self.__init__()  # type: ignore[misc]


def _give_up(frame: Frame, why: str) -> None:
    """Keep everything when nobody knows what became of the rows: one may point to it. What has no row is found by a sweep."""
    kept = [f"{objects(len(refs))} {what} ({named(':'.join(ref) for ref in refs)})" for what, refs in _shares(frame) if refs]
    if kept:
        logger.warning(
            "%s, so nothing was deleted and nothing is lost: kept %s. Those that no row names cost space until "
            "filerow sweep --full --delete removes them",
            why,
            " and ".join(kept),
        )


def _shares(frame: Frame) -> tuple[tuple[str, Collection[Ref]], ...]:
    return ("that were stored in this transaction", frame.stored), ("that left their rows in it", frame.dropped)


def _boundary(transaction: SessionTransaction | None) -> SessionTransaction | None:
    """Return the nearest transaction that the database knows: a savepoint or the outermost."""
    while transaction is not None and transaction.parent is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction


def _chain(session: Session) -> list[Hashable]:
    """Return the session's transactions the database knows, outermost first."""
    chain: list[Hashable] = []
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        chain.append(transaction)
        transaction = _boundary(transaction.parent)
    return chain[::-1]


_sessions: WeakKeyDictionary[Session, SessionFiles] = WeakKeyDictionary()
_by_connection: WeakKeyDictionary[Connection, SessionFiles] = WeakKeyDictionary()


def session_files(session: Session) -> SessionFiles:
    """Return what a session does to files."""
    files = _sessions.get(session)
    if files is None:
        files = _sessions[session] = SessionFiles()
    return files


def session_of_connection(connection: Connection | None) -> SessionFiles | None:
    """Return what the session that uses a connection does to files."""
    return None if connection is None else _by_connection.get(connection)
