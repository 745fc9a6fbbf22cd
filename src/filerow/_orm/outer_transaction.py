"""Transactions that somebody else looks after, and what sessions have done to files in them.

A session bound to a connection whose transaction somebody else began commits only a savepoint, or nothing: SQLAlchemy's
recipe for test suites, or a session that an extension opens on ``session.connection()`` inside a flush and never closes.
What becomes of its rows is decided by the connection's own transaction. So what such a session stores and drops is kept
with the connection, one frame for each savepoint there is, and not with the session: its end, or its garbage collection,
decides nothing.

The frames live in the connection's ``info``, which is its pool record's and outlives the connection. They hold neither
session nor connection, or these would live as long as the pool. COMMIT and ROLLBACK are announced before they are sent. So
the deletes run at the next thing the connection does that proves that they have succeeded: it begins again or goes back to
the pool. When nothing is certain, nothing is deleted; a sweep finds the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable
from typing import Any
from weakref import ref

from sqlalchemy import Connection

from filerow._execution.batch import raise_if
from filerow._file.transfer import delete_all
from filerow._log import logger, named, objects
from filerow._orm.ledger import Frame, Ledger
from filerow._orm.ownership import Ref
from filerow._orm.sqlalchemy_private import savepoint_names
from filerow._orm.watch import End, watch
from filerow._registry import storages

__all__ = (
    "OuterTransaction",
    "delete_abandoned",
    "forget",
    "give_up",
    "outer_transaction",
    "remember",
    "returned",
    "settle",
    "still_open",
)

_KEY = "filerow.outer"

_OWN = "filerow.session"

_ROOT = ""
"""The transaction itself; savepoints are known by their names."""

_abandoned: deque[Ref] = deque()
"""Objects of transactions that the garbage collector has ended, which must not wait for a store wherever it happens to run."""


class OuterTransaction:
    """What all sessions that joined one outer transaction have done to files in it.

    Args:
        connection: Whose transaction it is.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = ref(connection)
        self._watch = watch(connection)
        self._ledger = Ledger()
        self._doomed: list[Ref] = []
        self._committed: Frame | None = None
        self._prepared = False
        self._doubts = ""

    def is_of(self, connection: Connection) -> bool:
        """Return True if it is this connection's, not that of an earlier user of the same database connection."""
        return self._connection() is connection

    def frame(self, connection: Connection) -> Frame:
        """Return what was done since the connection's innermost savepoint began."""
        self._watch = watch(connection)  # another one since, if another transaction has begun
        return self._ledger.frame([_ROOT, *savepoint_names(connection)])

    def is_dropped(self, ref: Ref) -> bool:
        """Return True if the object has lost its owner in this transaction and not got one since."""
        return self._ledger.is_dropped(ref)

    # -- what the connection announces ---------------------------------------------------------------------------------

    def savepoint_released(self, name: str) -> None:
        """Merge a savepoint's frame, and those inside it, into the one around it."""
        chain = self._ledger.chain
        for inner in reversed(self._inside(name)):
            self._ledger.release(inner, chain[chain.index(inner) - 1])

    def savepoint_rolled_back(self, name: str) -> None:
        """Undo a savepoint's frame and those inside it."""
        for inner in reversed(self._inside(name)):
            self._undo(self._ledger.take(inner))

    def rolls_back(self) -> None:
        """Undo everything: the rows are gone, so what was stored goes too."""
        self._prepared = False
        if self._doubts:
            self.give_up()
        self._undo(self._ledger.take_all())

    def commits(self) -> None:
        """Expect the rows to be there for good."""
        self._prepared = False
        frame = self._ledger.take_all()
        if frame is not None and self._committed is not None:
            self._committed.absorb(frame)
        elif frame is not None:
            self._committed = frame

    def failed(self, *, lost: bool) -> None:
        """Note that the database refused to commit or, when the answer was lost, that nobody knows what it did."""
        frame, self._committed = self._committed, None
        if frame is not None:
            self._ledger.frame([_ROOT]).absorb(frame)
        if lost:
            self.doubt("the database did not say whether it committed")
            self.give_up()

    def prepares(self) -> None:
        """Expect somebody to commit or to roll back later, perhaps when this process is gone."""
        self._prepared = True

    def doubt(self, why: str) -> None:
        """Delete nothing of this transaction's, whatever its end is."""
        self._doubts = self._doubts or why

    def used_by_another(self) -> None:
        """Note that another transaction uses the same database connection, and will end this one too if it is still open."""
        if self._ledger:
            self.doubt("the connection was used by another transaction")

    # -- what follows --------------------------------------------------------------------------------------------------

    def clean(self) -> None:
        """Delete what undone savepoints have stored; only when no statement or announcement is under way."""
        doomed, self._doomed = self._doomed, []
        if doomed:
            raise_if(delete_all(doomed))

    def ended(self) -> None:
        """Delete what the transaction has dropped or, if it was rolled back, what it has stored."""
        if self._ledger:
            self.doubt("a transaction ended neither with COMMIT nor with ROLLBACK")
            self.give_up()
        frame, self._committed = self._committed, None
        error = None
        if frame is not None and self._doubts:
            give_up(frame, self._doubts)
        elif frame is not None:
            error = settle(frame)
        self.clean()
        raise_if(error)

    def abandon(self) -> None:
        """Leave to others what a transaction has stored that ended unannounced, as by garbage collection: by ROLLBACK."""
        if self._watch.keeps_rows:
            self.doubt(End.NEVER_BEGUN.value)
        if self._prepared:
            self.doubt("a prepared transaction was left without an end")
        if self._doubts:
            self.give_up()
        doomed, self._doomed = self._doomed, []
        self._undo(self._ledger.take_all())
        _abandoned.extend(self._doomed)
        self._doomed = doomed

    def give_up(self) -> None:
        """Keep all objects of this transaction, and say which."""
        frame = self._ledger.take_all()
        if frame is not None:
            give_up(frame, self._doubts)

    def _inside(self, name: str) -> list[Hashable]:
        """Return a savepoint and those inside it, outermost first; none if nothing was done since it began."""
        chain = self._ledger.chain
        return chain[chain.index(name) :] if name in chain else []

    def _undo(self, frame: Frame | None) -> None:
        if frame is not None:
            self._doomed += frame.revert()


