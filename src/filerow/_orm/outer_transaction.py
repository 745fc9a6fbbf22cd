"""Track what sessions do to files in transactions that they do not end.

A session bound to a connection whose transaction was begun elsewhere commits only a savepoint, or
nothing: SQLAlchemy's recipe for test suites, or a session that an extension opens on
``session.connection()`` inside a flush and never closes. The connection's own transaction decides
whether its rows stay. So what such a session stores and drops is kept with the connection, in one
frame for each savepoint, and not with the session. The session's end, or its garbage collection,
decides nothing.

The frames are kept in the connection's ``info``, which belongs to its pool record and outlives the
connection. They hold neither session nor connection, which would live as long as the pool
otherwise. COMMIT and ROLLBACK are announced before they are sent. So the deletes run at the
connection's next event that proves their success: it begins again, or returns to the pool. If
nothing is certain, nothing is deleted, and a sweep finds the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable
from typing import Any
from weakref import ref

from sqlalchemy import Connection

from filerow._execution.batch import raise_if
from filerow._file.transfer import Outcomes, delete_all
from filerow._log import extras, logger, named, objects
from filerow._orm.ledger import Doomed, Frame, Ledger
from filerow._orm.ownership import Ref
from filerow._orm.reports import events_of
from filerow._orm.sqlalchemy_private import is_rolled_back_on_return, savepoint_names
from filerow._orm.watch import End, watch
from filerow._registry import StorageRegistry, in_force, storages, within
from filerow.hooks import Event, deliver

_KEY = "filerow.outer"

_OWN = "filerow.session"

_NOT_ROLLED_BACK = (
    "the garbage collector has ended a transaction, and its pool does not roll back what returns (pool_reset_on_return)"
)

_ROOT = ""
"""The key of the transaction itself; savepoints have their names as keys."""

_abandoned: deque[tuple[StorageRegistry | None, Doomed]] = deque()
"""Objects of transactions that the garbage collector has ended.

