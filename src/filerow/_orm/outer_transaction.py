"""Sessions inside a transaction that is not theirs.

A session bound to a connection whose transaction somebody else began (SQLAlchemy's recipe for test suites) commits only a
savepoint, or nothing. Its rows are not safe until the outer transaction commits, and come back if that rolls back. So what the
session would have deleted waits for the outer COMMIT, and what it has stored is deleted when the outer transaction rolls back.

The waiting frame lives in the connection's ``info``. COMMIT is announced before it is sent, so the deletes run at the next thing
the connection does that proves it has succeeded: it begins anew or goes back to the pool. When nothing is certain, nothing is
deleted; a sweep finds the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import NestedTransaction

from filerow._execution.batch import raise_if
from filerow._file.transfer import delete_all
from filerow._orm.ledger import Frame

__all__ = (
    "begun",
    "committing",
    "defer",
    "failed",
    "is_waiting",
    "returned",
    "rolled_back",
    "savepoint_rolled_back",
    "settle",
    "still_open",
)

_KEY = "filerow.outer"


@dataclass(slots=True)
class Waiting:
    """What waits for one outer transaction.

    Attributes:
        frame: Stored and dropped objects of all sessions that joined it.
        savepoint: The outer savepoint the sessions were in, if any.
        committing: COMMIT has been announced.
    """

    frame: Frame = field(default_factory=Frame)
    savepoint: NestedTransaction | None = None
    committing: bool = False


def still_open(connections: Iterable[Connection]) -> Connection | None:
    """Return a connection that is in a transaction although the session's own has ended: one that somebody else began."""
    for connection in connections:
        if not connection.closed and not connection.invalidated and connection.in_transaction():
            return connection
    return None


def is_waiting(connection: Connection) -> bool:
    """Say whether anything waits for the connection's outer transaction."""
    return _KEY in _info(connection)


def defer(connection: Connection, frame: Frame) -> None:
    """Let a session's share wait for the outer transaction."""
    waiting = connection.info.setdefault(_KEY, Waiting())
    waiting.frame.absorb(frame)
    waiting.savepoint = connection.get_nested_transaction()


def settle(frame: Frame) -> BaseException | None:
    """Delete what a committed transaction has dropped, or tell those who see to it; return a cancellation, to be raised later."""
    doomed = frame.doomed
    error = delete_all(doomed) if doomed else None
    for keeper in frame.keepers:
        keeper.wake()
    return error


def rolled_back(connection: Connection) -> None:
    """The outer transaction rolls back: the rows are gone, so what was stored goes too."""
    waiting = _pop(_info(connection))
    if waiting is not None:
        raise_if(delete_all(waiting.frame.revert()))


def savepoint_rolled_back(connection: Connection) -> None:
    """An outer savepoint rolls back; when sessions joined inside it, nobody can tell their shares apart: delete nothing."""
    waiting = _info(connection).get(_KEY)
    if waiting is not None and waiting.savepoint is not None and waiting.savepoint is connection.get_nested_transaction():
        del connection.info[_KEY]


def committing(connection: Connection) -> None:
    """The outer transaction is about to commit."""
    waiting = _info(connection).get(_KEY)
    if waiting is not None:
        waiting.committing = True


def failed(connection: Connection) -> None:
    """The database refused or never answered: nothing is certain, so nothing is deleted."""
    waiting = _info(connection).get(_KEY)
    if waiting is not None and waiting.committing:
        del connection.info[_KEY]


def begun(connection: Connection) -> None:
    """The connection begins a new transaction, so the one before has ended as announced."""
    _settle(connection.info)


def returned(info: dict[Any, Any]) -> None:
    """The connection goes back to its pool."""
    _settle(info)


def _info(connection: Connection) -> dict[Any, Any]:
    """Return a connection's notes; one that was lost has none, for it went back to its pool at that moment."""
    return {} if connection.invalidated else connection.info


def _settle(info: dict[Any, Any]) -> None:
    waiting = _pop(info)
    if waiting is not None and waiting.committing:
        raise_if(settle(waiting.frame))


def _pop(info: dict[Any, Any]) -> Waiting | None:
    waiting: Waiting | None = info.pop(_KEY, None)
    return waiting