def outer_transaction(connection: Connection, *, make: bool = False) -> OuterTransaction | None:
    """Return what sessions have done in a connection's transaction, if they have done anything.

    Args:
        connection: The connection; one that was lost has no notes, for it went back to its pool at that moment.
        make: Begin to take notes.
    """
    if connection.closed or connection.invalidated:
        return None
    found: OuterTransaction | None = connection.info.get(_KEY)
    if found is not None and not found.is_of(connection):  # another user of one database connection, as of a StaticPool
        found.used_by_another()
        found = None
    if found is None and make:
        found = connection.info[_KEY] = OuterTransaction(connection)
    return found


def still_open(connections: Iterable[Connection]) -> Connection | None:
    """Return a connection that is in a transaction although the session's own has ended: one that somebody else began."""
    for connection in connections:
        if not connection.closed and not connection.invalidated and connection.in_transaction():
            return connection
    return None


def settle(frame: Frame) -> BaseException | None:
    """Delete what a committed transaction has dropped, or tell those who see to it; return a cancellation, to be raised later."""
    doomed = [ref for ref in frame.doomed if storages.may_delete(ref.backend) or ref in frame.stored]
    uploads = {ref: version for ref, version in frame.uploads.items() if storages.may_delete(ref.backend)}
    error = delete_all(doomed, uploads) if doomed or uploads else None
    for keeper in frame.keepers:
        keeper.wake()
    return error


def give_up(frame: Frame, why: str) -> None:
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


def remember(connection: Connection, owner: ref[Any], ledger: Ledger) -> None:
    """Leave a note of what a session has done, for the case that nobody ends its transaction."""
    if not connection.closed and not connection.invalidated:
        connection.info[_OWN] = owner, ledger, watch(connection)


def forget(connection: Connection) -> None:
    """Take back the note that a session has left: its transaction is about to commit."""
    if not connection.closed and not connection.invalidated:
        connection.info.pop(_OWN, None)


def returned(info: dict[Any, Any]) -> None:
    """Settle the transaction of a connection that goes back to its pool."""
    owner, ledger, seen = info.pop(_OWN, (None, None, None))
    frame = ledger.take_all() if owner is not None and owner() is None else None  # the garbage collector has ended it
    if frame is not None and seen.keeps_rows:
        give_up(frame, End.NEVER_BEGUN.value)
    elif frame is not None:
        _abandoned.extend(frame.revert())
    found: OuterTransaction | None = info.pop(_KEY, None)
    if found is not None:
        found.abandon()  # nothing is left to be, if the end was announced
        found.ended()


def delete_abandoned() -> None:
    """Delete what transactions have stored that the garbage collector has ended."""
    refs: list[Ref] = []
    while _abandoned:
        refs.append(_abandoned.popleft())
    if refs:
        raise_if(delete_all(refs))