It may run anywhere, and must not wait for a store.
"""


class OuterTransaction:
    """What sessions that joined an outer transaction have done to files in it.

    Args:
        connection: The connection of the transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = ref(connection)
        self._watch = watch(connection)
        self._is_rolled_back_on_return = is_rolled_back_on_return(connection)
        self._ledger = Ledger()
        self._doomed: Doomed = {}
        self._committed: Frame | None = None
        self._prepared = False
        self._in_doubt = ""
        self._registry: StorageRegistry | None = None

    def is_of(self, connection: Connection) -> bool:
        """Return True if it belongs to this connection.

        An earlier user of the same database connection may have left another.
        """
        return self._connection() is connection

    def frame(self, connection: Connection) -> Frame:
        """Return what was done since the innermost savepoint began."""
        self._watch = watch(connection)  # a new one, if another transaction has begun since
        self._registry = in_force()
        return self._ledger.frame([_ROOT, *savepoint_names(connection)])

    def is_dropped(self, ref: Ref) -> bool:
        """Return True if an object has no owner in this transaction now."""
        return self._ledger.is_dropped(ref)

    # -- what the connection announces ---------------------------------------------------------------------------------

    def savepoint_released(self, name: str) -> None:
        """Merge a savepoint's frame and those inside it into the outer one."""
        chain = self._ledger.chain
        for inner in reversed(self._inside(name)):
            self._ledger.release(inner, chain[chain.index(inner) - 1])

    def savepoint_rolled_back(self, name: str) -> None:
        """Undo a savepoint's frame and those inside it."""
        for inner in reversed(self._inside(name)):
            self._undo(self._ledger.take(inner))

    def rolls_back(self) -> None:
        """Undo everything: the rows are gone, so the stored objects go too."""
        self._prepared = False
        if self._in_doubt:
            self.give_up()
        self._undo(self._ledger.take_all())

    def commits(self) -> None:
        """Note that COMMIT is being sent."""
        self._prepared = False
        frame = self._ledger.take_all()
        if frame is not None and self._committed is not None:
            self._committed.absorb(frame)
        elif frame is not None:
            self._committed = frame

    def failed(self, *, lost: bool) -> None:
        """Note that a commit failed.

        Args:
            lost: The answer was lost, so it is unknown what the database did; otherwise it refused.
        """
        frame, self._committed = self._committed, None
        if frame is not None:
            self._ledger.frame([_ROOT]).absorb(frame)
        if lost:
            self.mark_in_doubt("the database did not say whether it committed")
            self.give_up()

    def prepares(self) -> None:
        """Note that the transaction is being prepared.

        It may be committed or rolled back later, perhaps after the end of this process.
        """
        self._prepared = True

    def mark_in_doubt(self, why: str) -> None:
        """Delete nothing of this transaction, however it ends.

        Args:
            why: The reason, for the log.
        """
        self._in_doubt = self._in_doubt or why

    def used_by_another(self) -> None:
        """Note that another transaction uses the same database connection.

        If this one is still open, the other will end it too.
        """
        if self._ledger:
            self.mark_in_doubt("the connection was used by another transaction")

    # -- what is deleted -----------------------------------------------------------------------------------------------

    def clean(self) -> None:
        """Delete what undone savepoints have stored.

        Call it only when no statement or event is under way.
        """
        doomed, self._doomed = self._doomed, {}
        if doomed:
            with within(self._registry):
                raise_if(delete_all(doomed))

    def ended(self) -> None:
        """Delete what the transaction has dropped.

        If it was rolled back, delete what it has stored.
        """
        if self._ledger:
            self.mark_in_doubt("a transaction ended neither with COMMIT nor with ROLLBACK")
            self.give_up()
        frame, self._committed = self._committed, None
        error = None
        events: list[Event] = []
        if frame is not None and self._in_doubt:
            give_up(frame, self._in_doubt)
        elif frame is not None:
            with within(self._registry):
                error = settle(frame, events)
        self.clean()
        with within(self._registry):
            interrupted = deliver(events) if events else None
        raise_if(interrupted or error)

    def abandon(self) -> None:
        """Leave the objects of a transaction that ended without an event.

        Garbage collection ends one like that, by what the pool does with connections that return.
        That is a ROLLBACK by default, and :func:`delete_abandoned` deletes the objects later.
        """
        if self._watch.keeps_rows:
            self.mark_in_doubt(End.NEVER_BEGUN.value)
        if self._ledger and not self._is_rolled_back_on_return:
            self.mark_in_doubt(_NOT_ROLLED_BACK)
        if self._prepared:
            self.mark_in_doubt("a prepared transaction was left without an end")
        if self._in_doubt:
            self.give_up()
        doomed, self._doomed = self._doomed, {}
        self._undo(self._ledger.take_all())
        _abandoned.append((self._registry, self._doomed))
        self._doomed = doomed

    def give_up(self) -> None:
        """Keep all objects of this transaction, and log them."""
        frame = self._ledger.take_all()
        if frame is not None:
            give_up(frame, self._in_doubt)

    def _inside(self, name: str) -> list[Hashable]:
        """Return a savepoint and those inside it, outermost first.

        There are none if nothing was done since it began.
        """
        chain = self._ledger.chain
        return chain[chain.index(name) :] if name in chain else []

    def _undo(self, frame: Frame | None) -> None:
        if frame is not None:
            self._doomed |= frame.revert()


def outer_transaction(connection: Connection, *, make: bool = False) -> OuterTransaction | None:
    """Return what sessions have done in a connection's transaction.

    Args:
        connection: The connection. One that was lost has no notes, because it returned to its pool
            at that moment.
        make: Begin to take notes if there are none.
    """
    if connection.closed or connection.invalidated:
        return None
    found: OuterTransaction | None = connection.info.get(_KEY)
    if found is not None and not found.is_of(connection):  # another user of the same database connection, as with a StaticPool
        found.used_by_another()
        found = None
    if found is None and make:
        found = connection.info[_KEY] = OuterTransaction(connection)
    return found


def still_open(connections: Iterable[Connection]) -> Connection | None:
    """Return a connection whose transaction outlives the session's own.

    It was begun outside the session.
    """
    for connection in connections:
        if not connection.closed and not connection.invalidated and connection.in_transaction():
            return connection
    return None


def settle(frame: Frame, events: list[Event]) -> BaseException | None:
    """Delete what a committed transaction has dropped, or wake its keepers.

    A cancellation meanwhile is returned, to be raised later.

    Args:
        frame: What the transaction has done.
        events: Gets what is to be reported.
    """
    may_delete, stored = storages.may_delete, frame.stored
    doomed = frame.doomed
    if not all(map(may_delete, {backend for backend, _ in doomed})):
        doomed = {ref: variants for ref, variants in doomed.items() if may_delete(ref.backend) or ref in stored}
    uploads = {ref: version for ref, version in frame.uploads.items() if may_delete(ref.backend)}
    outcomes: Outcomes | None = {} if frame.reports else None
    error = delete_all(doomed, uploads, outcomes, frame.variants) if doomed or uploads else None
    for keeper in frame.keepers:
        keeper.wake()
    if outcomes is not None:
        events += events_of(frame, {ref: outcomes[ref] for ref in doomed if ref in outcomes})
    return error


def give_up(frame: Frame, why: str) -> None:
    """Keep all objects, and log them: it is unknown whether the rows exist.

    One may point to an object. A sweep finds those that no row names.
    """
    kept = [f"{objects(len(refs))} {what} ({named(':'.join(ref) for ref in refs)})" for what, refs in _shares(frame) if refs]
    if kept:
        logger.warning(
            "%s, so nothing was deleted and nothing is lost: kept %s. Those that no row names cost space until "
            "filerow sweep --full --delete removes them",
            why,
            " and ".join(kept),
            extra=extras("commit", objects=len(frame.stored) + len(frame.dropped)),
        )


def _shares(frame: Frame) -> tuple[tuple[str, Collection[Ref]], ...]:
    return ("that were stored in this transaction", frame.stored), ("that lost their rows in it", frame.dropped)


def remember(connection: Connection, owner: ref[Any], ledger: Ledger) -> None:
    """Leave a note of what a session has done.

    It is needed if nothing ends the session's transaction.
    """
    if not connection.closed and not connection.invalidated:
        connection.info[_OWN] = owner, ledger, watch(connection), in_force(), is_rolled_back_on_return(connection)


def forget(connection: Connection) -> None:
    """Remove the note that a session has left.

    Its transaction is about to commit.
    """
    if not connection.closed and not connection.invalidated:
        connection.info.pop(_OWN, None)


def returned(info: dict[Any, Any]) -> None:
    """Settle the transaction of a connection that returns to its pool."""
    owner, ledger, seen, registry, is_rolled_back = info.pop(_OWN, (None, None, None, None, False))
    frame = ledger.take_all() if owner is not None and owner() is None else None  # the garbage collector has ended the session
    if frame is not None and (seen.keeps_rows or not is_rolled_back):
        give_up(frame, End.NEVER_BEGUN.value if seen.keeps_rows else _NOT_ROLLED_BACK)
    elif frame is not None:
        _abandoned.append((registry, frame.revert()))
    found: OuterTransaction | None = info.pop(_KEY, None)
    if found is not None:
        found.abandon()  # nothing is left to abandon if the end was announced
        found.ended()


def delete_abandoned() -> None:
    """Delete what transactions ended by the garbage collector have stored."""
    found: dict[StorageRegistry | None, Doomed] = {}
    while _abandoned:
        registry, refs = _abandoned.popleft()
        found.setdefault(registry, {}).update(refs)
    for registry, refs in found.items():
        with within(registry):
            raise_if(delete_all(refs))
